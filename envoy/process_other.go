//go:build !linux

package envoy

import "syscall"

// processAttributes has no means here: Envoy ends by [Process.Stop].
func processAttributes() *syscall.SysProcAttr { return nil }
