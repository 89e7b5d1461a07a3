package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
)

// listen binds an address. It first removes a stale unix socket, but not one on which a
// process still accepts connections.
func listen(ctx context.Context, a config.Address, mode fs.FileMode) (net.Listener, error) {
	if a.Network != "unix" {
		l, err := new(net.ListenConfig).Listen(ctx, a.Network, a.Address)
		if err != nil {
			return nil, fmt.Errorf("cannot listen on %s: %w", a, cli.Cause(err))
		}
		return l, nil
	}
	if err := removeOldSocket(ctx, a.Address); err != nil {
		return nil, err
	}
	l, err := listenUnix(ctx, a.Address, mode)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", a, cli.Cause(err))
	}
	return l, nil
}

// listenUnix binds a socket under a temporary name, sets its mode, and then renames it to
// path. Nobody can connect at path while the mode is still that of the umask.
func listenUnix(ctx context.Context, path string, mode fs.FileMode) (net.Listener, error) {
	hidden, err := os.MkdirTemp(filepath.Dir(path), ".w")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(hidden)
	first := filepath.Join(hidden, "s")
	l, err := new(net.ListenConfig).Listen(ctx, "unix", first)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(first, mode); err != nil {
		_ = l.Close()
		return nil, err
	}
	if err := os.Rename(first, path); err != nil {
		_ = l.Close()
		return nil, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	return &unixListener{Listener: l, path: path, info: info}, nil
}

// A unixListener knows the final path of its socket. Close removes the socket, unless
// another socket has replaced it.
type unixListener struct {
	net.Listener
	path string
	info fs.FileInfo
}

func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

func (l *unixListener) Close() error {
	err := l.Listener.Close()
	if err != nil {
		return err
	}
	if now, statErr := os.Lstat(l.path); statErr == nil && os.SameFile(now, l.info) {
		_ = os.Remove(l.path)
	}
	return nil
}

// removeOldSocket removes the file at path if it is a socket on which no process listens any
// more.
func removeOldSocket(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("cannot listen on unix://%s: %w", path, cli.Cause(err))
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("cannot listen on unix://%s: the path exists and is not a socket; remove it or choose another path", path)
	}
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		_ = conn.Close()
		return fmt.Errorf("cannot listen on unix://%s: another process listens there; stop it or choose another path", path)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
	default:
		return fmt.Errorf("cannot listen on unix://%s: the socket exists and it is not known whether it is in use: %w", path, cli.Cause(err))
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot listen on unix://%s: the old socket cannot be removed: %w", path, cli.Cause(err))
	}
	return nil
}
