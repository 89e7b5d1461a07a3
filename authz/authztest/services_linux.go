package authztest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// unprivilegedID is who root becomes for a server that refuses to run as root.
const unprivilegedID = 1000

// processAttributes makes a child die with its parent. With isolate and as root
// the child lives in namespaces of its own, in which it is not root (Postgres
// refuses to be) although its files stay root's, and in which all that it forks
// and all its shared memory go with it.
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

// userAttributes makes root somebody else and leaves anybody else alone.
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
			continue // gone meanwhile
		}
		// pid (name) state ppid …, and the name may hold anything.
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

// dieWithParent has nothing to add to processAttributes.
func dieWithParent(*process) error { return nil }
