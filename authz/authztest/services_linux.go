package authztest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// unprivilegedID is the user and group id of a server that refuses to run as root.
const unprivilegedID = 1000

// processAttributes makes the kernel kill a child when its parent ends. With isolate and as
// root, the child also gets new namespaces: a user namespace, in which it is not root, as
// Postgres requires; a PID namespace, so that its own children end with it; and an IPC
// namespace, so that its shared memory does.
func processAttributes(isolate bool) *syscall.SysProcAttr {
	attr := userAttributes()
	attr.Pdeathsig = syscall.SIGKILL
	if isolate && os.Getuid() == 0 {
		attr.Cloneflags |= syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC
	}
	if !isolate {
		attr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	}
	return attr
}

// userAttributes maps root to unprivilegedID in a new user namespace. For other users it does
// nothing.
func userAttributes() *syscall.SysProcAttr {
	if os.Getuid() != 0 {
		return &syscall.SysProcAttr{}
	}
	id := []syscall.SysProcIDMap{{ContainerID: unprivilegedID, HostID: 0, Size: 1}}
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: id, GidMappings: id}
}

// childrenOf lists the processes whose parent is pid.
func childrenOf(pid int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var children []int
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // the process has ended
		}
		// The format is "pid (name) state ppid …", and name may contain any character.
		_, rest, _ := strings.Cut(string(data[strings.LastIndexByte(string(data), ')')+1:]), " ")
		fields := strings.Fields(rest)
		if len(fields) < 2 || fields[1] != strconv.Itoa(pid) {
			continue
		}
		if child, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			children = append(children, child)
		}
	}
	return children
}

// dieWithParent does nothing, because processAttributes is sufficient.
func dieWithParent(*process) error { return nil }
