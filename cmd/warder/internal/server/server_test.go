package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/mask"
	"warder/authz/memory"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
)

const testPolicy = `version: 1
routes:
  - {id: public, match: /public, public: true}
  - {id: user, match: /user, allow: [{user: {}}]}
`

// A running server and how to talk to it.
type running struct {
	Addresses
	t      *testing.T
	server *Server
	hangup chan os.Signal
	stop   context.CancelFunc
	done   chan error
	log    *authztest.Buffer
	out    *authztest.Buffer
}

func testSettings(t *testing.T) *config.Settings {
	s := config.DefaultSettings()
	s.Policy = clitest.WriteFile(t, t.TempDir(), "policy.yaml", testPolicy)
	s.Listen.GRPC.Address, s.Listen.Admin.Address = "127.0.0.1:0", "127.0.0.1:0"
	s.JWT.Keys = []config.JWTKey{{Algorithm: "HS256", Secret: mask.New(clitest.Secret)}}
	s.Shutdown.Delay = 0
	return s
}

// start runs a server until the test ends and waits until it is ready.
func start(t *testing.T, s *config.Settings, on *Stores) *running {
	t.Helper()
	return startWith(t, s, Options{Stores: on})
}

// startWith does so with options of the command line.
func startWith(t *testing.T, s *config.Settings, o Options) *running {
	t.Helper()
	r := &running{t: t, hangup: make(chan os.Signal), done: make(chan error, 1), log: &authztest.Buffer{}, out: &authztest.Buffer{}}
	ready := make(chan Addresses, 1)
	o.Stdout, o.Log, o.Hangup = r.out, NewLogger(r.log, config.Log{Level: "debug"}), r.hangup
	o.OnReady = func(b Addresses) { ready <- b }
	srv, err := New(s, o)
	if err != nil {
		t.Fatal(err)
	}
	r.server = srv
	ctx, stop := context.WithCancel(context.Background()) //nolint:usetesting // t.Context ends before the cleanup that waits for the end
	r.stop = stop
	go func() { r.done <- srv.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		_ = r.wait() // the tests that care have waited already
	})
	select {
	case r.Addresses = <-ready:
	case err := <-r.done:
		r.done <- err
		t.Fatalf("the server ended: %v\n%s", err, r.log)
	}
	return r
}

// wait waits for the end of the server and returns its error.
func (r *running) wait() error {
	err := <-r.done
	r.done <- err
	return err
}

func (r *running) dial(c credentials.TransportCredentials) *grpc.ClientConn {
	r.t.Helper()
	target := r.GRPC.String()
	if r.GRPC.Network() == "unix" {
		target = "unix://" + target
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(c))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (r *running) check(conn *grpc.ClientConn, path string, headers map[string]string) (codes.Code, error) {
	response, err := authv3.NewAuthorizationClient(conn).Check(context.Background(), &authv3.CheckRequest{
		Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Host: "example.com", Path: path, Headers: headers, Protocol: "HTTP/1.1",
		}}},
	})
	return codes.Code(response.GetStatus().GetCode()), err
}

// mint makes a token of user 42 and session s1.
func mint(t *testing.T) string {
	t.Helper()
	return authztest.Mint(t, authztest.Token{Secret: []byte(clitest.Secret), Claims: map[string]any{
		"sub": "42", "jti": "s1", "exp": time.Now().Add(time.Hour).Unix(),
	}})
}

func (r *running) readyz() (int, string) {
	response, err := http.Get("http://" + r.Admin.String() + "/readyz")
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, strings.TrimSpace(string(body))
}

func TestServer(t *testing.T) {
	t.Parallel()
	store := memory.New(nil)
	store.PutUser("42", authz.User{Active: true})
	store.PutSession("42", "s1", 0)
	s := testSettings(t)
	s.Listen.GRPC = config.Address{Network: "unix", Address: filepath.Join(clitest.SocketDir(t), "w.sock")}
	r := start(t, s, MemoryStores(store))
	conn := r.dial(insecure.NewCredentials())
	token := mint(t)
	for _, c := range []struct {
		want    codes.Code
		path    string
		headers map[string]string
	}{
		{codes.OK, "/public", nil},
		{codes.PermissionDenied, "/other?token=canary", nil},
		{codes.Unauthenticated, "/user", nil},
		{codes.OK, "/user", map[string]string{"authorization": "Bearer " + token}},
	} {
		if got, err := r.check(conn, c.path, c.headers); got != c.want || err != nil {
			t.Errorf("%s: %v, %v; want %v", c.path, got, err, c.want)
		}
	}
	if code, text := r.readyz(); code != 200 || text != "ready" {
		t.Errorf("/readyz: %d %s", code, text)
	}
	health, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || health.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("gRPC health: %v, %v", health, err)
	}
	r.stop()
	if err := r.wait(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if got := strings.Count(r.out.String(), `"decision":"deny"`); got != 2 || strings.Contains(r.out.String(), `"allow"`) {
		t.Errorf("the decision log has %d denials, want 2 and nothing else:\n%s", got, r.out)
	}
	if all := r.out.String() + r.log.String(); strings.Contains(all, "canary") || strings.Contains(all, token) {
		t.Errorf("a secret is in the logs:\n%s", all)
	}
}

// TestDrain stops a server under load. Every check that began before the end must be
// answered. After that, clients fail to connect, and see no other error.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := testSettings(t)
	s.Shutdown.Delay = 500 * time.Millisecond
	r := start(t, s, MemoryStores(memory.New(nil)))
	var answered, refused atomic.Int64
	var stopClients atomic.Bool
	var clients sync.WaitGroup
	for range 4 {
		conn := r.dial(insecure.NewCredentials())
		for range 8 {
			clients.Go(func() {
				for !stopClients.Load() {
					switch code, err := r.check(conn, "/public", nil); {
					case err == nil && code == codes.OK:
						answered.Add(1)
					case status.Code(err) == codes.Unavailable && strings.Contains(err.Error(), "Error while dialing"):
						// Refused, or reset when the listener closes before it has accepted.
						refused.Add(1)
						return
					default:
						t.Errorf("a check ended with %v, %v", code, err)
						return
					}
				}
			})
		}
	}
	clitest.Eventually(t, "checks are answered", func() bool { return answered.Load() > 1000 })
	r.stop()
	clitest.Eventually(t, "/readyz says that it ends", func() bool {
		code, text := r.readyz()
		return code == 503 && text == "not ready: shutting down"
	})
	during := answered.Load()
	clitest.Eventually(t, "checks are answered while it drains", func() bool { return answered.Load() > during+100 })
	if err := r.wait(); err != nil {
		t.Errorf("Run: %v", err)
	}
	clitest.Eventually(t, "clients cannot connect", func() bool { return refused.Load() > 0 })
	stopClients.Store(true)
	clients.Wait()
}

// A gate is a store that does not answer until it is opened.
type gate struct {
	authz.Sessions
	entered, open chan struct{}
}

func (g *gate) Alive(ctx context.Context, _ authz.Session) (bool, error) {
	close(g.entered)
	select {
	case <-g.open:
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// A check in flight gets its answer, and the stores close after it.
func TestDrainFinishesChecksInFlight(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want codes.Code
		name string
		open bool
		wait time.Duration
	}{
		{codes.OK, "in time", true, 30 * time.Second},
		{codes.Unavailable, "cut off at the end of shutdown.timeout", false, 50 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			store := memory.New(nil)
			store.PutUser("42", authz.User{Active: true})
			g := &gate{entered: make(chan struct{}), open: make(chan struct{})}
			var closed atomic.Bool
			on := &Stores{Sessions: g, Users: store, APIKeys: store, closers: []func(){func() { closed.Store(true) }}}
			s := testSettings(t)
			s.Deadline, s.Shutdown.Timeout = time.Minute, c.wait
			r := start(t, s, on)
			conn := r.dial(insecure.NewCredentials())
			token := mint(t)
			type answer struct {
				code codes.Code
				err  error
			}
			got := make(chan answer, 1)
			go func() {
				code, err := r.check(conn, "/user", map[string]string{"authorization": "Bearer " + token})
				got <- answer{code, err}
			}()
			<-g.entered
			r.stop()
			clitest.Eventually(t, "new connections are refused", func() bool {
				probe, err := net.Dial("tcp", r.GRPC.String())
				if err == nil {
					_ = probe.Close()
				}
				return err != nil
			})
			if c.open {
				if closed.Load() {
					t.Error("the stores were closed under a check in flight")
				}
				close(g.open)
			}
			a := <-got
			if a.err != nil {
				a.code = status.Code(a.err)
			}
			if a.code != c.want {
				t.Errorf("the check ended with %v, %v; want %v", a.code, a.err, c.want)
			}
			if err := r.wait(); err != nil || !closed.Load() {
				t.Errorf("Run: %v, stores closed %v", err, closed.Load())
			}
		})
	}
}

// TestServerFails checks that a failing part stops the whole server and that no address stays
// bound.
func TestServerFails(t *testing.T) {
	t.Parallel()
	t.Run("the admin address is taken", func(t *testing.T) {
		t.Parallel()
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		s := testSettings(t)
		s.Listen.Admin.Address = taken.Addr().String()
		s.Listen.GRPC = config.Address{Network: "unix", Address: filepath.Join(clitest.SocketDir(t), "w.sock")}
		srv, err := New(s, Options{Stdout: io.Discard, Log: clitest.Discard(), Stores: MemoryStores(memory.New(nil))})
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("Run: %v", err)
		}
		if conn, err := net.Dial("unix", s.Listen.GRPC.Address); err == nil {
			_ = conn.Close()
			t.Error("the gRPC listener is still there")
		}
	})
	t.Run("a store does not fit", func(t *testing.T) {
		t.Parallel()
		on := MemoryStores(memory.New(nil))
		on.Checks = []StoreCheck{{
			Name:      "directory",
			Check:     func(context.Context) ([]string, error) { return nil, errUnfit },
			Permanent: func(error) bool { return true },
		}}
		closed := false
		on.OnClose(func() { closed = true })
		srv, err := New(testSettings(t), Options{Stdout: io.Discard, Log: clitest.Discard(), Stores: on})
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.Run(t.Context()); err == nil || !strings.Contains(err.Error(), errUnfit.Error()) {
			t.Errorf("Run: %v, want %v", err, errUnfit)
		}
		if !closed {
			t.Error("the stores were not closed")
		}
	})
	t.Run("everything that is wrong is said at once", func(t *testing.T) {
		t.Parallel()
		s := testSettings(t)
		s.Policy = clitest.WriteFile(t, t.TempDir(), "policy.yaml", "version: 7\n")
		s.JWT.Keys[0].Secret = mask.New("canary")
		s.Listen.TLS = config.TLS{CertFile: "/nowhere/c", KeyFile: "/nowhere/k"}
		_, err := New(s, Options{Stdout: io.Discard, Log: clitest.Discard(), Stores: MemoryStores(memory.New(nil))})
		if err == nil {
			t.Fatal("no error")
		}
		for _, want := range []string{"policy.yaml:1", "at least 32", "/nowhere/c", "/nowhere/k"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("nothing about %s in:\n%v", want, err)
			}
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("a secret is in the message: %v", err)
		}
	})
}

func TestNotReadyBeforeTheStores(t *testing.T) {
	t.Parallel()
	var reachable atomic.Bool
	on := MemoryStores(memory.New(nil))
	on.Checks = []StoreCheck{{Name: "sessions", Check: func(context.Context) ([]string, error) {
		if reachable.Load() {
			return nil, nil
		}
		return nil, errors.New("away")
	}}}
	s := testSettings(t)
	s.Listen.Admin.Address = authztest.FreeAddress(t)
	r := &running{t: t, log: &authztest.Buffer{}, Addresses: Addresses{Admin: tcpAddr(t, s.Listen.Admin.Address)}}
	ready := make(chan Addresses, 1)
	srv, err := New(s, Options{Stdout: io.Discard, Log: clitest.Discard(), Stores: on, OnReady: func(b Addresses) { ready <- b }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	clitest.Eventually(t, "/readyz says what is missing", func() bool {
		code, text := r.readyz()
		return code == 503 && text == "not ready: waiting for sessions"
	})
	reachable.Store(true)
	r.GRPC = (<-ready).GRPC
	if code, text := r.readyz(); code != 200 {
		t.Errorf("/readyz: %d %s, want 200", code, text)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func tcpAddr(t *testing.T, s string) net.Addr {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestServerTLS: gRPC over TLS with client certificates.
func TestServerTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := clitest.NewAuthority(t, "ca")
	cert, key := ca.Issue(t, "warder", time.Now().Add(time.Hour))
	s := testSettings(t)
	s.Listen.TLS = config.TLS{
		CertFile: clitest.WriteFile(t, dir, "tls.crt", string(cert)), KeyFile: clitest.WriteFile(t, dir, "tls.key", string(key)),
		ClientCAFile: clitest.WriteFile(t, dir, "ca.crt", string(ca.PEM)),
	}
	r := start(t, s, MemoryStores(memory.New(nil)))
	for _, c := range []struct {
		good bool
		name string
		with credentials.TransportCredentials
	}{
		{true, "a certificate of the CA", credentials.NewTLS(&tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{ca.Pair(t, "envoy")}})},
		{false, "no certificate", credentials.NewTLS(&tls.Config{RootCAs: ca.Pool()})},
		{false, "a certificate of another CA", credentials.NewTLS(&tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{clitest.NewAuthority(t, "other").Pair(t, "envoy")}})},
		{false, "plaintext", insecure.NewCredentials()},
	} {
		code, err := r.check(r.dial(c.with), "/public", nil)
		if (err == nil && code == codes.OK) != c.good {
			t.Errorf("%s: %v, %v; want let in: %v", c.name, code, err, c.good)
		}
	}
}
