package envoy

import "syscall"

// processAttributes makes Envoy exit with this process, even if this process is killed. Envoy
// has a process group of its own, so it does not receive the terminal's Ctrl-C. This process
// stops it in order instead.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
