package redis_test

import (
	"context"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/redis"
)

// A login is a session store that logs in with an ACL user of its own.
type login struct {
	*redis.Sessions
	server  *authztest.Redis
	written atomic.Value // the URL that the configuration has now
}

func (l *login) url(user, password, database string) string {
	u := url.URL{Scheme: "redis", User: url.UserPassword(user, password), Host: l.server.Addr, Path: "/" + database}
	return u.String()
}

func openLogin(t *testing.T, tracked bool) *login {
	t.Helper()
	l := &login{server: authztest.StartRedis(t, password)}
	for _, user := range []string{"w", "b"} {
		l.server.Do(t, "ACL", "SETUSER", user, "on", ">canary-1", "~*", "&*", "+@all")
	}
	l.server.Do(t, "SET", "session:42:s1", "1") // in database 0 only
	l.written.Store(l.url("w", "canary-1", "0"))
	l.Sessions = open(t, redis.Config{
		URL: l.written.Load().(string), Tracked: tracked,
		Reread: func(context.Context) (redis.Secrets, error) {
			return redis.Secrets{URL: l.written.Load().(string)}, nil
		},
	})
	l.wantAlive(t, true)
	return l
}

func (l *login) wantAlive(t testing.TB, want bool) {
	t.Helper()
	if alive, err := l.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); err != nil || alive != want {
		t.Errorf("Alive = %v, %v; want %v", alive, err, want)
	}
}

func (l *login) wantRefused(t testing.TB) {
	t.Helper()
	_, err := l.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"})
	if err == nil || !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), "canary") {
		t.Errorf("Alive: %v, want WRONGPASS", err)
	}
}

func (l *login) wantReconfigured(t testing.TB, url string) {
	t.Helper()
	if err := l.Reconfigure(redis.Secrets{URL: url}); err != nil {
		t.Fatal(err)
	}
}

// setPassword leaves the user with only this password.
func (l *login) setPassword(t testing.TB, password string) {
	t.Helper()
	l.server.Do(t, "ACL", "SETUSER", "w", "resetpass", ">"+password)
}

func (l *login) disconnect(t testing.TB) {
	t.Helper()
	l.server.Do(t, "CLIENT", "KILL", "USER", "w")
	l.server.Do(t, "CLIENT", "KILL", "USER", "b")
}

// awaitTracking waits until facts are in use, and all changes before it are known.
func (l *login) awaitTracking(t testing.TB) {
	t.Helper()
	eventually(t, func() error { return l.Heard(t.Context()) })
}

// TestPasswordChanges changes the password of the server, of the file and of the store in
// different orders.
func TestPasswordChanges(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, l *login)
	}{
		{"connections stay", func(t *testing.T, l *login) {
			l.setPassword(t, "canary-2")
			l.wantAlive(t, true) // on its connection
			l.wantReconfigured(t, l.url("w", "canary-2", "0"))
			l.wantAlive(t, true)
			l.disconnect(t)
			l.wantAlive(t, true)
		}},
		{"the server first, and the file is not yet noticed", func(t *testing.T, l *login) {
			l.setPassword(t, "canary-2")
			l.written.Store(l.url("w", "canary-2", "0"))
			l.disconnect(t)
			l.wantAlive(t, true)
			l.written.Store("") // the store has adopted the password
			l.disconnect(t)
			l.wantAlive(t, true)
		}},
		{"the file first", func(t *testing.T, l *login) {
			l.written.Store(l.url("w", "canary-2", "0"))
			l.wantReconfigured(t, l.url("w", "canary-2", "0"))
			l.disconnect(t)
			l.wantAlive(t, true) // with the password before
			l.setPassword(t, "canary-2")
			l.disconnect(t)
			l.wantAlive(t, true)
			// It has worked, so the one before is forgotten.
			l.setPassword(t, "canary-1")
			l.disconnect(t)
			l.wantRefused(t)
		}},
		{"nobody has the password", func(t *testing.T, l *login) {
			l.setPassword(t, "canary-2")
			l.disconnect(t)
			l.wantRefused(t)
			l.written.Store(l.url("w", "canary-2", "0"))
			l.wantAlive(t, true)
		}},
		{"another user", func(t *testing.T, l *login) {
			l.wantReconfigured(t, l.url("b", "canary-1", "0"))
			l.server.Do(t, "ACL", "DELUSER", "w")
			l.wantAlive(t, true)
		}},
		{"another database", func(t *testing.T, l *login) {
			l.wantReconfigured(t, l.url("w", "canary-1", "3"))
			l.wantAlive(t, false)
		}},
		{"another database with a wrong password", func(t *testing.T, l *login) {
			l.wantReconfigured(t, l.url("w", "canary-x", "3"))
			l.wantRefused(t) // and not the answer of the database before
		}},
		{"a URL that cannot be read", func(t *testing.T, l *login) {
			for _, bad := range []string{"", "canary", "memory://", "redis://u:canary@h:x/0"} {
				if err := l.Reconfigure(redis.Secrets{URL: bad}); err == nil || strings.Contains(err.Error(), "canary") {
					t.Errorf("%s: %v", bad, err)
				}
			}
			l.disconnect(t)
			l.wantAlive(t, true)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.do(t, openLogin(t, false))
		})
	}
}

// TestTrackingFollowsThePassword checks that invalidation messages arrive after the password has
// changed, and that no fact of another database is used.
func TestTrackingFollowsThePassword(t *testing.T) {
	t.Parallel()
	l := openLogin(t, true)
	l.awaitTracking(t)
	l.setPassword(t, "canary-2")
	l.wantReconfigured(t, l.url("w", "canary-2", "0"))
	l.disconnect(t)
	l.awaitTracking(t)
	l.wantAlive(t, true)
	l.wantReconfigured(t, l.url("w", "canary-2", "3"))
	l.wantAlive(t, false) // at once
	l.awaitTracking(t)
	l.wantAlive(t, false)
}
