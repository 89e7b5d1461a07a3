package redis_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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

// limit is the configured timeout in these tests.
const limit = 100 * time.Millisecond

// wantUnavailable asks several questions at once, more than there are connections. Each
// must get an error at the store's own timeout, long before the caller's deadline.
func wantUnavailable(t *testing.T, s *redis.Sessions, questions int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for range questions {
		wg.Go(func() {
			alive, err := s.Alive(ctx, authz.Session{UserID: "42", ID: "s1"})
			if alive || err == nil || errors.Is(err, authz.ErrNotFound) {
				t.Errorf("Alive = %v, %v; want an error that is not ErrNotFound", alive, err)
			}
			noSecret(t, err)
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		t.Error("the questions ended only at the caller's deadline")
	}
}

func wantWell(t *testing.T, s *redis.Sessions) {
	t.Helper()
	eventually(t, func() error {
		alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"})
		if err == nil && !alive {
			t.Fatal("Alive = false for a live session")
		}
		return err
	})
	// Every connection of the pool must work.
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			eventually(t, func() error { _, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); return err })
		})
	}
	wg.Wait()
}

func TestFaults(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, password)
	s := open(t, redis.Config{URL: server.URL(), Timeout: limit, PoolSize: 4})
	server.Do(t, "SET", "session:42:s1", "1")
	wantWell(t, s)

	t.Log("paused: connections are open and the server does not answer")
	server.Pause(t)
	wantUnavailable(t, s, 16)
	server.Resume(t)
	wantWell(t, s)

	t.Log("down: connections are refused")
	server.Stop(t)
	wantUnavailable(t, s, 16)
	if err := s.Check(t.Context()); err == nil {
		t.Error("Check of a stopped server returned nil")
	}
	server.Start(t)
	server.Do(t, "SET", "session:42:s1", "1")
	wantWell(t, s)

	t.Log("the password changes under open connections, and back")
	server.Do(t, "CONFIG", "SET", "requirepass", "other-canary")
	server.Password = "other-canary"
	server.Do(t, "CLIENT", "KILL", "TYPE", "normal")
	wantUnavailable(t, s, 1)
	server.Do(t, "CONFIG", "SET", "requirepass", password)
	server.Password = password
	wantWell(t, s)
}

// A network that drops every packet leaves connections that are neither answered nor
// closed. They must not occupy the pool when the network is back.
func TestNetworkIsCut(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	server.Do(t, "SET", "session:42:s1", "1")
	proxy := authztest.StartProxy(t, server.Addr)
	s := open(t, redis.Config{URL: "redis://" + proxy.Addr, Timeout: limit, PoolSize: 4})
	wantWell(t, s)
	proxy.Cut()
	for range 3 {
		wantUnavailable(t, s, 16)
	}
	proxy.Mend()
	wantWell(t, s)
}

// A restart between two questions leaves dead connections in the pool. The next question
// must still be answered.
func TestRestartBetweenQuestions(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	s := open(t, redis.Config{URL: server.URL()})
	for range 5 {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		server.Stop(t)
		server.Start(t)
		server.Do(t, "SET", "session:42:s1", "1")
		if alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); err != nil || !alive {
			t.Errorf("Alive after a restart = %v, %v", alive, err)
		}
	}
}

// fakeServer implements enough of the protocol for a handshake and calls reply for EXISTS.
// With a nil reply it never answers.
func fakeServer(t *testing.T, reply func(conn net.Conn, key string)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	done := make(chan struct{})
	open.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer conn.Close()
				stop := context.AfterFunc(t.Context(), func() { conn.Close() })
				defer stop()
				if reply == nil {
					<-done
					return
				}
				serve(conn, reply)
			})
		}
	})
	t.Cleanup(func() {
		close(done)
		l.Close()
		open.Wait()
	})
	return "redis://" + l.Addr().String()
}

func serve(conn net.Conn, reply func(net.Conn, string)) {
	in := bufio.NewReader(conn)
	for {
		args, err := readCommand(in)
		if err != nil {
			return
		}
		if strings.EqualFold(args[0], "exists") {
			reply(conn, args[1])
		} else if _, err := io.WriteString(conn, "-ERR unknown command\r\n"); err != nil {
			return
		}
	}
}

func readCommand(in *bufio.Reader) ([]string, error) {
	line := func(kind byte) (int, error) {
		text, err := in.ReadString('\n')
		if err != nil || text[0] != kind {
			return 0, errors.Join(err, errors.New("no command"))
		}
		return strconv.Atoi(strings.TrimSpace(text[1:]))
	}
	n, err := line('*')
	if err != nil {
		return nil, err
	}
	args := make([]string, n)
	for i := range args {
		size, err := line('$')
		if err != nil {
			return nil, err
		}
		data := make([]byte, size+2)
		if _, err := io.ReadFull(in, data); err != nil {
			return nil, err
		}
		args[i] = string(data[:size])
	}
	return args, nil
}

func TestSilentServer(t *testing.T) {
	t.Parallel()
	s := open(t, redis.Config{URL: fakeServer(t, nil), Timeout: limit, PoolSize: 2})
	wantUnavailable(t, s, 8)
}

// A server without TLS takes the ClientHello for the start of a command and waits for more.
func TestTLSToAPlaintextPort(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	s := open(t, redis.Config{URL: "rediss://" + server.Addr, Timeout: limit})
	wantUnavailable(t, s, 1)
}

// Every reply other than the integers 0 and 1 is an error.
func TestStrangeReplies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		want  string // alive, dead, or error
		reply string
	}{
		{"alive", ":1\r\n"},
		{"dead", ":0\r\n"},
		{"error", ":2\r\n"},
		{"error", ":-1\r\n"},
		{"error", ":11\r\n"},
		{"error", ":\r\n"},
		{"error", ":18446744073709551617\r\n"},
		{"error", "+OK\r\n"},
		{"error", "+QUEUED\r\n"},
		{"error", "$-1\r\n"},
		{"error", "_\r\n"},
		{"error", "*-1\r\n"},
		{"error", "*1\r\n:1\r\n"},
		{"error", "-ERR session:42:s1 canary\r\n"},
		{"error", "-LOADING Redis is loading the dataset in memory\r\n"},
		{"error", "-NOPERM this user has no permissions\r\n"},
		{"error", "-MOVED 3999 127.0.0.1:6381\r\n"},
		{"error", "-ASK 3999 127.0.0.1:6381\r\n"},
		{"error", "-CLUSTERDOWN The cluster is down\r\n"},
		{"error", "-MASTERDOWN Link with MASTER is down\r\n"},
		{"error", "-READONLY You can't write\r\n"},
		{"error", "-1\r\n"},
		{"error", "-session:42:s1 is canary\r\n"},
		{"error", "HTTP/1.1 400 Bad Request\r\n\r\n"},
		{"error", "\r\n"},
		{"error", "1\r\n"},
	} {
		t.Run(strconv.Quote(tt.reply), func(t *testing.T) {
			t.Parallel()
			s := open(t, redis.Config{Timeout: 2 * time.Second, URL: fakeServer(t, func(conn net.Conn, _ string) {
				_, _ = io.WriteString(conn, tt.reply)
			})})
			for range 2 { // a bad reply must not affect the next question
				alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"})
				got := map[bool]string{true: "alive", false: "dead"}[alive]
				if err != nil {
					got = "error"
				}
				if got != tt.want || alive && err != nil {
					t.Errorf("Alive = %v, %v; want %s", alive, err, tt.want)
				}
				noSecret(t, err)
			}
		})
	}
}

// The client library panics on this reply. The process survives, and only the questions
// that got the reply fail.
func TestImpossibleReply(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var impossible atomic.Bool
	impossible.Store(true)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(t.Context(), func() { conn.Close() })()
				for in := bufio.NewReader(conn); ; {
					args, err := readCommand(in)
					if err != nil {
						return
					}
					reply := "-ERR unknown command\r\n"
					switch strings.ToLower(args[0]) {
					case "role":
						if reply = "*1\r\n$6\r\nmaster\r\n"; impossible.Load() {
							reply = "*9223372036854775807\r\n"
						}
					case "exists":
						reply = ":1\r\n"
					}
					_, _ = io.WriteString(conn, reply)
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	s := open(t, redis.Config{Timeout: time.Second, PoolSize: 2, URL: "redis://" + l.Addr().String()})
	var asking sync.WaitGroup
	for range 50 {
		asking.Go(func() {
			if alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); alive || err == nil {
				t.Errorf("Alive = %v, %v; want an error", alive, err)
			}
		})
	}
	asking.Wait()
	impossible.Store(false)
	wantWell(t, s)
}

func TestConnectionClosedInsteadOfAReply(t *testing.T) {
	t.Parallel()
	s := open(t, redis.Config{URL: fakeServer(t, func(conn net.Conn, _ string) { conn.Close() })})
	wantUnavailable(t, s, 4)
}

// A question is retried when the server closes its connection.
func TestConnectionClosedDuringAQuestion(t *testing.T) {
	t.Parallel()
	var questions atomic.Int64
	s := open(t, redis.Config{URL: fakeServer(t, func(conn net.Conn, _ string) {
		if questions.Add(1)%2 == 1 {
			conn.Close()
			return
		}
		_, _ = io.WriteString(conn, ":1\r\n")
	})})
	for range 4 {
		if alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); err != nil || !alive {
			t.Errorf("Alive = %v, %v", alive, err)
		}
	}
}

// A reply that arrives after its question timed out is dropped.
func TestLateReplyIsDropped(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 64)
	late := make(chan struct{})
	s := open(t, redis.Config{PoolSize: 1, URL: fakeServer(t, func(conn net.Conn, key string) {
		asked <- struct{}{}
		if key == "session:42:slow" {
			<-late
			_, _ = fmt.Fprint(conn, ":1\r\n")
			return
		}
		_, _ = fmt.Fprint(conn, ":0\r\n")
	})})
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if alive, err := s.Alive(ctx, authz.Session{UserID: "42", ID: "slow"}); alive || err == nil {
		t.Fatalf("Alive = %v, %v; want an error", alive, err)
	}
	<-asked
	close(late)
	for range 10 {
		if alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "gone"}); alive || err != nil {
			t.Fatalf("Alive = %v, %v; want false: the reply belonged to another question", alive, err)
		}
	}
}
