package authztest_test

import (
	"strings"
	"testing"

	"warder/authz/authztest"
)

func TestRedisServer(t *testing.T) {
	t.Parallel()
	r := authztest.StartRedis(t, "redis-canary")
	if len(r.Socket) > 100 {
		t.Errorf("the socket's name %q is too long for a unix socket", r.Socket)
	}
	r.Do(t, "SET", "k", "v")
	if got := r.Do(t, "EXISTS", "k"); got != ":1" {
		t.Errorf("EXISTS = %q, want :1", got)
	}
	r.Pause(t)
	r.Resume(t)
	r.Stop(t)
	r.Start(t)
	if got := r.Do(t, "EXISTS", "k"); got != ":0" {
		t.Errorf("EXISTS after a restart = %q, want :0", got)
	}
}

func TestPostgresServer(t *testing.T) {
	t.Parallel()
	p := authztest.StartPostgresServer(t)
	p.Exec(t, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
	p.Pause(t)
	p.Resume(t)
	p.Stop(t)
	p.Start(t)
	p.Exec(t, "INSERT INTO t VALUES (2)")
}

func TestPostgresDatabasesAreApart(t *testing.T) {
	t.Parallel()
	a, b := authztest.StartPostgres(t), authztest.StartPostgres(t)
	a.Exec(t, "CREATE TABLE t (n int)")
	b.Exec(t, "CREATE TABLE t (n int)")
	if a.Addr != b.Addr || a.Database == b.Database {
		t.Errorf("want two databases on one server, got %s/%s and %s/%s", a.Addr, a.Database, b.Addr, b.Database)
	}
	if !strings.Contains(a.URL(), a.Password) {
		t.Errorf("URL() has no password")
	}
}
