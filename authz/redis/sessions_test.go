package redis_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/redis"
)

var _ authz.Sessions = (*redis.Sessions)(nil)

const (
	password = "redis-canary-5b1e"
	// patience is the timeout of questions that must not time out on a busy machine.
	patience = 10 * time.Second
	// recovery is how soon everything must work again after Redis is back: 2s by
	// contract, doubled for a busy machine.
	recovery = 4 * time.Second
)

func TestMain(m *testing.M) {
	logging.Disable() // the client logs about its pool
	m.Run()
}

func open(t testing.TB, c redis.Config) *redis.Sessions {
	t.Helper()
	if c.Timeout == 0 {
		c.Timeout = patience
	}
	s, err := redis.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		template string
		key      string // with %[1]s for the user, %[2]s for the session
		unix     bool
	}{
		{"", "session:%[1]s:%[2]s", false},
		{"{jti}/of/{user_id}/", "%[2]s/of/%[1]s/", true},
		{"session:{{user_id}}:{jti}", "session:{%[1]s}:%[2]s", false},
	} {
		t.Run("template "+tt.template, func(t *testing.T) {
			t.Parallel()
			server := authztest.StartRedis(t, password)
			key := func(user, id string) string { return fmt.Sprintf(tt.key, user, id) }
			put := func(command string, value ...string) func(testing.TB, string, string) {
				return func(t testing.TB, user, id string) {
					server.Do(t, append([]string{command, key(user, id)}, value...)...)
				}
			}
			address := server.URL()
			if tt.unix {
				address = "unix://:" + password + "@" + server.Socket
			}
			authztest.RunSessions(t, func(t testing.TB) authztest.SessionsFixture {
				server.Do(t, "FLUSHALL")
				return authztest.SessionsFixture{
					Sessions: open(t, redis.Config{URL: address, KeyTemplate: tt.template}),
					Put:      put("SET", `{"user_id": 42}`, "EX", "3600"),
					Delete:   put("DEL"),
					PutAs: map[string]func(testing.TB, string, string){
						"empty-string": put("SET", ""),
						"zero":         put("SET", "0"),
						"false":        put("SET", "false"),
						"hash":         put("HSET", "f", "v"),
						"list":         put("RPUSH", "v"),
						"set":          put("SADD", "v"),
						"sorted-set":   put("ZADD", "1", "v"),
						"stream":       put("XADD", "*", "f", "v"),
					},
				}
			})
		})
	}
}

// An invalid id never finds the key of another session.
func TestInvalidIDs(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	s := open(t, redis.Config{URL: server.URL()})
	for _, key := range []string{"session:42:a:b", "session::s1", "session:42:", "session:42:s 1", "session:42:*"} {
		server.Do(t, "SET", key, "1")
	}
	for _, ask := range [][2]string{{"42:a", "b"}, {"42", "a:b"}, {"", "s1"}, {"42", ""}, {"42", "s 1"}, {"42", "*"}, {strings.Repeat("4", 129), "s1"}} {
		if alive, err := s.Alive(t.Context(), authz.Session{UserID: ask[0], ID: ask[1]}); alive || err != nil {
			t.Errorf("Alive(%q) = %v, %v; want false", ask, alive, err)
		}
	}
}

func TestExpiredKeyIsGone(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	s := open(t, redis.Config{URL: server.URL()})
	server.Do(t, "SET", "session:42:s1", "1", "PX", "1")
	eventually(t, func() error {
		alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"})
		if err == nil && alive {
			err = fmt.Errorf("alive after its expiry")
		}
		return err
	})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, password)
	server.Do(t, "ACL", "SETUSER", "reader", "on", ">reader-canary", "~session:*", "+exists")
	server.Do(t, "ACL", "SETUSER", "other", "on", ">other-canary", "~other:*", "+exists")
	server.Do(t, "ACL", "SETUSER", "getter", "on", ">getter-canary", "~*", "+get")
	secure := httptest.NewUnstartedServer(nil)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	at := func(user, secret string) string {
		return (&url.URL{Scheme: "redis", User: url.UserPassword(user, secret), Host: server.Addr}).String()
	}
	for _, tt := range []struct {
		want string // in the error; "" for none
		name string
		url  string
	}{
		{"", "all rights", server.URL()},
		{"", "only what it needs", at("reader", "reader-canary")},
		{"", "another database", server.URL()[:len(server.URL())-1] + "3"},
		{"NOPERM; the user needs +exists on the session keys", "other keys", at("other", "other-canary")},
		{"NOPERM", "other commands", at("getter", "getter-canary")},
		{"WRONGPASS; the user or password in redis_url is wrong", "wrong password", at("", "wrong-canary")},
		{"WRONGPASS", "unknown user", at("nobody", "wrong-canary")},
		{"NOAUTH; it requires a password, and redis_url has none", "no password", "redis://" + server.Addr},
		{"redis answers", "no such database", server.URL()[:len(server.URL())-1] + "99999"},
		{"cannot be reached: connection refused", "nobody listens", "redis://127.0.0.1:1"},
		{"cannot be reached: no such socket", "no socket", "unix:///nonexistent/redis.sock"},
		{"has a certificate that is not trusted", "an untrusted certificate", "rediss://" + secure.Listener.Addr().String()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, redis.Config{URL: tt.url})
			err := s.Check(t.Context())
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Check = %v, want %q", err, tt.want)
			}
			noSecret(t, err)
			alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"})
			if alive || (err == nil) != (tt.want == "") {
				t.Errorf("Alive = %v, %v; want the error of Check", alive, err)
			}
			noSecret(t, err)
		})
	}
}

func TestReplicaIsRefused(t *testing.T) {
	t.Parallel()
	primary, replica := authztest.StartRedis(t, ""), authztest.StartRedis(t, "")
	host, port, _ := strings.Cut(primary.Addr, ":")
	replica.Do(t, "REPLICAOF", host, port)
	s := open(t, redis.Config{URL: replica.URL()})
	if err := s.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "is a replica; name the primary") {
		t.Errorf("Check of a replica = %v", err)
	}
	replica.Do(t, "REPLICAOF", "NO", "ONE")
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("Check of a promoted replica = %v", err)
	}
}

// A demoted primary keeps its connections open and still has sessions that are deleted on
// the new primary.
func TestDemotedPrimaryIsRefused(t *testing.T) {
	t.Parallel()
	next, server := authztest.StartRedis(t, ""), authztest.StartRedis(t, "")
	server.Do(t, "ACL", "SETUSER", "reader", "on", ">reader", "~session:*", "+exists", "+role")
	for _, u := range []string{"", "reader:reader@"} {
		s := open(t, redis.Config{URL: "redis://" + u + server.Addr})
		server.Do(t, "SET", "session:42:s1", "1")
		for range 2 {
			if alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); err != nil || !alive {
				t.Fatalf("Alive = %v, %v", alive, err)
			}
		}
		host, port, _ := strings.Cut(next.Addr, ":")
		server.Do(t, "REPLICAOF", host, port)
		for range 3 {
			if alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); alive || err == nil || !strings.Contains(err.Error(), "is a replica; name the primary") {
				t.Errorf("Alive of a demoted primary = %v, %v", alive, err)
			}
		}
		server.Do(t, "REPLICAOF", "NO", "ONE")
		eventually(t, func() error { return s.Check(t.Context()) })
	}
}

// When the configured address moves to the new primary, connections to the demoted one are
// replaced.
func TestDemotedPrimaryIsLeft(t *testing.T) {
	t.Parallel()
	next, server := authztest.StartRedis(t, ""), authztest.StartRedis(t, "")
	next.Do(t, "SET", "session:42:s1", "1")
	server.Do(t, "SET", "session:42:s1", "1")
	var primary atomic.Pointer[string]
	primary.Store(&server.Addr)
	s := open(t, redis.Config{URL: "redis://" + forward(t, &primary)})
	if alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); err != nil || !alive {
		t.Fatalf("Alive = %v, %v", alive, err)
	}
	host, port, _ := strings.Cut(next.Addr, ":")
	server.Do(t, "REPLICAOF", host, port)
	primary.Store(&next.Addr)
	_, _ = s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}) // detects the demotion
	eventually(t, func() error {
		alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"})
		if err == nil && !alive {
			err = errors.New("not alive")
		}
		return err
	})
}

// forward proxies each new connection to the address that to holds at that time.
func forward(t *testing.T, to *atomic.Pointer[string]) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", *to.Load())
			if err != nil {
				near.Close()
				continue
			}
			for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
				go func() {
					_, _ = io.Copy(pair[0], pair[1])
					pair[0].Close()
				}()
			}
		}
	}()
	return l.Addr().String()
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		want string
		c    redis.Config
	}{
		{"redis_url: is empty", redis.Config{}},
		{"the scheme http:// is not known; use redis://", redis.Config{URL: "http://x"}},
		{"sentinel.master_name: is the name that the Sentinels have for the primary, and redis_url has none either", redis.Config{URL: "redis+sentinel://x"}},
		{"sentinel.master_name: is the name", redis.Config{URL: "redis+sentinel://x", Sentinel: redis.Sentinel{MasterName: "can!ary"}}},
		{"sentinel.master_name: is set, and redis_url has it too", redis.Config{URL: "redis+sentinel://x/main", Sentinel: redis.Sentinel{MasterName: "main"}}},
		{"sentinel.username: is set, and redis_url has it too", redis.Config{URL: "redis+sentinel://x/main?sentinel_username=a", Sentinel: redis.Sentinel{Username: "canary"}}},
		{"sentinel.password_file: is set, and redis_url has it too", redis.Config{URL: "redis://:canary@x?master_name=main", Sentinel: redis.Sentinel{Password: "canary"}}},
		{"sessions.sentinel: is set, and redis_url names no Sentinels", redis.Config{URL: "redis://x", Sentinel: redis.Sentinel{Password: "canary"}}},
		{"password_file: is set, and redis_url holds a password too", redis.Config{URL: "redis+sentinel://:canary@x/main", Password: "canary"}},
		{"redis_url: cannot be read", redis.Config{URL: "canary"}},
		{"redis_url: cannot be read", redis.Config{URL: "redis://:pass-canary/x@host/0"}},
		{"redis_url: cannot be read", redis.Config{URL: "redis://:pass%zcanary@host"}},
		{"redis_url: cannot be read", redis.Config{URL: "redis://host/canary"}},
		{"redis_url: cannot be read", redis.Config{URL: "redis://:a?canary-b=c@host/0"}},
		{"redis_url: cannot be read", redis.Config{URL: "unix://"}},
		{"redis_url: has parameters for TLS", redis.Config{URL: "redis://:canary@host/0?ssl_cert_reqs=none"}},
		{"redis_url: cannot be read", redis.Config{URL: "redis://:canary@host/0?db=canary"}},
		{"timeout: -1ns is negative", redis.Config{URL: "redis://host", Timeout: -1}},
		{"-1 is not a pool size", redis.Config{URL: "redis://host", PoolSize: -1}},
		{"{user_id} 0 times", redis.Config{URL: "redis://host", KeyTemplate: "session:{jti}"}},
		{"{jti} 0 times", redis.Config{URL: "redis://host", KeyTemplate: "session:{user_id}"}},
		{"{jti} 2 times", redis.Config{URL: "redis://host", KeyTemplate: "{user_id}:{jti}:{jti}"}},
		{"braces other than", redis.Config{URL: "redis://host", KeyTemplate: "{user_id}:{jti}:{session_id}"}},
		{"braces other than", redis.Config{URL: "redis://host", KeyTemplate: "{{{user_id}}}:{jti}"}},
		{"braces other than", redis.Config{URL: "redis://host", KeyTemplate: "{x{user_id}}:{jti}"}},
		{"braces other than", redis.Config{URL: "redis://host", KeyTemplate: "{session}:{user_id}:{jti}"}},
		{"no separator", redis.Config{URL: "redis://host", KeyTemplate: "session:{user_id}{jti}"}},
		{"no separator", redis.Config{URL: "redis://host", KeyTemplate: "session:{user_id}-{jti}"}},
		{"no separator", redis.Config{URL: "redis://host", KeyTemplate: "session:{jti}.x.{user_id}"}},
		{"longer than 512 bytes", redis.Config{URL: "redis://host", KeyTemplate: strings.Repeat("x", 512) + "{user_id}:{jti}"}},
	} {
		s, err := redis.New(tt.c)
		if err == nil || s != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New(%+v) = %v, want %q", tt.c, err, tt.want)
		}
		noSecret(t, err)
	}
}

func TestConcurrentUseOfAFewConnections(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	s := open(t, redis.Config{URL: server.URL(), PoolSize: 3})
	const users = 16
	for i := range users {
		server.Do(t, "SET", fmt.Sprintf("session:%d:s", i), "1")
	}
	var wg sync.WaitGroup
	for i := range users {
		wg.Go(func() {
			user, other := fmt.Sprint(i), fmt.Sprint(i+users)
			for n := range 200 {
				// Every other question is cancelled, at a different moment each time.
				// Its reply must never be taken for the next question's.
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*2*time.Microsecond)
				if n%2 == 0 {
					ctx = t.Context()
				}
				if alive, err := s.Alive(ctx, authz.Session{UserID: user, ID: "s"}); err == nil && !alive {
					t.Errorf("session of %s is not alive", user)
				} else if err != nil && n%2 == 0 {
					t.Errorf("session of %s: %v", user, err)
				}
				if alive, _ := s.Alive(ctx, authz.Session{UserID: other, ID: "s"}); alive {
					t.Errorf("session of %s is alive", other)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	// The client that runs this EVAL is counted too.
	clients := server.Do(t, "EVAL", `return tonumber(string.match(redis.call("INFO", "clients"), "connected_clients:(%d+)"))`, "0")
	if n, err := strconv.Atoi(strings.TrimPrefix(clients, ":")); err != nil || n > 4 {
		t.Errorf("%s connections, want at most 3 and the one that runs EVAL", clients)
	}
}

// eventually calls ask until it returns nil, for at most the time recovery.
func eventually(t testing.TB, ask func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), recovery)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("after %v: %v", recovery, err)
		case <-again.C:
		}
	}
}

func noSecret(t testing.TB, err error) {
	t.Helper()
	if err != nil && (strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), "session:42")) {
		t.Errorf("the error contains a secret, an address or a key: %v", err)
	}
}
