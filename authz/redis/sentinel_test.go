package redis_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/redis"
)

const sentinelPassword = "sentinel-canary-77c0"

// sentinelURL returns a URL with all passwords.
func sentinelURL(s *authztest.Sentinels) string {
	user := ""
	if p := s.Servers[0].Password; p != "" {
		user = url.UserPassword("", p).String() + "@"
	}
	return fmt.Sprintf("redis+sentinel://%s%s/%s/0?sentinel_password=%s", user, s.Hosts(), s.Name, s.Sentinels[0].Password)
}

func TestSentinelConformance(t *testing.T) {
	t.Parallel()
	s := authztest.StartSentinels(t, authztest.SentinelsConfig{Replicas: 1, Password: password, SentinelPassword: sentinelPassword})
	server := s.Servers[0]
	put := func(command string, value ...string) func(testing.TB, string, string) {
		return func(t testing.TB, user, id string) {
			server.Do(t, append([]string{command, "session:" + user + ":" + id}, value...)...)
		}
	}
	for _, tracked := range []bool{false, true} {
		t.Run(fmt.Sprint("tracked ", tracked), func(t *testing.T) {
			authztest.RunSessions(t, func(t testing.TB) authztest.SessionsFixture {
				server.Do(t, "FLUSHALL")
				store := open(t, redis.Config{URL: sentinelURL(s), Tracked: tracked})
				heard := func(do func(testing.TB, string, string)) func(testing.TB, string, string) {
					return func(t testing.TB, user, id string) {
						do(t, user, id)
						if tracked {
							eventually(t, func() error { return store.Heard(t.Context()) })
						}
					}
				}
				if tracked {
					wantTracks(t, store)
				}
				return authztest.SessionsFixture{
					Sessions: store, Put: heard(put("SET", "1", "EX", "3600")), Delete: heard(put("DEL")),
					PutAs: map[string]func(testing.TB, string, string){"hash": heard(put("HSET", "f", "v"))},
				}
			})
			if err := open(t, redis.Config{URL: sentinelURL(s)}).CheckTracking(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("commands", func(t *testing.T) {
		wantCommands(t, admin(t, redis.Config{URL: sentinelURL(s)}), func(id string) { put("SET", "1")(t, "42", id) })
		e, err := open(t, redis.Config{URL: sentinelURL(s)}).Examine(t.Context())
		if err != nil || !e.TellsRole || len(e.Excess) != 5 || e.Protected != "loopback" {
			t.Errorf("Examine = %+v, %v", e, err)
		}
	})
}

// TestSentinelFaults ends primaries in several ways while users log out. No check allows a session
// that has ended, and all is well again soon after a new primary is elected.
func TestSentinelFaults(t *testing.T) {
	t.Parallel()
	s := authztest.StartSentinels(t, authztest.SentinelsConfig{Replicas: 2})
	clients := map[*authztest.Redis]*goredis.Client{}
	for _, server := range s.Servers {
		clients[server] = goredis.NewClient(&goredis.Options{Addr: server.Addr, ContextTimeoutEnabled: true, MaxRetries: -1})
		t.Cleanup(func() { _ = clients[server].Close() })
	}
	// The application follows the first Sentinel too, because on a busy machine a server that is well
	// can seem to be down.
	application := func(ctx context.Context, _ string) (*goredis.Client, error) {
		server, err := s.Primary(ctx)
		return clients[server], err
	}
	stores := []checked{
		{"strict", open(t, redis.Config{URL: sentinelURL(s), Timeout: limit}), 0},
		{"tracked", openTracked(t, redis.Config{URL: sentinelURL(s), Timeout: limit}), promise},
	}
	l := startLoad(t, 2, application, stores...)
	l.wantLogouts(50, 2)

	t.Log("a Sentinel ends, and nothing happens")
	s.Sentinels[2].Stop(t)
	l.wantWell(stores...)
	s.Sentinels[2].Start(t)

	t.Log("the primary is killed")
	killed := s.AwaitPrimary(t, nil)
	killed.Stop(t)
	next := s.AwaitPrimary(t, killed)
	l.wantWell(stores...)
	l.wantLogouts(50, 1)
	killed.StartReplica(t, next)
	l.wantLogouts(50, 2)

	t.Log("the primary hangs, is replaced, and answers again as if it were the primary")
	hung := s.AwaitPrimary(t, nil)
	hung.Do(t, "CONFIG", "SET", "replica-priority", "0") // it is behind, and must not be elected
	hung.Pause(t)
	next = s.AwaitPrimary(t, hung)
	l.wantWell(stores...)
	l.wantLogouts(50, 1)
	hung.Resume(t)
	l.wantLogouts(100, 1)
	host, port, _ := net.SplitHostPort(next.Addr)
	hung.Do(t, "REPLICAOF", host, port) // the Sentinels would need ten seconds
	l.wantLogouts(50, 2)

	t.Log("another server is promoted while the primary answers")
	l.end()
	for i := range stores {
		stores[i].late = redis.TrustFor // until the Sentinels say it
	}
	l = startLoad(t, 2, application, stores...)
	l.wantLogouts(10, 2)
	before := s.AwaitPrimary(t, nil)
	s.Failover(t)
	s.AwaitPrimary(t, before)
	l.wantWell(stores...)
	l.wantLogouts(50, 1)
}

// TestSentinelMinority checks that a primary that no majority of the Sentinels confirms is not
// believed for longer than promised, although it answers.
func TestSentinelMinority(t *testing.T) {
	t.Parallel()
	s := authztest.StartSentinels(t, authztest.SentinelsConfig{Replicas: 1})
	s.Servers[0].Do(t, "SET", "session:42:s1", "1")
	for _, tracked := range []bool{false, true} {
		store := open(t, redis.Config{URL: sentinelURL(s), Tracked: tracked})
		if tracked {
			wantTracks(t, store)
		}
		wantAlive(t, store, "s1", true)
		s.Sentinels[0].Pause(t)
		s.Sentinels[2].Pause(t)
		cut := time.Now()
		last := cut
		eventually(t, func() error {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			began := time.Now()
			alive, err := store.Alive(ctx, authz.Session{UserID: "42", ID: "s1"})
			if err == nil && alive {
				last = began
				return errors.New("allowed")
			}
			if err == nil || !strings.Contains(err.Error(), "only 1 of 3 Sentinels answer, which is no majority") && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Alive = %v, %v", alive, err)
			}
			return nil
		})
		if late := last.Sub(cut); late >= redis.TrustFor {
			t.Errorf("tracked %v: allowed %v after the majority was lost", tracked, late)
		}
		s.Sentinels[0].Resume(t)
		s.Sentinels[2].Resume(t)
		eventually(t, func() error { return store.Check(t.Context()) })
		wantAlive(t, store, "s1", true)
	}
}

// TestSentinelPartition cuts warder, with one Sentinel and the primary, off from the others, which
// elect another primary. What the old one says is not believed, until the network is well again.
func TestSentinelPartition(t *testing.T) {
	t.Parallel()
	s := authztest.StartSentinels(t, authztest.SentinelsConfig{Replicas: 1})
	s.Servers[0].Do(t, "SET", "session:42:s1", "1")
	var far []*authztest.Proxy
	through := map[string]string{}
	for _, server := range []*authztest.Redis{s.Sentinels[1], s.Sentinels[2], s.Servers[1]} {
		proxy := authztest.StartProxy(t, server.Addr)
		far = append(far, proxy)
		through[server.Addr] = proxy.Addr
	}
	dial := func(address string) string {
		if at, is := through[address]; is {
			return at
		}
		return address
	}
	var stores []*redis.Sessions
	for _, tracked := range []bool{false, true} {
		store, err := redis.OpenThrough(redis.Config{URL: sentinelURL(s), Timeout: limit, Tracked: tracked}, dial)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		eventually(t, func() error { return store.Check(t.Context()) })
		wantAlive(t, store, "s1", true)
		stores = append(stores, store)
	}
	for _, proxy := range far {
		proxy.Cut()
	}
	cut := time.Now()
	s.Failover(t)
	next := s.AwaitPrimary(t, s.Servers[0])
	next.Do(t, "DEL", "session:42:s1")
	for until := cut.Add(4 * redis.TrustFor); time.Now().Before(until); {
		for _, store := range stores {
			began := time.Now()
			if alive, _ := store.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); alive && began.Sub(cut) >= redis.TrustFor {
				t.Errorf("allowed by the old primary, %v after the network was cut", began.Sub(cut))
			}
		}
	}
	if reply := s.Servers[0].Do(t, "EXISTS", "session:42:s1"); reply == ":1" {
		t.Log("the old primary would have allowed it")
	}
	for _, proxy := range far {
		proxy.Mend()
	}
	for _, store := range stores {
		eventually(t, func() error { return store.Check(t.Context()) })
		wantAlive(t, store, "s1", false)
	}
}

// TestSentinelErrors checks what is said about Sentinels that do not answer as they should.
func TestSentinelErrors(t *testing.T) {
	t.Parallel()
	s := authztest.StartSentinels(t, authztest.SentinelsConfig{Replicas: 0, Password: password, SentinelPassword: sentinelPassword})
	open1 := authztest.StartSentinel(t, "") // watches nothing
	for _, sentinel := range s.Sentinels {
		sentinel.Do(t, "ACL", "SETUSER", "few", "on", ">few-canary", "+ping")
		sentinel.Do(t, "ACL", "SETUSER", "watcher", "on", ">watcher-canary", "-@all",
			"+sentinel|myid", "+sentinel|master", "+sentinel|get-master-addr-by-name", "+sentinel|sentinels")
	}
	server := s.Servers[0]
	hosts, name := s.Hosts(), s.Name
	const data = "redis+sentinel://:" + password + "@"
	sentinel := redis.Sentinel{Password: sentinelPassword}
	for _, tt := range []struct {
		want, name string
		c          redis.Config
	}{
		{"", "a user with the documented rights", redis.Config{URL: data + hosts + "/" + name, Sentinel: redis.Sentinel{Username: "watcher", Password: "watcher-canary"}}},
		{"", "the form of go-redis", redis.Config{URL: "redis://:" + sentinelPassword + "@" + s.Sentinels[0].Addr + "?master_name=" + name + "&password=" + password + "&addr=" + s.Sentinels[1].Addr}},
		{"", "the form of Celery", redis.Config{URL: "sentinel://:" + password + "@" + strings.ReplaceAll(hosts, ",", ";sentinel://") + "/0", Sentinel: redis.Sentinel{MasterName: name, Password: sentinelPassword}}},
		{"", "one Sentinel of three", redis.Config{URL: data + s.Sentinels[2].Addr + "/" + name, Sentinel: sentinel}},
		{"", "one that is down", redis.Config{URL: data + "127.0.0.1:1," + hosts + "/" + name, Sentinel: sentinel}},
		{"no Sentinel answers; asking a Sentinel: redis cannot be reached: connection refused", "nobody listens", redis.Config{URL: data + "127.0.0.1:1/" + name}},
		{"the Sentinels require a password of their own: set sessions.sentinel.password_file", "no password", redis.Config{URL: data + hosts + "/" + name}},
		{"WRONGPASS; the user or the password of the Sentinels is wrong", "a wrong password", redis.Config{URL: data + hosts + "/" + name, Sentinel: redis.Sentinel{Password: "canary"}}},
		{"NOPERM; the user of the Sentinels needs +sentinel|myid", "few rights", redis.Config{URL: data + hosts + "/" + name, Sentinel: redis.Sentinel{Username: "few", Password: "few-canary"}}},
		{"the Sentinels watch no primary of the name in redis_url", "another name", redis.Config{URL: data + hosts + "/canary", Sentinel: sentinel}},
		{"the Sentinels watch no primary of the name in redis_url", "a Sentinel that watches nothing", redis.Config{URL: "redis+sentinel://" + open1.Addr + "/canary"}},
		{"the server is no Sentinel; write redis:// for a server that has sessions itself", "a server", redis.Config{URL: data + server.Addr + "/canary", Sentinel: redis.Sentinel{Password: password}}},
		{"NOAUTH; it requires a password, and redis_url has none", "the password of Sentinels only", redis.Config{URL: "redis+sentinel://" + hosts + "/" + name, Sentinel: sentinel}},
		{"WRONGPASS; the user or password in redis_url is wrong", "a wrong password of the primary", redis.Config{URL: "redis+sentinel://:canary@" + hosts + "/" + name, Sentinel: sentinel}},
		{"DB index is out of range", "no such database", redis.Config{URL: data + hosts + "/" + name + "/99", Sentinel: sentinel}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := tt.c
			if tt.want != "" && c.Timeout == 0 {
				c.Timeout = time.Second
			}
			store := open(t, c)
			err := store.Check(t.Context())
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Check = %v\nwant …%s…", err, tt.want)
			}
			noSecret(t, err)
			if alive, err := store.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); alive || (err == nil) != (tt.want == "") {
				t.Errorf("Alive = %v, %v", alive, err)
			}
		})
	}
}

// TestSentinelPasswordsChange checks that passwords of the servers and of the Sentinels change
// while the store is in use.
func TestSentinelPasswordsChange(t *testing.T) {
	t.Parallel()
	s := authztest.StartSentinels(t, authztest.SentinelsConfig{Replicas: 0, Password: password, SentinelPassword: sentinelPassword})
	for _, server := range append(s.Sentinels, s.Servers...) {
		server.Do(t, "ACL", "SETUSER", "w", "on", ">canary-1", "~*", "&*", "+@all")
	}
	s.Servers[0].Do(t, "SET", "session:42:s1", "1")
	address := "redis+sentinel://w@" + s.Hosts() + "/" + s.Name
	written := make(chan redis.Secrets, 1)
	written <- redis.Secrets{URL: address, Password: "canary-1", SentinelPassword: "canary-1"}
	store := open(t, redis.Config{
		URL: address, Password: "canary-1", Sentinel: redis.Sentinel{Username: "w", Password: "canary-1"},
		Reread: func(context.Context) (redis.Secrets, error) {
			now := <-written
			written <- now
			return now, nil
		},
	})
	wantAlive(t, store, "s1", true)
	set := func(password string) {
		t.Helper()
		for _, server := range append(s.Sentinels, s.Servers...) {
			server.Do(t, "ACL", "SETUSER", "w", "resetpass", ">"+password)
			server.Do(t, "CLIENT", "KILL", "USER", "w")
		}
	}
	well := func() {
		t.Helper()
		until := time.Now().Add(2 * redis.TrustFor) // what was heard before is no longer believed
		for time.Now().Before(until) {
			wantAlive(t, store, "s1", true)
			time.Sleep(20 * time.Millisecond)
		}
	}
	t.Log("the servers first")
	<-written
	written <- redis.Secrets{URL: address, Password: "canary-2", SentinelPassword: "canary-2"}
	set("canary-2")
	well()
	t.Log("the files first")
	<-written
	written <- redis.Secrets{URL: address, Password: "canary-3", SentinelPassword: "canary-3"}
	if err := store.Reconfigure(redis.Secrets{URL: address, Password: "canary-3", SentinelPassword: "canary-3"}); err != nil {
		t.Fatal(err)
	}
	for _, server := range append(s.Sentinels, s.Servers...) {
		server.Do(t, "CLIENT", "KILL", "USER", "w")
	}
	well()
	set("canary-3")
	well()
	t.Log("one server instead of Sentinels, and back")
	for _, address := range []string{"redis://w@" + s.Servers[0].Addr, address} {
		secrets := redis.Secrets{URL: address, Password: "canary-3", SentinelPassword: "canary-3"}
		err := store.Reconfigure(secrets)
		if want := "sessions.sentinel: is set, and redis_url names no Sentinels"; strings.HasPrefix(address, "redis://") && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("Reconfigure: %v, want %s", err, want)
		}
		wantAlive(t, store, "s1", true)
	}
}

// TestSentinelTLS checks that connections to Sentinels and to the primary use TLS, and verify the
// name of each host.
func TestSentinelTLS(t *testing.T) {
	t.Parallel()
	s := authztest.StartSentinels(t, authztest.SentinelsConfig{Replicas: 0})
	s.Servers[0].Do(t, "SET", "session:42:s1", "1")
	ours, other := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	for _, tt := range []struct {
		want     string
		sentinel *authority
		primary  *authority
		name     string // of the certificates; "" for 127.0.0.1
		expected string
	}{
		{"", ours, ours, "", ""},
		{"", ours, ours, "redis.internal", "redis.internal"},
		{"asking a Sentinel: redis has a certificate that is not trusted", other, ours, "", ""},
		{"redis has a certificate that is not trusted", ours, other, "", ""},
		{"it is for another name", ours, ours, "redis.internal", ""},
	} {
		through := map[string]string{}
		for _, server := range append(s.Sentinels, s.Servers...) {
			by := tt.sentinel
			if server == s.Servers[0] {
				by = tt.primary
			}
			through[server.Addr] = terminate(t, server.Addr, by.server(t, tt.name, time.Now().Add(time.Hour))).addr
		}
		ca := write(t, dir+"/ca.pem", ours.pem)
		c := redis.Config{URL: "rediss+sentinel://" + s.Hosts() + "/" + s.Name, Timeout: 2 * time.Second, TLS: redis.TLS{CAFile: ca, ServerName: tt.expected}}
		store, err := redis.OpenThrough(c, func(address string) string { return through[address] })
		if err != nil {
			t.Fatal(err)
		}
		alive, err := store.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"})
		if alive != (tt.want == "") || (err == nil) != alive || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: Alive = %v, %v", tt.want, alive, err)
		}
		_ = store.Close()
	}
}
