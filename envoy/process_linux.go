package envoy

import "syscall"

// processAttributes makes Envoy end with this process, even when that is killed.
// Being a group of its own, it does not get the terminal's Ctrl-C: it is this
// process that ends it, in order.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
