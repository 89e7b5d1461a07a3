package redis_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/redis"
)

// promise bounds how late a logout may be seen, whatever happens.
const promise = time.Second

// openTracked opens sessions with Tracked and waits until facts are in use.
func openTracked(t testing.TB, c redis.Config) *redis.Sessions {
	t.Helper()
	c.Tracked = true
	s := open(t, c)
	wantTracks(t, s)
	return s
}

func wantTracks(t testing.TB, s *redis.Sessions) {
	t.Helper()
	eventually(t, func() error {
		if !s.Tracks() {
			return errors.New("nothing is tracked")
		}
		return nil
	})
}

// hear waits until the invalidation messages for all earlier changes have been applied.
func hear(t testing.TB, s *redis.Sessions) {
	t.Helper()
	if err := s.Heard(t.Context()); err != nil {
		t.Fatalf("waiting for invalidation messages: %v", err)
	}
}

func wantAlive(t testing.TB, s *redis.Sessions, id string, want bool) {
	t.Helper()
	if alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: id}); alive != want || err != nil {
		t.Errorf("Alive(%s) = %v, %v; want %v", id, alive, err, want)
	}
}

// wantKept asks about a session and requires that the answer is cached.
func wantKept(t testing.TB, s *redis.Sessions, id string, want bool) {
	t.Helper()
	wantAlive(t, s, id, want)
	if alive, known := s.Kept("42", id); !known || alive != want {
		t.Fatalf("the fact about %s is %v, cached %v; want %v", id, alive, known, want)
	}
}

func TestTrackedConformance(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		template string
		key      string
	}{
		{"", "session:%[1]s:%[2]s"},
		{"{jti}/of/{user_id}/", "%[2]s/of/%[1]s/"}, // no prefix: Redis sends invalidation messages for every key
	} {
		t.Run("template "+tt.template, func(t *testing.T) {
			t.Parallel()
			server := authztest.StartRedis(t, password)
			authztest.RunSessions(t, func(t testing.TB) authztest.SessionsFixture {
				server.Do(t, "FLUSHALL")
				s := openTracked(t, redis.Config{URL: "unix://:" + password + "@" + server.Socket, KeyTemplate: tt.template})
				put := func(command string, value ...string) func(testing.TB, string, string) {
					return func(t testing.TB, user, id string) {
						server.Do(t, append([]string{command, fmt.Sprintf(tt.key, user, id)}, value...)...)
						hear(t, s)
					}
				}
				return authztest.SessionsFixture{
					Sessions: s,
					Put:      put("SET", `{"user_id": 42}`, "EX", "3600"),
					Delete:   put("DEL"),
					PutAs: map[string]func(testing.TB, string, string){
						"empty-string": put("SET", ""),
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

// questions returns the number of PTTL commands since its last call. Besides the test's
// own, they include those of proofs.
func questions(t testing.TB, server *authztest.Redis) int {
	t.Helper()
	reply := server.Do(t, "EVAL", `return tonumber(string.match(redis.call("INFO", "commandstats"), "cmdstat_pttl:calls=(%d+)") or 0)`, "0")
	server.Do(t, "CONFIG", "RESETSTAT")
	n, err := strconv.Atoi(strings.TrimPrefix(reply, ":"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Many checks of one session ask Redis once, whether the session is alive or not.
func TestTrackedAsksOnce(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	server.Do(t, "SET", "session:42:s1", "1")
	s := openTracked(t, redis.Config{URL: server.URL()})
	questions(t, server)
	began := time.Now()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				wantAlive(t, s, "s1", true)
				wantAlive(t, s, "gone", false)
			}
		})
	}
	wg.Wait()
	if n, proofs := questions(t, server), 2+int(time.Since(began)/(100*time.Millisecond)); n > 2+proofs {
		t.Errorf("%d questions, want 2 and at most %d proofs", n, proofs)
	}
	// A missing session is alive as soon as it is created.
	server.Do(t, "SET", "session:42:gone", "1")
	hear(t, s)
	wantKept(t, s, "gone", true)
}

// The answer of a fill from before a logout is not stored after the logout.
func TestFillRacesALogout(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	g := startGate(t, server.Addr)
	s := openTracked(t, redis.Config{URL: "redis://" + g.addr})
	for i := range 5 {
		id := fmt.Sprint("s", i)
		key := "session:42:" + id
		server.Do(t, "SET", key, "1")
		hear(t, s)
		g.hold(func(_ bool, asked []byte) bool { return bytes.Contains(asked, []byte("pttl\r\n$13\r\n"+key)) })
		first := make(chan bool, 1)
		go func() {
			alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: id})
			first <- alive && err == nil
		}()
		g.awaitHolding() // Redis has answered, and the answer has not arrived
		server.Do(t, "DEL", key)
		hear(t, s)
		g.hold(nil)
		if !<-first {
			t.Errorf("the check that began before the logout was denied")
		}
		if alive, known := s.Kept("42", id); known && alive {
			t.Fatal("the session is cached as alive after its logout")
		}
		wantKept(t, s, id, false)
	}
}

// A check that begins after a logout's invalidation message was applied does not join a
// fill from before it. A check that joined earlier, but began after the logout, does not
// use the fill's answer.
func TestStaleAnswerIsNotUsed(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	g := startGate(t, server.Addr)
	s := openTracked(t, redis.Config{URL: "redis://" + g.addr})
	server.Do(t, "SET", "session:42:s1", "1")
	hear(t, s)
	var held atomic.Pointer[byte] // identifies the connection by its buffer of requests
	answers := func(asked []byte) bool {
		if bytes.Contains(asked, []byte("session:42:s1")) {
			held.CompareAndSwap(nil, &asked[0])
		}
		return len(asked) > 0 && held.Load() == &asked[0]
	}
	g.hold(func(stream bool, asked []byte) bool { return stream || answers(asked) })
	ask := func() chan bool {
		said := make(chan bool, 1)
		go func() {
			alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"})
			if err != nil {
				t.Error(err)
			}
			said <- alive
		}()
		return said
	}
	first := ask()
	eventually(t, func() error {
		if held.Load() == nil {
			return errors.New("no reply is held")
		}
		return nil
	})
	server.Do(t, "DEL", "session:42:s1")
	second := ask() // the logout's message has not arrived, so it joins the fill
	eventually(t, func() error {
		if s.Waiting("42", "s1") != 2 {
			return errors.New("two checks should be waiting")
		}
		return nil
	})
	g.hold(func(_ bool, asked []byte) bool { return answers(asked) })
	hear(t, s)
	wantKept(t, s, "s1", false) // the third check does not join the fill
	g.hold(nil)
	if !<-first {
		t.Error("the check that began before the logout was denied")
	}
	if <-second {
		t.Error("a check that began after the logout was allowed after the invalidation message")
	}
	wantKept(t, s, "s1", false)
}

// A fact expires with its key, even if no invalidation message arrives.
func TestFactExpiresWithItsKey(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	g := startGate(t, server.Addr)
	s := openTracked(t, redis.Config{URL: "redis://" + g.addr})
	hear(t, s) // a fresh proof
	const life = 300 * time.Millisecond
	earliest := time.Now().Add(life - 2*time.Millisecond) // Redis counts whole milliseconds
	server.Do(t, "SET", "session:42:s1", "1", "PX", fmt.Sprint(life.Milliseconds()))
	latest := time.Now().Add(life)
	hear(t, s)
	g.hold(func(stream bool, _ []byte) bool { return stream })
	wantKept(t, s, "s1", true)
	for alive := true; alive; {
		began := time.Now()
		var err error
		if alive, err = s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); err != nil {
			t.Fatal(err)
		}
		if alive && began.After(latest) {
			t.Fatalf("alive %v after its expiry", began.Sub(latest))
		}
		if !alive && time.Now().Before(earliest) {
			t.Error("expired early")
		}
	}
}

// A stage is a server with tracked sessions in front of it.
type stage struct {
	server *authztest.Redis
	gate   *gate            // in front of proxy
	proxy  *authztest.Proxy // in front of server
	s      *redis.Sessions
}

// TestLogoutIsSeen checks, for various faults around a logout, that no check that begins
// later than the promise after the logout's acknowledgement is allowed.
func TestLogoutIsSeen(t *testing.T) {
	t.Parallel()
	var rows []func()
	run := func(name string, row func(*testing.T)) { rows = append(rows, func() { t.Run(name, row) }) }
	logout := func(t testing.TB, on *stage) time.Time {
		on.server.Do(t, "DEL", "session:42:s1")
		return time.Now()
	}
	for _, tt := range []struct {
		name string
		// happen returns the time at which the session ended.
		happen func(t testing.TB, on *stage) time.Time
		after  func(t testing.TB, on *stage) // ends the fault; may be nil
	}{
		{"nothing else", logout, nil},
		{"invalidation messages are held", func(t testing.TB, on *stage) time.Time {
			on.gate.hold(func(stream bool, _ []byte) bool { return stream })
			return logout(t, on)
		}, func(_ testing.TB, on *stage) { on.gate.hold(nil) }},
		{"replies are held", func(t testing.TB, on *stage) time.Time {
			on.gate.hold(func(stream bool, _ []byte) bool { return !stream })
			return logout(t, on)
		}, func(_ testing.TB, on *stage) { on.gate.hold(nil) }},
		{"the network is cut", func(t testing.TB, on *stage) time.Time {
			on.proxy.Cut()
			return logout(t, on)
		}, func(_ testing.TB, on *stage) { on.proxy.Mend() }},
		{"the network is cut for a moment", func(t testing.TB, on *stage) time.Time {
			on.proxy.Cut()
			ended := logout(t, on)
			on.proxy.Mend()
			return ended
		}, nil},
		{"the stream's connection is killed before", func(t testing.TB, on *stage) time.Time {
			on.server.Do(t, "CLIENT", "KILL", "TYPE", "pubsub")
			return logout(t, on)
		}, nil},
		{"the stream's connection is killed after", func(t testing.TB, on *stage) time.Time {
			ended := logout(t, on)
			on.server.Do(t, "CLIENT", "KILL", "TYPE", "pubsub")
			return ended
		}, nil},
		{"in one transaction with the kill", func(t testing.TB, on *stage) time.Time {
			on.server.Do(t, "EVAL", `redis.call("DEL", "session:42:s1"); return redis.call("PING")`, "0")
			on.server.Do(t, "CLIENT", "KILL", "TYPE", "pubsub")
			return time.Now()
		}, nil},
		{"all connections are killed", func(t testing.TB, on *stage) time.Time {
			on.server.Do(t, "CLIENT", "KILL", "TYPE", "pubsub")
			on.server.Do(t, "CLIENT", "KILL", "TYPE", "normal")
			return logout(t, on)
		}, nil},
		{"Redis restarts without its data", func(t testing.TB, on *stage) time.Time {
			on.server.Stop(t)
			ended := time.Now()
			on.server.Start(t)
			return ended
		}, nil},
		{"Redis stops", func(t testing.TB, on *stage) time.Time {
			on.server.Stop(t)
			return time.Now()
		}, func(t testing.TB, on *stage) { on.server.Start(t) }},
		{"Redis freezes after it", func(t testing.TB, on *stage) time.Time {
			on.gate.hold(func(stream bool, _ []byte) bool { return stream })
			ended := logout(t, on)
			on.server.Pause(t)
			return ended
		}, func(t testing.TB, on *stage) { on.server.Resume(t); on.gate.hold(nil) }},
		{"FLUSHALL", func(t testing.TB, on *stage) time.Time {
			on.server.Do(t, "FLUSHALL")
			return time.Now()
		}, nil},
		{"FLUSHDB", func(t testing.TB, on *stage) time.Time {
			on.server.Do(t, "FLUSHDB", "ASYNC")
			return time.Now()
		}, nil},
		{"UNLINK", func(t testing.TB, on *stage) time.Time {
			on.server.Do(t, "UNLINK", "session:42:s1")
			return time.Now()
		}, nil},
		{"RENAME", func(t testing.TB, on *stage) time.Time {
			on.server.Do(t, "RENAME", "session:42:s1", "x")
			return time.Now()
		}, nil},
		{"EXPIRE in the past", func(t testing.TB, on *stage) time.Time {
			on.server.Do(t, "EXPIRE", "session:42:s1", "-1")
			return time.Now()
		}, nil},
		{"PEXPIRE", func(t testing.TB, on *stage) time.Time {
			on.server.Do(t, "PEXPIRE", "session:42:s1", "100")
			return time.Now().Add(100 * time.Millisecond)
		}, nil},
		{"the password changes", func(t testing.TB, on *stage) time.Time {
			on.server.Do(t, "CONFIG", "SET", "requirepass", "other-canary")
			on.server.Password = "other-canary"
			on.server.Do(t, "CLIENT", "KILL", "TYPE", "pubsub")
			on.server.Do(t, "CLIENT", "KILL", "TYPE", "normal")
			return logout(t, on)
		}, func(t testing.TB, on *stage) {
			on.server.Do(t, "CONFIG", "SET", "requirepass", password)
			on.server.Password = password
		}},
		{"the user loses its permissions", func(t testing.TB, on *stage) time.Time {
			on.server.Do(t, "ACL", "SETUSER", "default", "-@all", "+acl", "+auth", "+del", "+exists", "+ping", "+set")
			return logout(t, on)
		}, func(t testing.TB, on *stage) { on.server.Do(t, "ACL", "SETUSER", "default", "+@all") }},
		{"the primary is demoted", func(t testing.TB, on *stage) time.Time {
			on.server.Do(t, "REPLICAOF", "127.0.0.1", "1") // it does not see the logout
			return time.Now()
		}, func(t testing.TB, on *stage) { on.server.Do(t, "REPLICAOF", "NO", "ONE") }},
	} {
		run(tt.name, func(t *testing.T) {
			on := &stage{server: authztest.StartRedis(t, password)}
			on.proxy = authztest.StartProxy(t, on.server.Addr)
			on.gate = startGate(t, on.proxy.Addr)
			at := &url.URL{Scheme: "redis", User: url.UserPassword("", password), Host: on.gate.addr}
			on.s = openTracked(t, redis.Config{URL: at.String(), Timeout: limit})
			on.server.Do(t, "SET", "session:42:s1", "1")
			hear(t, on.s)
			wantKept(t, on.s, "s1", true)

			seen := watch(t, on.s, "s1")
			ended := tt.happen(t, on)
			seen.wantGone(t, ended)

			if tt.after != nil {
				tt.after(t, on)
			}
			on.server.Do(t, "SET", "session:42:s1", "1")
			eventually(t, func() error {
				if alive, err := on.s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); err != nil || !alive {
					return fmt.Errorf("Alive = %v, %w", alive, err)
				}
				if alive, known := on.s.Kept("42", "s1"); !alive || !known || !on.s.Tracks() {
					return errors.New("facts are not used again")
				}
				return nil
			})
		})
	}
	// The rows mostly wait, so more of them run at a time than there are processors.
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, row := range rows {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			row()
		})
	}
	wg.Wait()
}

// A watcher checks one session every millisecond.
type watcher struct {
	stop    chan struct{}
	stopped chan struct{}

	checks    int
	lastAllow time.Time // start of the last check that was allowed
}

func watch(t testing.TB, s *redis.Sessions, id string) *watcher {
	t.Helper()
	w := &watcher{stop: make(chan struct{}), stopped: make(chan struct{})}
	go func() {
		defer close(w.stopped)
		again := time.NewTicker(time.Millisecond)
		defer again.Stop()
		for {
			began := time.Now()
			if alive, _ := s.Alive(t.Context(), authz.Session{UserID: "42", ID: id}); alive {
				w.lastAllow = began
			}
			w.checks++
			select {
			case <-w.stop:
				return
			case <-again.C:
			}
		}
	}()
	return w
}

// wantGone stops the watcher well after the promise is due, and fails the test if a check
// was allowed too late.
func (w *watcher) wantGone(t testing.TB, ended time.Time) {
	t.Helper()
	time.Sleep(time.Until(ended.Add(promise + promise/2)))
	close(w.stop)
	<-w.stopped
	if late := w.lastAllow.Sub(ended); late >= promise {
		t.Errorf("allowed %v after the logout was acknowledged", late)
	} else {
		t.Logf("last allowed %v after the logout, %d checks", late, w.checks)
	}
	if w.checks < 3 {
		t.Errorf("only %d checks", w.checks)
	}
}

// The host name moves to another server, while the old one still runs as a primary and only
// the stream's connection stays with it.
func TestStreamStaysBehind(t *testing.T) {
	t.Parallel()
	next, server := authztest.StartRedis(t, ""), authztest.StartRedis(t, "")
	var primary atomic.Pointer[string]
	primary.Store(&server.Addr)
	s := openTracked(t, redis.Config{URL: "redis://" + forward(t, &primary), Timeout: limit})
	for _, r := range []*authztest.Redis{server, next} {
		r.Do(t, "SET", "session:42:s1", "1")
		r.Do(t, "SET", "session:42:s2", "1")
	}
	hear(t, s)
	wantKept(t, s, "s1", true)
	seen := watch(t, s, "s1")
	primary.Store(&next.Addr)
	server.Do(t, "CLIENT", "KILL", "TYPE", "normal")
	next.Do(t, "DEL", "session:42:s1")
	ended := time.Now()
	// No stream would invalidate a fact that was filled from the next server.
	wantAlive(t, s, "s2", true)
	seen2 := watch(t, s, "s2")
	next.Do(t, "DEL", "session:42:s2")
	ended2 := time.Now()
	seen.wantGone(t, ended)
	seen2.wantGone(t, ended2)
	wantTracks(t, s)
	wantKept(t, s, "s1", false)
	next.Do(t, "SET", "session:42:s1", "1")
	hear(t, s)
	wantKept(t, s, "s1", true)
}

func TestCheckTracking(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	needs := documentedRights(t)
	user := func(name string, without string) string {
		args := []string{"ACL", "SETUSER", name, "on", ">" + name + "-canary", "resetchannels", "~session:*"}
		for _, right := range needs {
			if right != without {
				args = append(args, right)
			}
		}
		server.Do(t, args...)
		return (&url.URL{Scheme: "redis", User: url.UserPassword(name, name+"-canary"), Host: server.Addr}).String()
	}
	type row struct{ name, url, want string }
	rows := []row{
		{"all rights", server.URL(), ""},
		{"what it needs", user("exact", ""), ""},
		{"not even role", user("norole", "+role"), ""},
		{"strict rights", user("strict", "none of them"), ""},
		{"a server without tracking", fakeServer(t, func(conn net.Conn, _ string) { _, _ = io.WriteString(conn, ":1\r\n") }), "tracked needs a server with CLIENT TRACKING"},
		{"no server", "redis://127.0.0.1:1", "connection refused"},
	}
	for i, right := range needs[2:] {
		rows = append(rows, row{"without " + right, user(fmt.Sprint("without", i), right), "redis answers NOPERM; for tracked the user needs +pttl on the session keys, +client|id"})
	}
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := open(t, redis.Config{URL: tt.url, Tracked: true})
			err := s.CheckTracking(t.Context())
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("CheckTracking = %v, want %q", err, tt.want)
			}
			noSecret(t, err)
			if tt.name == "no server" {
				return
			}
			// Without tracking, questions still go to Redis.
			if err := s.Check(t.Context()); err != nil {
				t.Errorf("Check: %v", err)
			}
			if _, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); err != nil {
				t.Errorf("Alive: %v", err)
			}
		})
	}
}

// An invalid message ends the stream and not the process.
func TestInvalidMessages(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{"*0\r\n", "*1\r\n:1\r\n", "*1\r\n$7\r\nmessage\r\n", "*2\r\n$4\r\npong\r\n:1\r\n", "*2\r\n$4\r\npong\r\n$1\r\n7\r\n", ":1\r\n", "$-1\r\n",
		"*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n$1\r\nx\r\n", "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n:1\r\n", "HTTP/1.1 400\r\n", "*-1\r\n", "-ERR canary\r\n"} {
		t.Run(strconv.Quote(reply), func(t *testing.T) {
			t.Parallel()
			s := open(t, redis.Config{Tracked: true, URL: trackingServer(t, reply)})
			if err := s.CheckTracking(t.Context()); err == nil {
				t.Error("CheckTracking returned nil")
			} else {
				noSecret(t, err)
			}
			wantAlive(t, s, "s1", true)
		})
	}
}

// trackingServer answers like Redis, except that it replies to SUBSCRIBE with subscribed.
func trackingServer(t *testing.T, subscribed string) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	stop := make(chan struct{})
	open.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer conn.Close()
				go func() { <-stop; conn.Close() }()
				in := bufio.NewReader(conn)
				for {
					args, err := readCommand(in)
					if err != nil {
						return
					}
					reply := "-ERR unknown command\r\n"
					switch strings.ToLower(args[0]) {
					case "client":
						reply = ":5\r\n"
					case "subscribe":
						reply = subscribed
					case "exists":
						reply = ":1\r\n"
					case "pttl":
						reply = ":-1\r\n"
					}
					if _, err := io.WriteString(conn, reply); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		close(stop)
		l.Close()
		open.Wait()
	})
	return "redis://" + l.Addr().String()
}

// Each interruption of the stream is logged once, and so is its end.
func TestTrackedLogsChanges(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	var log lines
	var opened atomic.Pointer[redis.Sessions]
	handler := slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if s := opened.Load(); a.Value.Equal(slog.AnyValue(slog.LevelWarn)) && s != nil && s.Tracks() {
			t.Error("facts are in use after the warning that they are not")
		}
		return a
	}})
	s := openTracked(t, redis.Config{URL: server.URL(), Log: slog.New(handler)})
	opened.Store(s)
	log.want(t, "INFO")
	server.Stop(t)
	log.want(t, "INFO", "WARN")
	time.Sleep(500 * time.Millisecond) // several attempts
	log.want(t, "INFO", "WARN")
	server.Start(t)
	wantTracks(t, s)
	log.want(t, "INFO", "WARN", "INFO")
	server.Do(t, "FLUSHALL")
	log.want(t, "INFO", "WARN", "INFO", "WARN", "INFO")
	if text := log.String(); !strings.Contains(text, "all keys were flushed") || strings.Contains(text, "127.0.0.1") {
		t.Errorf("the log is %s", text)
	}
}

// lines is a log whose levels a test waits for.
type lines struct{ authztest.Buffer }

func (l *lines) want(t testing.TB, levels ...string) {
	t.Helper()
	eventually(t, func() error {
		var got []string
		for line := range strings.Lines(l.String()) {
			_, rest, _ := strings.Cut(line, "level=")
			level, _, _ := strings.Cut(rest, " ")
			got = append(got, level)
		}
		if fmt.Sprint(got) != fmt.Sprint(levels) {
			return fmt.Errorf("the log has %v, want %v:\n%s", got, levels, l.String())
		}
		return nil
	})
}

// A cached answer allocates only its key.
func TestFactAllocates(t *testing.T) {
	server := authztest.StartRedis(t, "")
	server.Do(t, "SET", "session:42:s1", "1")
	s := openTracked(t, redis.Config{URL: server.URL()})
	wantKept(t, s, "s1", true)
	ctx := t.Context()
	// AllocsPerRun rounds down the allocations of concurrent proofs.
	if n := testing.AllocsPerRun(10_000, func() {
		if alive, err := s.Alive(ctx, authz.Session{UserID: "42", ID: "s1"}); !alive || err != nil {
			t.Fatal(alive, err)
		}
	}); n > 1 {
		t.Errorf("a cached session takes %v allocations, want 1", n)
	}
}

// TestLogoutsUnderLoad ends some hundred sessions one after the other under load. No check
// may be allowed later than the promise. The distribution is logged (-v).
func TestLogoutsUnderLoad(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	s := openTracked(t, redis.Config{URL: server.URL()})
	endSessions(t, s, server, 300, 10*time.Millisecond)
}

// BenchmarkLogout measures the time from the acknowledgement of a logout to the start of
// the first check that is denied. One run is enough: -benchtime 1x.
func BenchmarkLogout(b *testing.B) {
	for _, load := range []struct {
		name  string
		pause time.Duration
	}{{"moderate", 10 * time.Millisecond}, {"saturated", 100 * time.Microsecond}} {
		b.Run(load.name, func(b *testing.B) {
			server := authztest.StartRedis(b, "")
			s := openTracked(b, redis.Config{URL: server.URL()})
			for b.Loop() {
				endSessions(b, s, server, 10_000, load.pause)
			}
		})
	}
}

// endSessions ends n sessions under load. Two goroutines ask about 1000 other sessions, with
// a pause after each hundred questions. The caller's goroutine asks about the ended session
// without a pause until it is not alive.
func endSessions(t testing.TB, s *redis.Sessions, server *authztest.Redis, n int, pause time.Duration) {
	t.Helper()
	conn, err := net.Dial("unix", server.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	replies := bufio.NewReader(conn)
	do := func(args ...string) {
		command := fmt.Appendf(nil, "*%d\r\n", len(args))
		for _, arg := range args {
			command = fmt.Appendf(command, "$%d\r\n%s\r\n", len(arg), arg)
		}
		if _, err := conn.Write(command); err != nil {
			t.Fatal(err)
		}
		if line, err := replies.ReadString('\n'); err != nil || line[0] == '-' {
			t.Fatal(line, err)
		}
	}
	for i := range 1000 {
		do("SET", fmt.Sprint("session:42:load", i), "1")
	}
	done := make(chan struct{})
	var checks atomic.Int64
	var load sync.WaitGroup
	for range 2 {
		load.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				if i%100 == 0 {
					time.Sleep(pause)
				}
				if alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: fmt.Sprint("load", i%1000)}); !alive || err != nil {
					t.Errorf("Alive of a live session = %v, %v", alive, err)
				}
				checks.Add(1)
			}
		})
	}
	began := time.Now()
	late := make([]time.Duration, n)
	var lastAllow time.Duration // unlike late, not affected by stalls of this process
	for i := range late {
		id := fmt.Sprint("out", i)
		key := "session:42:" + id
		do("SET", key, "1")
		for kept := false; !kept; {
			if _, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: id}); err != nil {
				t.Fatal(err)
			}
			kept, _ = s.Kept("42", id)
		}
		do("DEL", key)
		ended := time.Now()
		for {
			asked := time.Now()
			alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: id})
			if err != nil {
				t.Fatal(err)
			}
			if alive {
				if lateness := asked.Sub(ended); lateness >= promise {
					t.Fatalf("allowed %v after the logout", lateness)
				} else {
					lastAllow = max(lastAllow, lateness)
				}
				continue
			}
			late[i] = asked.Sub(ended)
			break
		}
	}
	close(done)
	load.Wait()
	slices.Sort(late)
	at := func(q float64) time.Duration { return late[min(n-1, int(q*float64(n)))].Round(time.Microsecond) }
	t.Logf("%d logouts among %.0f checks a second; the first check that was denied began after p50 %v, p90 %v, p99 %v, p99.9 %v, max %v; the last that was allowed after %v",
		n, float64(checks.Load())/time.Since(began).Seconds(), at(.5), at(.9), at(.99), at(.999), at(1), lastAllow)
	if b, ok := t.(*testing.B); ok {
		b.ReportMetric(float64(at(.5).Microseconds()), "p50-us")
		b.ReportMetric(float64(at(.99).Microseconds()), "p99-us")
		b.ReportMetric(float64(at(1).Microseconds()), "max-us")
	}
}
