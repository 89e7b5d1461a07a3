package server

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"warder/authz/authztest"
	"warder/authz/mask"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
)

// startTLS listens with TLS in front of a server. It presents the newest certificate of present.
// disconnect ends all connections.
func startTLS(t *testing.T, to string, present *atomic.Pointer[tls.Certificate]) (addr string, disconnect func()) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return present.Load(), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, near, far)
			mu.Unlock()
			for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
				serving.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					pair[0].Close()
				})
			}
		}
	})
	disconnect = func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
		conns = nil
	}
	t.Cleanup(func() {
		l.Close()
		disconnect()
		serving.Wait()
	})
	return l.Addr().String(), disconnect
}

// TestRedisCertificatesRotate replaces the authority of Redis while warder runs, and the
// certificate of Redis with it. No good request is refused.
func TestRedisCertificatesRotate(t *testing.T) {
	t.Parallel()
	redis := authztest.StartRedis(t, "")
	redis.Do(t, "SET", "session:42:s1", "1")
	authorities := []*clitest.Authority{clitest.NewAuthority(t, "one"), clitest.NewAuthority(t, "two")}
	var present atomic.Pointer[tls.Certificate]
	serve := func(i int) {
		pair := authorities[i].Pair(t, "redis")
		present.Store(&pair)
	}
	serve(0)
	addr, disconnect := startTLS(t, redis.Addr, &present)
	ca := newSecretPath(t, "sessions.tls.ca_file", string(authorities[0].PEM))

	s := testSettings(t)
	s.Deadline, s.Sessions.Timeout = 10*time.Second, 9*time.Second // not what is tested here
	s.Sessions.RedisURL, s.Sessions.TLS = mask.New("rediss://"+addr), config.ClientTLS{CAFile: ca.Path}
	s.Directory.File = clitest.WriteFile(t, t.TempDir(), "directory.yaml", `users: [{id: "42", is_active: true}]`)
	r := start(t, s, nil)
	conn := r.dial(insecure.NewCredentials())
	good := func(when string) {
		t.Helper()
		header := map[string]string{"authorization": "Bearer " + signedWith(t, s.JWT.Keys[0].Secret.Reveal(), time.Now().Add(time.Hour), "")}
		if got, err := r.check(conn, "/user", header); got != codes.OK || err != nil {
			t.Errorf("%s: %v, %v\n%s", when, got, err, r.log)
		}
	}
	good("at first")
	for i := 1; i <= 4; i++ {
		ca.write(t, i, string(authorities[i%2].PEM))
		if i%2 == 0 { // the file has been read before it is needed
			clitest.Eventually(t, "the new authority", func() bool {
				return strings.Count(r.log.String(), `"msg":"secret reloaded","setting":"sessions.tls.ca_file"`) >= i
			})
		}
		serve(i % 2)
		disconnect()
		good("after the change")
		clitest.Eventually(t, "the new authority", func() bool {
			return strings.Count(r.log.String(), `"msg":"secret reloaded","setting":"sessions.tls.ca_file"`) >= i
		})
	}
	// A file that cannot be used changes nothing.
	if err := os.WriteFile(ca.Path, []byte("-----BEGIN CERTIFICATE-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	clitest.Eventually(t, "the failure", func() bool {
		_, text := r.readyz()
		return strings.HasPrefix(text, "ready\nsecret sessions.tls.ca_file: the reload at ")
	})
	disconnect()
	good("with a file that cannot be used")
}

// TestWrongRedis checks what the log says at the start about a server that cannot be used.
func TestWrongRedis(t *testing.T) {
	t.Parallel()
	plain, sentinel, cluster := authztest.StartRedis(t, ""), authztest.StartSentinel(t, ""), authztest.StartRedisCluster(t, "")
	for _, tt := range []struct{ url, want string }{
		{"redis://" + plain.Addr + "/99", "DB index is out of range"},
		{"redis://" + sentinel.Addr, "the server is a Sentinel, which has no sessions; write redis+sentinel://host:26379/NAME/0"},
		{"redis://" + cluster.Addr + "/0", "the server belongs to a Redis Cluster, of which each server has a part of the sessions; write redis+cluster://"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			t.Parallel()
			s := testSettings(t)
			s.Sessions.RedisURL = mask.New(tt.url)
			s.Directory.File = clitest.WriteFile(t, t.TempDir(), "directory.yaml", `users: [{id: "42", is_active: true}]`)
			log := make(lines, 1000)
			srv, err := New(s, Options{Stdout: io.Discard, Log: NewLogger(log, config.Log{Level: "info"})})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- srv.Run(ctx) }()
			log.await(t, tt.want)
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
