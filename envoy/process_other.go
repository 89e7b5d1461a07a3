//go:build !linux

package envoy

import "syscall"

// processAttributes returns no attributes on this system. Envoy ends by [Process.Stop] only.
func processAttributes() *syscall.SysProcAttr { return nil }
