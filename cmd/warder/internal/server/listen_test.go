package server

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
)

func TestListenUnix(t *testing.T) {
	t.Parallel()
	a := config.Address{Network: "unix", Address: filepath.Join(clitest.SocketDir(t), "warder.sock")}
	l, err := listen(t.Context(), a, 0o660)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(a.Address)
	if err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("the socket is %v, %v; want mode 0660", info.Mode(), err)
	}
	if got := l.Addr().String(); got != a.Address {
		t.Errorf("Addr is %s, want %s", got, a.Address)
	}
	conn, err := net.Dial("unix", a.Address)
	if err != nil {
		t.Fatalf("nobody listens: %v", err)
	}
	_ = conn.Close()
	entries, err := os.ReadDir(filepath.Dir(a.Address))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v is left beside the socket (%v)", entries, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(a.Address); err == nil {
		t.Error("the socket is still there after Close")
	}
}

func TestListenUnixInPlaceOfAnother(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want  string // in the error; "" means that it is replaced
		name  string
		stand func(t *testing.T, path string)
	}{
		{"", "a socket that a process left", func(t *testing.T, path string) {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			_ = l.Close()
		}},
		{"another process listens there", "a socket in use", func(t *testing.T, path string) {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
		}},
		{"the path exists and is not a socket", "a file", func(t *testing.T, path string) {
			clitest.WriteFile(t, filepath.Dir(path), filepath.Base(path), "precious")
		}},
		{"the path exists and is not a socket", "a link", func(t *testing.T, path string) {
			if err := os.Symlink("/nowhere", path); err != nil {
				t.Fatal(err)
			}
		}},
		{"the path exists and is not a socket", "a folder", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(clitest.SocketDir(t), "warder.sock")
			c.stand(t, path)
			l, err := listen(t.Context(), config.Address{Network: "unix", Address: path}, 0o660)
			if err == nil {
				defer l.Close()
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("listen: %v, want an error with %q", err, c.want)
			}
			if _, gone := os.Lstat(path); gone != nil {
				t.Errorf("what stood there is gone: %v", gone)
			}
		})
	}
}

// TestListenUnixLeavesASuccessorAlone checks that closing a listener does not remove the socket
// of a newer process.
func TestListenUnixLeavesASuccessorAlone(t *testing.T) {
	t.Parallel()
	a := config.Address{Network: "unix", Address: filepath.Join(clitest.SocketDir(t), "warder.sock")}
	first, err := listen(t.Context(), a, 0o660)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(a.Address); err != nil {
		t.Fatal(err)
	}
	second, err := listen(t.Context(), a, 0o660)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	_ = first.Close()
	if _, err := os.Lstat(a.Address); err != nil {
		t.Errorf("the successor's socket is gone: %v", err)
	}
}

func TestListenTCPInUse(t *testing.T) {
	t.Parallel()
	l, err := listen(t.Context(), config.Address{Network: "tcp", Address: "127.0.0.1:0"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := config.Address{Network: "tcp", Address: l.Addr().String()}
	if _, err := listen(t.Context(), taken, 0); err == nil || !strings.Contains(err.Error(), "cannot listen on "+taken.Address+": address already in use") {
		t.Errorf("listen on a taken port: %v", err)
	}
}
