package e2e

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the child end with the tests, even if the tests are killed.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
