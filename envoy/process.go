package envoy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startTime bounds how long Envoy may take to become ready, and stopTime how long it may take
// to exit.
const (
	startTime = 60 * time.Second
	stopTime  = 5 * time.Second
)

// A Process is a running Envoy. On Linux it exits with this process, however this process ends.
type Process struct {
	Listen string // host:port of its first listener
	Admin  string // host:port of its admin interface
	ended  chan struct{}
	cmd    *exec.Cmd
	client http.Client
}

// StartProcess runs the Envoy at binary with a configuration in JSON, whose ports may be 0, and
// waits until it is ready. Its files are written to dir, and its output is written to output.
// The caller must call [Process.Stop].
func StartProcess(ctx context.Context, binary, dir string, config []byte, output io.Writer) (*Process, error) {
	configPath, adminPath := filepath.Join(dir, "envoy.json"), filepath.Join(dir, "envoy.admin")
	if err := os.WriteFile(configPath, config, 0o600); err != nil {
		return nil, err
	}
	e := &Process{ended: make(chan struct{}), client: http.Client{Timeout: 5 * time.Second}}
	e.cmd = exec.Command(binary, "-c", configPath, "--admin-address-path", adminPath, //nolint:noctx // it ends by Stop, in its own orderly way
		"--use-dynamic-base-id", "--concurrency", "1", "--file-flush-interval-msec", "50", "--log-level", "warning")
	e.cmd.Stdout, e.cmd.Stderr = output, output
	e.cmd.WaitDelay = stopTime
	e.cmd.SysProcAttr = processAttributes()
	if err := e.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting Envoy: %w", err)
	}
	go func() {
		_ = e.cmd.Wait() // how it ended is in its output
		close(e.ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		err := e.ready(ctx, adminPath)
		if err == nil {
			return e, nil
		}
		select {
		case <-e.ended:
			return nil, errors.New("the Envoy that was started ended at once")
		case <-ctx.Done():
			e.Stop()
			return nil, fmt.Errorf("the Envoy that was started did not become ready: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// PID returns the process ID, by which the system accounts for what Envoy uses.
func (e *Process) PID() int { return e.cmd.Process.Pid }

// ready reads the bound addresses and checks whether requests are served.
func (e *Process) ready(ctx context.Context, adminPath string) error {
	address, err := os.ReadFile(adminPath)
	if err != nil {
		return err
	}
	e.Admin = strings.TrimSpace(string(address))
	if _, err := e.Get(ctx, "/ready"); err != nil {
		return err
	}
	e.Listen, err = e.Listener(ctx, "")
	return err
}

// Listener returns the host:port of the listener with this name in Envoy's configuration, or of
// the first one if name is "".
func (e *Process) Listener(ctx context.Context, name string) (string, error) {
	page, err := e.Get(ctx, "/listeners?format=json")
	if err != nil {
		return "", err
	}
	var listeners struct {
		Statuses []struct {
			Name  string `json:"name"`
			Local struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(page, &listeners); err != nil {
		return "", err
	}
	for _, s := range listeners.Statuses {
		if name == "" || s.Name == name {
			return net.JoinHostPort(s.Local.Socket.Address, strconv.Itoa(s.Local.Socket.Port)), nil
		}
	}
	return "", fmt.Errorf("it has no listener %q: %s", name, page)
}

// Get fetches a page such as /stats from the admin interface.
func (e *Process) Get(ctx context.Context, page string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.Admin+page, nil)
	if err != nil {
		return nil, err
	}
	response, err := e.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s is %d", page, response.StatusCode)
	}
	return body, err
}

// Ended returns a channel that is closed when Envoy has exited for any reason.
func (e *Process) Ended() <-chan struct{} { return e.ended }

// Stop ends Envoy and waits until it has exited.
func (e *Process) Stop() {
	_ = e.cmd.Process.Signal(syscall.SIGTERM) // it may be gone already
	select {
	case <-e.ended:
	case <-time.After(stopTime):
		_ = e.cmd.Process.Kill()
		<-e.ended
	}
	e.client.CloseIdleConnections()
}
