package e2e

import (
	"os/exec"
	"syscall"
)

// dieWithParent lets no child outlive the tests, not even when they are killed.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
