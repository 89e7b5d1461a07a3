//go:build cluster || pod

package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A process is a server that runs beside the tests.
type process struct {
	cmd   *exec.Cmd
	name  string
	log   string // file
	ended chan struct{}
}

// startProcess starts a server that ends with the test, and with this process even if that is
// killed. What it prints is in dir/name.log, whose end is shown when the test fails.
func startProcess(t testing.TB, dir, name, path string, args ...string) *process {
	t.Helper()
	return startCommand(t, dir, name, exec.Command(path, args...))
}

func startCommand(t testing.TB, dir, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, name: name, log: filepath.Join(dir, name+".log"), ended: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error)
	go func() {
		// The signal is sent when the thread that started the child ends, so the
		// thread is kept until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer log.Close()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is stopped by the tests, so its status says nothing
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", name, p.tail())
		}
		p.stop()
	})
	return p
}

// stop asks the server to end, and kills it after a while.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// await polls until the server is ready or has ended.
func (p *process) await(t testing.TB, ready func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	go func() {
		select {
		case <-p.ended:
			cancel(fmt.Errorf("it ended during its start"))
		case <-ctx.Done():
		}
	}()
	if err := eventually(ctx, ready); err != nil {
		t.Fatalf("%s: %v: %v\n%s", p.name, context.Cause(ctx), err, p.tail())
	}
}

// tail returns the last lines that the server printed.
func (p *process) tail() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
