package authztest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	postgresUser     = "warder_test"
	postgresPassword = "postgres-canary-7d1f" // must never appear in errors or logs
)

// A Postgres is a new database on a real server that listens on a loopback port and a unix
// socket. Its user is a superuser.
type Postgres struct {
	Addr     string // 127.0.0.1:port, the same after a restart
	Socket   string // the folder of the unix socket
	User     string
	Password string
	Database string

	server *postgresCluster
	mu     sync.Mutex
	conn   *pgx.Conn // used by Exec; nil before the first call and after Stop
}

// A postgresCluster is a server with its data folder.
type postgresCluster struct {
	bin     string // the folder of the programs
	dir     string // holds data and the socket
	port    int
	shared  bool
	process *process
}

// StartPostgres returns a new database on a server that all tests of the process share. The
// server is started by the first call and ends with the process. It cannot be stopped or
// paused: see [StartPostgresServer].
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	server := sharedPostgres.get(t)
	return server.database(t)
}

// StartPostgresServer returns a new database on a separate server, for tests that stop or
// pause it. The server ends with the test.
func StartPostgresServer(t testing.TB) *Postgres {
	t.Helper()
	server, remove := newPostgresCluster(t)
	t.Cleanup(remove)
	t.Cleanup(server.stop)
	return server.database(t)
}

// StartStandby starts a streaming standby of the server of p, which must be from
// [StartPostgresServer].
func (p *Postgres) StartStandby(t testing.TB) *Postgres {
	t.Helper()
	p.own(t)
	dir, remove, err := shortDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	s := &postgresCluster{bin: p.server.bin, dir: dir, port: freePort(t)}
	// --write-recovery-conf configures the copy as a standby, with the primary's password.
	backup := exec.Command(filepath.Join(s.bin, "pg_basebackup"), "--dbname", p.server.url("postgres"),
		"--pgdata", filepath.Join(dir, "data"), "--write-recovery-conf", "--checkpoint", "fast", "--no-sync")
	backup.SysProcAttr = userAttributes()
	backup.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	if out, err := backup.CombinedOutput(); err != nil {
		t.Fatalf("pg_basebackup: %v: %s", err, out)
	}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	standby := &Postgres{Addr: s.addr(), Socket: dir, User: p.User, Password: p.Password, Database: p.Database, server: s}
	t.Cleanup(standby.hangUp)
	return standby
}

// sharedPostgres is shared by the tests of this process, because starting a server for each
// test would take most of their time.
var sharedPostgres lazyCluster

type lazyCluster struct {
	mu     sync.Mutex
	server *postgresCluster
}

func (l *lazyCluster) get(t testing.TB) *postgresCluster {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.server == nil {
		server, _ := newPostgresCluster(t)
		server.shared = true
		l.server = server
	}
	return l.server
}

// newPostgresCluster creates a data folder and starts a server with it.
func newPostgresCluster(t testing.TB) (server *postgresCluster, remove func()) {
	t.Helper()
	dir, remove, err := shortDir()
	if err != nil {
		t.Fatal(err)
	}
	s := &postgresCluster{bin: filepath.Dir(postgresServer.find(t)), dir: dir, port: freePort(t)}
	if err := s.initialize(); err != nil {
		remove()
		t.Fatal(err)
	}
	if err := s.start(); err != nil {
		remove()
		t.Fatal(err)
	}
	return s, remove
}

func (s *postgresCluster) initialize() error {
	secret := filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(postgresPassword+"\n"), 0o600); err != nil {
		return err
	}
	initdb := exec.Command(filepath.Join(s.bin, "initdb"), "--pgdata", filepath.Join(s.dir, "data"),
		"--username", postgresUser, "--pwfile", secret, "--auth", "scram-sha-256",
		"--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions")
	initdb.SysProcAttr = userAttributes()
	initdb.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

func (s *postgresCluster) start() error {
	process, err := startProcess(true, filepath.Join(s.bin, "postgres"), "-D", filepath.Join(s.dir, "data"),
		"-c", "listen_addresses=127.0.0.1", "-p", strconv.Itoa(s.port), "-c", "unix_socket_directories="+s.dir,
		// The data need not survive a crash, so favor speed.
		"-c", "fsync=off", "-c", "full_page_writes=off",
		"-c", "shared_buffers=16MB", "-c", "max_connections=100", "-c", "autovacuum=off",
		// A standby retries soon if its first connection to the primary fails.
		"-c", "max_wal_size=1GB", "-c", "log_min_messages=fatal", "-c", "wal_retrieve_retry_interval=100ms")
	if err != nil {
		return err
	}
	s.process = process
	return process.await(s.answers)
}

func (s *postgresCluster) stop() { s.process.kill() }

func (s *postgresCluster) addr() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
}

func (s *postgresCluster) url(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(postgresUser, postgresPassword), Host: s.addr(),
		Path: "/" + database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

func (s *postgresCluster) answers(ctx context.Context) error {
	return s.exec(ctx, "postgres", "SELECT 1")
}

func (s *postgresCluster) exec(ctx context.Context, database, sql string) error {
	conn, err := pgx.Connect(ctx, s.url(database))
	if err != nil {
		return err
	}
	_, err = conn.PgConn().Exec(ctx, sql).ReadAll()
	return errors.Join(err, conn.Close(ctx))
}

// databases numbers the databases of this process.
var databases atomic.Int64

func (s *postgresCluster) database(t testing.TB) *Postgres {
	t.Helper()
	name := fmt.Sprintf("test_%d", databases.Add(1))
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	if err := s.exec(ctx, "postgres", "CREATE DATABASE "+name); err != nil {
		t.Fatalf("creating a database: %v", err)
	}
	p := &Postgres{
		Addr: s.addr(), Socket: s.dir, User: postgresUser, Password: postgresPassword, Database: name, server: s,
	}
	t.Cleanup(p.hangUp)
	return p
}

// URL returns the postgres:// URL of the database, with the password.
func (p *Postgres) URL() string { return p.server.url(p.Database) }

// Exec runs SQL, one statement or several.
func (p *Postgres) Exec(t testing.TB, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	if err := p.exec(ctx, sql); err != nil {
		t.Fatalf("postgres: %v\n%s", err, strings.TrimSpace(sql))
	}
}

// Try runs SQL that may fail.
func (p *Postgres) Try(t testing.TB, sql string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	return p.exec(ctx, sql)
}

// exec reuses its connection, because connecting takes longer than most statements.
func (p *Postgres) exec(ctx context.Context, sql string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil || p.conn.IsClosed() {
		conn, err := pgx.Connect(ctx, p.URL())
		if err != nil {
			return err
		}
		p.conn = conn
	}
	_, err := p.conn.PgConn().Exec(ctx, sql).ReadAll() // the simple protocol allows several statements
	return err
}

func (p *Postgres) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = p.conn.Close(ctx)
		p.conn = nil
	}
}

// Start restarts the server after Stop, on the same port and with its data. It returns when
// the server answers.
func (p *Postgres) Start(t testing.TB) {
	t.Helper()
	p.own(t)
	if err := p.server.start(); err != nil {
		t.Fatal(err)
	}
}

// Stop kills the server at once.
func (p *Postgres) Stop(t testing.TB) {
	t.Helper()
	p.own(t)
	p.server.stop()
	p.hangUp()
}

// Pause stops the server from answering until Resume. Connections stay open.
func (p *Postgres) Pause(t testing.TB) {
	t.Helper()
	p.own(t)
	p.server.process.pause()
}

// Resume ends Pause.
func (p *Postgres) Resume(t testing.TB) {
	t.Helper()
	p.own(t)
	p.server.process.resume()
}

func (p *Postgres) own(t testing.TB) {
	t.Helper()
	if p.server.shared {
		t.Fatal("this server is shared with other tests; use StartPostgresServer")
	}
}
