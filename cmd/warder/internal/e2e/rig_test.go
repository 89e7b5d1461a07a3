package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/postgres"
	"warder/cmd/warder/internal/clitest"
	"warder/envoy"
)

// patience limits the wait for an event that must happen. A test fails when the limit is reached;
// it does not measure the time until then.
const patience = 60 * time.Second

// A rig is one warder with its environment: a real Redis and Postgres, an application that records
// the requests that it gets, and a real Envoy in front of it. The warder is this test binary, so
// that it has the race detector if the tests have it.
type rig struct {
	dir      string // holds the configuration, the policy and the socket
	redis    *authztest.Redis
	postgres *authztest.Postgres
	upstream *upstream
	leaks    *leaks
	secret   []byte // the secret that signs the tokens

	envoy  *envoy.Process // the last one started
	warder *program
	env    []string       // variables that the program gets in addition
	listen map[string]any // settings of listen, in addition or in place of the usual ones
	stdout io.Writer      // if not nil, the standard output of the program, in place of leaks
	admin  string         // address of the admin listener
}

func newRig(t *testing.T, leaks *leaks, redis *authztest.Redis, pg *authztest.Postgres) *rig {
	t.Helper()
	r := &rig{
		dir: clitest.SocketDir(t), redis: redis, postgres: pg, leaks: leaks,
		upstream: startUpstream(t),
		secret:   []byte(leaks.secret("the token secret", "e2e-c4n4ry-hmac-secret-0123456789abcdef")),
	}
	leaks.secret("the Redis password", redis.Password)
	leaks.secret("the database password", pg.Password)
	pg.Exec(t, "DROP TABLE IF EXISTS api_keys; DROP TABLE IF EXISTS users")
	pg.Exec(t, postgres.Schema)
	redis.Do(t, "FLUSHALL")
	t.Cleanup(func() { r.stopWarder(t) })
	return r
}

func (r *rig) socket() string { return filepath.Join(r.dir, "warder.sock") }

// redisURL returns the URL of a Redis. A password that is not "" replaces the right one.
func redisURL(redis *authztest.Redis, password string) string {
	if password == "" {
		password = redis.Password
	}
	if password == "" {
		return "redis://" + redis.Addr + "/0"
	}
	return "redis://:" + password + "@" + redis.Addr + "/0"
}

// config returns the warder.yaml of the rig. The keys of more replace or extend its top-level keys.
func (r *rig) config(more map[string]any) map[string]any {
	listen := map[string]any{"grpc": "unix://" + r.socket(), "admin": r.admin}
	maps.Copy(listen, r.listen)
	c := map[string]any{
		"listen":    listen,
		"policy":    filepath.Join(r.dir, "policy.yaml"),
		"jwt":       map[string]any{"keys": []any{map[string]any{"secret_file": r.write("jwt", string(r.secret)+"\n")}}},
		"sessions":  map[string]any{"redis_url_file": r.write("redis", redisURL(r.redis, ""))},
		"directory": map[string]any{"database_url_file": r.write("database", r.postgres.URL())},
		"log":       map[string]any{"level": "debug", "decisions": "all"},
		"shutdown":  map[string]any{"delay": "0s"},
	}
	maps.Copy(c, more)
	return c
}

// write writes a file into the directory of the rig and returns its path.
func (r *rig) write(name, text string) string {
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		panic(err)
	}
	return path
}

// startWarder starts the program with a policy and flags, and waits until it is ready.
func (r *rig) startWarder(t *testing.T, policy string, more map[string]any, flags ...string) {
	t.Helper()
	r.launchWarder(t, policy, more, flags...)
	waitFor(t, "warder to be ready", func() error { return r.readyz() })
}

// launchWarder starts the program like startWarder, but does not wait.
func (r *rig) launchWarder(t *testing.T, policy string, more map[string]any, flags ...string) {
	t.Helper()
	r.stopWarder(t)
	r.admin = authztest.FreeAddress(t)
	r.write("policy.yaml", policy)
	text, err := yaml.Marshal(r.config(more))
	if err != nil {
		t.Fatal(err)
	}
	r.warder = newProgram(r.leaks, r.env, append([]string{"serve", "-c", r.write("warder.yaml", string(text))}, flags...)...)
	if r.stdout != nil {
		r.warder.cmd.Stdout = r.stdout
	}
	r.warder.start(t)
}

func (r *rig) stopWarder(t *testing.T) {
	if r.warder != nil {
		r.keepMetrics()
		r.warder.stop(t)
		r.warder = nil
	}
}

// keepMetrics records the response of /metrics, so that it is searched for secrets. It does nothing
// if the program has already ended.
func (r *rig) keepMetrics() {
	client := http.Client{Timeout: 2 * time.Second}
	response, err := client.Get("http://" + r.admin + "/metrics")
	if err != nil {
		return
	}
	defer response.Body.Close()
	_, _ = io.Copy(r.leaks.sink("metrics"), response.Body)
}

// readyz returns nil if the program reports that it is ready.
func (r *rig) readyz() error {
	select {
	case <-r.warder.ended:
		return fatal{fmt.Errorf("the program ended: %w\n%s", r.warder.err, tailOf(r.leaks.text("warder stderr"), 4000))}
	default:
	}
	return readyz(r.admin, r.leaks.sink("readyz"))
}

// readyz returns nil if the program with this admin address reports that it is ready. It writes
// the body of the response to said.
func readyz(admin string, said io.Writer) error {
	client := http.Client{Timeout: 2 * time.Second}
	response, err := client.Get("http://" + admin + "/readyz")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	_, _ = said.Write(body)
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz is %d: %s", response.StatusCode, body)
	}
	return nil
}

// A program is a running warder.
type program struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // result of Wait, valid once ended is closed
	// decisions receives the lines of the decision log, and accesses those of Envoy's access log.
	// Lines are dropped if the tests do not read them.
	decisions, accesses chan []byte
}

// repository is the path of the root of the repository, relative to this package.
const repository = "../../../.."

// asWarder is the environment variable that makes this test binary run as warder. See TestMain.
const asWarder = "WARDER_TEST_AS_WARDER"

func startProgram(t *testing.T, leaks *leaks, env []string, args ...string) *program {
	t.Helper()
	p := newProgram(leaks, env, args...)
	p.start(t)
	return p
}

func newProgram(leaks *leaks, env []string, args ...string) *program {
	p := &program{cmd: exec.Command(os.Args[0], args...), ended: make(chan struct{}), decisions: make(chan []byte, 1024), accesses: make(chan []byte, 1024)}
	p.cmd.Env = append(append(os.Environ(), asWarder+"=1"), env...)
	p.cmd.Stdout = io.MultiWriter(leaks.sink("warder stdout"), &lineWriter{decisions: p.decisions, accesses: p.accesses})
	p.cmd.Stderr = leaks.sink("warder stderr")
	dieWithParent(p.cmd)
	return p
}

func (p *program) start(t *testing.T) {
	t.Helper()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
}

// kill ends the program as kill -9 does.
func (p *program) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// stop sends SIGTERM to the program and expects exit code 0.
func (p *program) stop(t *testing.T) {
	select {
	case <-p.ended:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		if p.err != nil {
			t.Errorf("warder ended with %v after SIGTERM", p.err)
		}
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		t.Error("warder did not end after SIGTERM")
	}
}

// An upstream is the application. It records the requests that it gets.
type upstream struct {
	*httptest.Server
	mu       sync.Mutex
	hits     int
	last     http.Header
	path     string
	traffics sync.Map // *traffic -> true: they are told of each request
}

func startUpstream(t *testing.T) *upstream {
	u := new(upstream)
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.traffics.Range(func(tr, _ any) bool {
			tr.(*traffic).arrived(r) //nolint:forcetypeassert // the map has nothing else
			return true
		})
		u.mu.Lock()
		defer u.mu.Unlock()
		u.hits++
		u.last, u.path = r.Header, r.RequestURI
		_, _ = io.WriteString(w, "hello\n")
	}))
	t.Cleanup(u.Close)
	return u
}

// seen returns the number of requests that arrived, and the header of the last one.
func (u *upstream) seen() (int, http.Header) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.hits, u.last
}

// The user and the session that all fault tests use.
const (
	goodUser    = "42"
	goodSession = "s-e2e-1"
)

// seed adds a valid user, a session and an API key to the stores, and returns the credentials.
func (r *rig) seed(t *testing.T) (token, apiKey string) {
	t.Helper()
	apiKey = r.leaks.secret("an API key", "wk_e2e_c4n4rykey0001")
	hash := authz.HashAPIKey(apiKey)
	r.leaks.secret("a key hash", hash.Hex())
	r.postgres.Exec(t, fmt.Sprintf(`
		INSERT INTO users (id, is_active, roles) VALUES (%[1]s, true, '["CONTROL"]');
		INSERT INTO api_keys (prefix, key_hash, scopes, is_active, user_id) VALUES ('wk_e2e', '%[2]s', '["assets:read"]', true, %[1]s)`,
		goodUser, hash.Hex()))
	r.redis.Do(t, "SET", "session:"+goodUser+":"+goodSession, "1")
	return r.token(t, nil), apiKey
}

// token creates a token for the valid user. The keys of more replace or extend its claims.
func (r *rig) token(t *testing.T, more map[string]any) string {
	t.Helper()
	claims := map[string]any{"sub": goodUser, "jti": goodSession, "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(claims, more)
	token := authztest.Mint(t, authztest.Token{Secret: r.secret, Claims: claims})
	for _, part := range strings.SplitN(token, ".", 3)[1:] {
		r.leaks.secret("part of a token", part)
	}
	return r.leaks.secret("a token", token)
}

// get sends one request through Envoy and returns the status. The response is searched for secrets
// at the end.
func (r *rig) get(t *testing.T, base, path string, headers map[string]string) int {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	defer response.Body.Close()
	dump, err := httputil.DumpResponse(response, true)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = r.leaks.sink("responses").Write(dump)
	return response.StatusCode
}

func bearer(token string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + token}
}

func key(apiKey string) map[string]string { return map[string]string{"X-API-Key": apiKey} }

// waitFor calls try until it returns nil or a fatal error, or until patience is over.
func waitFor(t *testing.T, what string, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		if hopeless, ok := err.(fatal); ok { //nolint:errorlint // try returns it bare
			t.Fatalf("waiting for %s: %v", what, hopeless.error)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waiting for %s: %v", what, err)
		case <-tick.C:
		}
	}
}

// fatal is an error that further attempts cannot remove.
type fatal struct{ error }

func tailOf(s string, n int) string { return s[max(0, len(s)-n):] }
