package postgres_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"warder/authz/authztest"
	"warder/authz/postgres"
)

// A login is a directory that logs in with a role of its own.
type login struct {
	*postgres.Directory
	db, other *authztest.Postgres // in other, user 1 is not active
	role      string
	written   atomic.Value // the URL that the configuration has now
}

func (l *login) url(db *authztest.Postgres, role, password string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(role, password), Host: db.Addr, Path: "/" + db.Database, RawQuery: "sslmode=disable"}
	return u.String()
}

func openLogin(t *testing.T) *login {
	t.Helper()
	l := &login{db: authztest.StartPostgres(t), other: authztest.StartPostgres(t)}
	l.role = "app_" + l.db.Database
	l.db.Exec(t, "CREATE ROLE "+l.role+" LOGIN PASSWORD 'canary-1'; CREATE ROLE "+l.role+"_b LOGIN PASSWORD 'canary-b'")
	for db, active := range map[*authztest.Postgres]string{l.db: "true", l.other: "false"} {
		db.Exec(t, `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, roles jsonb DEFAULT '[]');
			CREATE TABLE api_keys (prefix text, key_hash text, scopes jsonb, is_active boolean, expires_at timestamptz, user_id bigint)`)
		db.Exec(t, triggersOnly(t))
		db.Exec(t, "INSERT INTO users (id, is_active) VALUES (1, "+active+"); GRANT SELECT ON users, api_keys TO "+l.role+", "+l.role+"_b")
	}
	l.written.Store(l.url(l.db, l.role, "canary-1"))
	l.Directory = open(t, postgres.Config{
		DatabaseURL: l.written.Load().(string), Timeout: 10 * time.Second,
		Reread: func(context.Context) (string, string, error) { return l.written.Load().(string), "", nil },
	})
	l.wantActive(t, true)
	waitFor(t, 20*time.Second, func() error {
		if l.Opening() {
			return errors.New("the pool is still opening connections")
		}
		return nil
	})
	return l
}

func (l *login) wantActive(t testing.TB, want bool) {
	t.Helper()
	if user, err := l.User(t.Context(), "1"); err != nil || user.Active != want {
		t.Errorf("User = %+v, %v; want active %v", user, err, want)
	}
}

func (l *login) wantRefused(t testing.TB) {
	t.Helper()
	_, err := l.User(t.Context(), "1")
	if err == nil {
		t.Error("User = nil error, want a refusal")
	}
	noSecret(t, l.db, err)
}

func (l *login) wantReconfigured(t testing.TB, url string) {
	t.Helper()
	if err := l.Reconfigure(url, ""); err != nil {
		t.Fatal(err)
	}
}

// disconnect ends all connections of the directory.
func (l *login) disconnect(t testing.TB) {
	t.Helper()
	l.db.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE '"+l.role+"%'")
}

func (l *login) setPassword(t testing.TB, password string) {
	t.Helper()
	l.db.Exec(t, "ALTER ROLE "+l.role+" PASSWORD '"+password+"'")
}

// TestPasswordChanges changes the password of the server, of the file and of the directory in
// different orders.
func TestPasswordChanges(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, l *login)
	}{
		{"connections stay", func(t *testing.T, l *login) {
			l.db.Exec(t, "CREATE TABLE pids AS SELECT pid FROM pg_stat_activity WHERE usename = '"+l.role+"'")
			l.setPassword(t, "canary-2")
			l.wantActive(t, true) // on its connection
			l.wantReconfigured(t, l.url(l.db, l.role, "canary-2"))
			l.wantActive(t, true)
			l.db.Exec(t, "DO $$ BEGIN ASSERT NOT EXISTS (SELECT FROM pids WHERE pid NOT IN (SELECT pid FROM pg_stat_activity)); END $$")
			l.disconnect(t)
			l.wantActive(t, true)
		}},
		{"the server first, and the file is not yet noticed", func(t *testing.T, l *login) {
			l.setPassword(t, "canary-2")
			l.written.Store(l.url(l.db, l.role, "canary-2"))
			l.disconnect(t)
			l.wantActive(t, true)
			l.written.Store("") // the directory has adopted the password
			l.disconnect(t)
			l.wantActive(t, true)
		}},
		{"the file first", func(t *testing.T, l *login) {
			l.written.Store(l.url(l.db, l.role, "canary-2"))
			l.wantReconfigured(t, l.url(l.db, l.role, "canary-2"))
			l.disconnect(t)
			l.wantActive(t, true) // with the password before
			l.setPassword(t, "canary-2")
			l.disconnect(t)
			l.wantActive(t, true)
			// It has worked, so the one before is forgotten.
			l.setPassword(t, "canary-1")
			l.disconnect(t)
			l.wantRefused(t)
		}},
		{"twice before a connection", func(t *testing.T, l *login) {
			l.wantReconfigured(t, l.url(l.db, l.role, "canary-2"))
			l.wantReconfigured(t, l.url(l.db, l.role, "canary-3"))
			l.disconnect(t)
			l.wantActive(t, true)
		}},
		{"nobody has the password", func(t *testing.T, l *login) {
			l.setPassword(t, "canary-2")
			l.disconnect(t)
			l.wantRefused(t)
			l.written.Store(l.url(l.db, l.role, "canary-2"))
			l.wantActive(t, true)
		}},
		{"another user", func(t *testing.T, l *login) {
			l.wantReconfigured(t, l.url(l.db, l.role+"_b", "canary-b"))
			l.wantActive(t, true)
			l.db.Exec(t, "ALTER ROLE "+l.role+" NOLOGIN")
			l.disconnect(t)
			l.wantActive(t, true)
		}},
		{"another database", func(t *testing.T, l *login) {
			l.wantReconfigured(t, l.url(l.other, l.role, "canary-1"))
			l.wantActive(t, false)
		}},
		{"another database with a wrong password", func(t *testing.T, l *login) {
			l.wantReconfigured(t, l.url(l.other, l.role, "canary-x"))
			l.disconnect(t)
			l.wantRefused(t) // and not the answer of the database before
			l.wantReconfigured(t, l.url(l.other, l.role, "canary-1"))
			l.wantActive(t, false)
		}},
		{"a URL that cannot be read", func(t *testing.T, l *login) {
			for _, bad := range []string{"", "canary", "postgres://u:canary@h:x/d", l.url(l.db, l.role, "p") + "&prepared_statement_cache_size=0"} {
				err := l.Reconfigure(bad, "")
				if err == nil {
					t.Errorf("%s was taken", bad)
				}
				noSecret(t, l.db, err)
			}
			l.disconnect(t)
			l.wantActive(t, true)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.do(t, openLogin(t))
		})
	}
}

// TestMoveWhileConnecting checks that a connection that was being opened when the URL began to
// name another database answers no question.
func TestMoveWhileConnecting(t *testing.T) {
	t.Parallel()
	l := openLogin(t)
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	d := open(t, postgres.Config{DatabaseURL: strings.Replace(l.url(l.db, l.role, "canary-1"), l.db.Addr, front.Addr().String(), 1)})
	client, err := front.Accept() // the pool opens a connection by itself
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := d.Reconfigure(l.url(l.other, l.role, "canary-1"), ""); err != nil {
		t.Fatal(err)
	}
	server, err := net.Dial("tcp", l.db.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() { _, _ = io.Copy(server, client) }()
	go func() { _, _ = io.Copy(client, server) }()
	waitFor(t, 20*time.Second, func() error {
		if d.Opening() {
			return errors.New("the pool is still opening the connection")
		}
		return nil
	})
	if user, err := d.User(t.Context(), "1"); err != nil || user.Active {
		t.Errorf("User = %+v, %v; want the user of the other database, who is not active", user, err)
	}
}

// TestListenFollowsThePassword checks that announcements continue when the password changes, and
// that they come from the other database when the URL names one.
func TestListenFollowsThePassword(t *testing.T) {
	t.Parallel()
	l := openLogin(t)
	changes := make(chan string, 100)
	stop := l.Listen(postgres.Changes{
		User: func(id string) { changes <- "user " + id }, Users: func() { changes <- "users" }, APIKeys: func() {},
	})
	defer stop()
	await := func(want string) {
		t.Helper()
		for limit := time.After(20 * time.Second); ; {
			select {
			case got := <-changes:
				if got == want {
					return
				}
			case <-limit:
				t.Fatalf("not told of %s", want)
			}
		}
	}
	await("users")
	l.setPassword(t, "canary-2")
	l.written.Store(l.url(l.db, l.role, "canary-2"))
	l.disconnect(t)
	await("users") // it listens again, and does not wait as after a refusal
	l.db.Exec(t, "UPDATE users SET is_active = false")
	await("user 1")
	l.wantReconfigured(t, l.url(l.other, l.role, "canary-2"))
	await("users")
	l.other.Exec(t, "UPDATE users SET is_active = true")
	await("user 1")
}
