//go:build unix && !linux

package authztest

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

func processAttributes(bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

func userAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

// childrenOf lists the processes whose parent is pid.
func childrenOf(pid int) []int {
	out, err := exec.Command("ps", "-axo", "pid=,ppid=").Output()
	if err != nil {
		return nil
	}
	var children []int
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) == 2 && fields[1] == strconv.Itoa(pid) {
			if child, err := strconv.Atoi(fields[0]); err == nil {
				children = append(children, child)
			}
		}
	}
	return children
}

// dieWithParent arranges for the server to be killed when this process ends.
func dieWithParent(p *process) error {
	now, err := atEnd(`kill -KILL "$0" 2>/dev/null`, strconv.Itoa(p.cmd.Process.Pid))
	if err != nil {
		return err
	}
	go func() {
		<-p.ended
		now()
	}()
	return nil
}
