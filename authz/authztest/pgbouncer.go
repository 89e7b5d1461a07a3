package authztest

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// A PgBouncer is a pooler in front of the database of a [Postgres].
type PgBouncer struct {
	db   *Postgres
	Addr string // 127.0.0.1:port, the same after a restart

	path    string
	config  string
	process *process
}

// StartPgBouncer starts PgBouncer in front of the database, with settings of its configuration
// such as "pool_mode = transaction". As root, where a package of the system can be installed, it
// must be there: make tools installs it. Elsewhere a test that needs it is skipped by name.
func (p *Postgres) StartPgBouncer(t testing.TB, settings ...string) *PgBouncer {
	t.Helper()
	path := findPgBouncer(t)
	dir, remove, err := shortDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	host, port, err := net.SplitHostPort(p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	b := &PgBouncer{db: p, Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t))), path: path, config: filepath.Join(dir, "pgbouncer.ini")}
	_, own, _ := net.SplitHostPort(b.Addr)
	users := filepath.Join(dir, "users.txt")
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(users, fmt.Sprintf("%q %q\n", p.User, p.Password))
	write(b.config, fmt.Sprintf("[databases]\n%s = host=%s port=%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %s\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = %s\n%s\n",
		p.Database, host, port, own, users, strings.Join(settings, "\n")))
	b.Start(t)
	t.Cleanup(b.stop)
	return b
}

// Start restarts the pooler after Stop, on the same port. It returns when the database answers
// through it.
func (b *PgBouncer) Start(t testing.TB) {
	t.Helper()
	process, err := startProcess(true, b.path, b.config)
	if err != nil {
		t.Fatal(err)
	}
	b.process = process
	err = process.await(func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, b.URL())
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Stop kills the pooler at once.
func (b *PgBouncer) Stop(t testing.TB) {
	t.Helper()
	b.stop()
}

func (b *PgBouncer) stop() { b.process.kill() }

// Pause stops the pooler from answering until Resume. Connections stay open.
func (b *PgBouncer) Pause(t testing.TB) {
	t.Helper()
	b.process.pause()
}

// Resume ends Pause.
func (b *PgBouncer) Resume(t testing.TB) {
	t.Helper()
	b.process.resume()
}

// URL returns the URL of the database through the pooler.
func (b *PgBouncer) URL() string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(b.db.User, b.db.Password), Host: b.Addr,
		Path: "/" + b.db.Database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

func findPgBouncer(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} { // Debian's folder is not on every PATH
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if _, err := exec.LookPath("apt-get"); err == nil && os.Getuid() == 0 {
		t.Fatal("no pgbouncer found; run make tools")
	}
	t.Skipf("%s is left out: no pgbouncer found; install it (Debian, Ubuntu, Fedora, Alpine and Homebrew: pgbouncer)", t.Name())
	return ""
}
