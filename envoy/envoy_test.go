package envoy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"warder/authz"
)

func findEnvoy(t *testing.T) string {
	t.Helper()
	path, err := FindBinary("")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// writeCertificates writes a certificate that is its own CA, under the file names in
// service.yaml.
func writeCertificates(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "warder"}, DNSNames: []string{"warder.warder.svc.cluster.local"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: cert}, "ca.crt": {Type: "CERTIFICATE", Bytes: cert}, "tls.key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// An upstream records what reaches it.
type upstream struct {
	*httptest.Server
	mu   sync.Mutex
	last *http.Request
	hits int
}

func newUpstream(t *testing.T) *upstream {
	u := new(upstream)
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.last, u.hits = r, u.hits+1
		_, _ = io.WriteString(w, "upstream")
	}))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) seen() (*http.Request, int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.last, u.hits
}

// startEnvoy runs Envoy with the configuration until the test ends, and returns
// the address of its listener.
func startEnvoy(t *testing.T, config []byte) string {
	t.Helper()
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = output.Close() })
	e, err := StartProcess(t.Context(), findEnvoy(t), t.TempDir(), config, output)
	if err != nil {
		said, _ := os.ReadFile(output.Name())
		t.Fatalf("%v: %s", err, said)
	}
	t.Cleanup(e.Stop)
	return e.Listen
}

// A bench is a warder with a real Envoy in front of it and an upstream behind the Envoy.
type bench struct {
	*upstream
	address string
	warder  *GRPCServer
}

func newBench(t *testing.T, c Config, change func(*ConfigOptions), edit func(*tree)) *bench {
	t.Helper()
	return newBenchWithLog(t, c, nil, change, edit)
}

func newBenchWithLog(t *testing.T, c Config, accessLog *AccessLog, change func(*ConfigOptions), edit func(*tree)) *bench {
	t.Helper()
	b := &bench{upstream: newUpstream(t)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.warder = NewGRPCServer(newTestServer(t, c), accessLog, nil)
	go func() { _ = b.warder.Serve(l) }()
	t.Cleanup(b.warder.Stop)
	options := ConfigOptions{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Warder: l.Addr().String(),
		Upstream: b.Listener.Addr().String(), AccessLog: filepath.Join(t.TempDir(), "access.log"),
	}
	if change != nil {
		change(&options)
	}
	config, err := SidecarConfig(options)
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		var root any
		if err := json.Unmarshal(config, &root); err != nil {
			t.Fatal(err)
		}
		edited := &tree{root: root}
		edit(edited)
		if config, err = json.Marshal(edited.root); err != nil || len(edited.problems) > 0 {
			t.Fatal(err, edited.problems)
		}
	}
	b.address = startEnvoy(t, config)
	return b
}

// send writes a request unchanged. A client library would normalise it.
func (b *bench) send(t *testing.T, method, path string, lines ...string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", b.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	head := method + " " + path + " HTTP/1.1\r\nhost: api.example.com\r\nconnection: close\r\n"
	for _, line := range lines {
		head += line + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	response, body := parseResponse(t, all)
	return response, body
}

func parseResponse(t *testing.T, all []byte) (*http.Response, string) {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(all)), nil)
	if err != nil {
		t.Fatalf("%v: %q", err, all)
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		t.Fatalf("%v: %q", err, all)
	}
	return response, string(body)
}

// TestEnvoy sends requests through a real Envoy with the shipped configuration.
func TestEnvoy(t *testing.T) {
	t.Parallel()
	logFile := filepath.Join(t.TempDir(), "access.log")
	b := newBench(t, Config{Identity: IdentityConfig{
		Headers: map[string]string{"user": "x-user-id"}, RemoveAuthorization: true,
		StripHeaders: append(DefaultStripHeaders(), "x-forwarded-for", "cookie"),
	}}, func(o *ConfigOptions) { o.AccessLog = logFile }, nil)
	authorization := "authorization: " + bearer(t)
	forged := []string{
		"x-warder-user: forged", "X-Warder-User: forged", "x-warder-roles: ADMIN", "x-warder-roles: ADMIN", "x.warder.user: forged",
		"x-warder.session: forged", "x-warder-anything: forged", "x-user-id: forged", "X-User-Id: forged", "x.user-id: forged",
		"x-original-url: /admin/x", "x-http-method-override: DELETE", "cookie: a=b", "cookie: c=d",
	}
	type m = map[string]string
	for _, test := range []struct {
		name, method, path string
		lines              []string
		status             int
		upstream           m // the relevant headers that arrive
	}{
		{"public, forged", "GET", "/public/x?q=canary", forged, 200, m{"X-Warder-Client-Ip": "127.0.0.1"}},
		{"session, forged", "GET", "/users/x", append(slices.Clone(forged), authorization), 200, m{
			"X-Warder-Client-Ip": "127.0.0.1", "X-Warder-Auth-Method": "session", "X-User-Id": "42", "X-Warder-Roles": "CONTROL,USER", "X-Warder-Session": "s-1",
		}},
		{"API key", "GET", "/keys/x", append(slices.Clone(forged), "x-api-key: "+adaKey), 200, m{
			"X-Warder-Client-Ip": "127.0.0.1", "X-Warder-Auth-Method": "api_key", "X-User-Id": "42", "X-Warder-Key-Prefix": "wk_live", "X-Warder-Scopes": "assets:audit,assets:read",
		}},
		{"anonymous", "GET", "/open/x", nil, 200, m{"X-Warder-Client-Ip": "127.0.0.1", "X-Warder-Auth-Method": "anonymous"}},
		{"nobody", "GET", "/users/x", nil, 401, nil},
		{"two tokens", "GET", "/users/x", []string{authorization, authorization}, 401, nil},
		{"no role", "GET", "/admin/x", []string{authorization}, 403, nil},
		{"no route", "GET", "/nowhere", []string{authorization}, 403, nil},
		{"separators", "GET", "/public/x", disguised("x-warder-user", "x-warder-roles", "x-user-id", "x-original-url"), 200, m{"X-Warder-Client-Ip": "127.0.0.1"}},
		{"separators with a session", "GET", "/users/x", append(disguised("x-warder-session", "x-user-id", "x-warder-auth-method"), authorization), 200, m{
			"X-Warder-Client-Ip": "127.0.0.1", "X-Warder-Auth-Method": "session", "X-User-Id": "42", "X-Warder-Roles": "CONTROL,USER", "X-Warder-Session": "s-1",
		}},
		{"separators in a credential", "GET", "/keys/x", disguised("x-api-key"), 401, nil},
		{"separators in a credential beside one", "GET", "/keys/x", append(disguised("x-api-key"), "x-api-key: "+adaKey), 200, m{
			"X-Warder-Client-Ip": "127.0.0.1", "X-Warder-Auth-Method": "api_key", "X-User-Id": "42", "X-Warder-Key-Prefix": "wk_live", "X-Warder-Scopes": "assets:audit,assets:read",
		}},
		{"underscores are dropped", "GET", "/public/x", []string{"x_warder_user: forged", "X_Warder_User: forged", "x-warder_roles: ADMIN", "x_user_id: forged", "x_api_key: " + adaKey}, 200, m{"X-Warder-Client-Ip": "127.0.0.1"}},
		{"underscores are no credentials", "GET", "/keys/x", []string{"x_api_key: " + adaKey, "x-api_key: " + adaKey}, 401, nil},
		{"escaped slash", "GET", "/public%2Fx", nil, 400, nil},
		{"semicolon", "GET", "/public/x;a=b", nil, 400, nil},
		{"bytes that are no UTF-8 in the path", "GET", "/public/\xff", nil, 400, nil},
		{"bytes that are no UTF-8 in a header", "GET", "/public/x", []string{"x-a: \xff\xfe"}, 200, m{"X-Warder-Client-Ip": "127.0.0.1"}},
	} {
		_, before := b.seen()
		response, body := b.send(t, test.method, test.path, test.lines...)
		request, after := b.seen()
		if response.StatusCode != test.status || (after > before) != (test.status == 200) {
			t.Errorf("%s: %d with %d hits: %s", test.name, response.StatusCode, after-before, body)
			continue
		}
		if test.status != 200 {
			if problem := response.Header.Get("Content-Type") == "application/problem+json"; problem && !strings.Contains(body, fmt.Sprintf(`"status":%d`, test.status)) {
				t.Errorf("%s: body %s", test.name, body)
			}
			continue
		}
		got := m{}
		for name, values := range request.Header {
			switch folded := authz.FoldHeader(name); {
			case strings.HasPrefix(folded, namespace), folded == "x-user-id", slices.Contains(DefaultStripHeaders(), folded),
				folded == "cookie", folded == "authorization", folded == "x-api-key", folded == "x-forwarded-for":
				got[name] = strings.Join(values, " and ")
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(test.upstream) {
			t.Errorf("%s: the upstream sees %v, want %v", test.name, got, test.upstream)
		}
	}

	// No client is internal to this Envoy. What only Envoy's own network may send, a client on
	// the same host may not send either.
	b.send(t, "GET", "/public/x", "x-envoy-external-address: 203.0.113.9", "x-envoy-internal: true", "x-envoy-upstream-rq-timeout-ms: 1")
	request, _ := b.seen()
	for name, forged := range (m{"X-Envoy-External-Address": "203.0.113.9", "X-Envoy-Internal": "true", "X-Envoy-Expected-Rq-Timeout-Ms": "1"}) {
		if request.Header.Get(name) == forged {
			t.Errorf("%s: %s reaches the upstream", name, forged)
		}
	}

	response, body := b.send(t, "GET", "/users/x")
	if response.Header.Get("Www-Authenticate") != "Bearer" || response.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(body, "Authentication required.") {
		t.Errorf("401: %v %s", response.Header, body)
	}
	// Envoy flushes its log at intervals.
	var log []byte
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && !bytes.Contains(log, []byte("role_missing")); <-time.After(50 * time.Millisecond) {
		log, _ = os.ReadFile(logFile)
	}
	for want, there := range map[string]bool{`"reason":"role_missing"`: true, `"user":"42"`: true, `"path":"/public/x"`: true, "canary": false, bearer(t)[:40]: false, adaKey: false} {
		if bytes.Contains(log, []byte(want)) != there {
			t.Errorf("access log: %s is there: %v\n%s", want, !there, log)
		}
	}

	b.warder.Stop()
	_, before := b.seen()
	response, _ = b.send(t, "GET", "/public/x")
	if _, after := b.seen(); response.StatusCode != 503 || after != before {
		t.Errorf("without warder: %d", response.StatusCode)
	}
}

// disguised returns the fields in every spelling that a gateway to CGI may treat as the same
// name, except the usual one.
func disguised(names ...string) (lines []string) {
	for _, name := range names {
		for _, separator := range "!#$%&'*+.^_`|~" {
			lines = append(lines, strings.ReplaceAll(name, "-", string(separator))+": forged")
		}
	}
	return lines
}

// TestEnvoyFailureModeAllow tests that warder's failures are denied even by an Envoy that
// allows requests that warder does not answer. Warder answers its own failures with a denial.
func TestEnvoyFailureModeAllow(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{Decider: decider(func(_ context.Context, r *authz.Request) authz.Decision {
		if strings.HasPrefix(r.Path, "/panic") {
			panic("canary")
		}
		return authz.Deny(authz.ReasonSessionsUnavailable)
	})}, func(o *ConfigOptions) { o.FailureModeAllow = true }, func(t *tree) {
		// Without normalisation, a path arrives with the bytes that the client sent.
		t.set("static_resources/listeners/0/filter_chains/0/filters/0/typed_config/normalize_path", false)
	})
	for path, status := range map[string]int{"/panic": 503, "/store": 503, "/\xff": 400} {
		response, body := b.send(t, "GET", path)
		if response.StatusCode != status || strings.Contains(body, "canary") || status == 503 && response.Header.Get("Retry-After") != "1" {
			t.Errorf("%q: %d %v %s", path, response.StatusCode, response.Header, body)
		}
	}
	if _, hits := b.seen(); hits > 0 {
		t.Errorf("%d requests reached the upstream", hits)
	}
	// This shows the effect of the setting, so that the rows above are meaningful.
	b.warder.Stop()
	if response, _ := b.send(t, "GET", "/panic"); response.StatusCode != 200 {
		t.Errorf("without warder: %d, want it let through", response.StatusCode)
	}
}

// TestEnvoyRouteWithoutExtAuthz tests that identity headers are removed on a route that does
// not use ext_authz.
func TestEnvoyRouteWithoutExtAuthz(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{Decider: denying(authz.ReasonInternal)}, nil, func(t *tree) {
		t.set("static_resources/listeners/0/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes/2/typed_per_filter_config", map[string]any{
			"envoy.filters.http.ext_authz": map[string]any{
				"@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute", "disabled": true,
			},
		})
	})
	forged := []string{"x-warder-user: forged", "X-Warder-Roles: ADMIN", "x-warder.any: forged", "x-other: kept"}
	for _, separator := range "!#$%&'*+-.^_`|~" {
		forged = append(forged, "x"+string(separator)+"warder"+string(separator)+"user: forged", "X-Warder"+string(separator)+"Client-IP: forged")
	}
	response, _ := b.send(t, "GET", "/x", forged...)
	request, _ := b.seen()
	if response.StatusCode != 200 || request.Header.Get("X-Other") != "kept" {
		t.Fatalf("%d %v", response.StatusCode, request)
	}
	for name := range request.Header {
		if strings.HasPrefix(authz.FoldHeader(name), namespace) {
			t.Errorf("%s reaches the upstream", name)
		}
	}
}
