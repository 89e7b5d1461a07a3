package main

import (
	"os/exec"
	"syscall"
)

// dieWithParent lets no child outlive this process, not even when it is killed.
// Being a group of its own, a child does not get the terminal's Ctrl-C: it is this
// process that ends it, in order.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
