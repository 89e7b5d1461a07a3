//go:build bench

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/postgres"
	"warder/envoy"
)

// The load: few connections with many concurrent requests on each, as Envoy sends them.
const (
	loadConns   = 4
	loadStreams = 16
)

// hotPath is the path of every request, which hotMatch matches. hotAllow is what its route allows.
const (
	hotPath  = "/api/v1/assets/8f14e45f-ceea-467f-a0e6-95f3b1c2d7aa/audit"
	hotAllow = `allow: [{user: {roles: [CONTROL]}}, {api_key: {scopes: ["assets:audit"]}}], client_ips: [office]`
)

// benchPolicy has a hot route with all kinds of conditions: a client address, a credential of one
// of two kinds, and a role or a scope.
var benchPolicy = policyOf(10, hotAllow)

const (
	benchSecret = "bench-hmac-secret-0123456789abcdef"
	benchKey    = "wk_live_3q2-7wEhIzM0Vn8sYbLxKa"
	firstUser   = 700_000 // ids of users have one length
	richUser    = 42      // has fifty roles
)

// The credentials of the scenarios.
const (
	users1         = "1 user"
	users1000      = "1,000 users"
	users10000     = "10,000 users"
	users100000    = "100,000 users"
	goodKey        = "a good key"
	noCredential   = "none"
	unknownSession = "a token of no session"
	badSignature   = "a token with a bad signature"
	manyRoles      = "a user with 50 roles"
	longHeaders    = "4 KiB of headers"
)

// A crowd is the clients of a side, and what they send.
type crowd struct {
	count   int         // of the users, each with a session and a token
	lines   string      // the file with a line for each, or "" for one
	headers [][2]string // of the first user
	request []byte      // the CheckRequest of the first user
}

// A subject is what one side of a scenario measures.
type subject struct {
	server      string // stock, warder or opa, or "" if Envoy decides alone
	policy      string // of warder
	consistency string
	credential  string
	procs       int                                            // GOMAXPROCS, if not 0
	envoy       func(t *testing.T, addr string) map[string]any // nil if the server is asked directly
	reason      string                                         // in the answer of warder
	status      int                                            // to which the answer leads
}

// A scenario is a row of a table. It puts A and B under the same load.
type scenario struct {
	name, kind, about string
	a, b              subject
	conns             int // connections, if not loadConns
	rate              int // requests a second, if not as many as possible
	goals             []goal
	short             bool // also in the short form
}

func stock(credential string) subject {
	return subject{server: "stock", credential: credential, status: http.StatusOK}
}

func warder(consistency, credential string) subject {
	return subject{server: "warder", policy: benchPolicy, consistency: consistency, credential: credential, reason: "session", status: http.StatusOK}
}

// with returns the subject after a change.
func (s subject) with(change func(*subject)) subject {
	change(&s)
	return s
}

func answering(reason string, status int) func(*subject) {
	return func(s *subject) { s.reason, s.status = reason, status }
}

func behind(config func(t *testing.T, addr string) map[string]any) func(*subject) {
	return func(s *subject) { s.envoy = config }
}

func publicPolicy(routes int) func(*subject) {
	return func(s *subject) { s.policy, s.reason = policyOf(routes, hotPublic), "public" }
}

func oneThread(s *subject) { s.procs = 1 }

// scenarios are the rows. The goals are those of the project.
var scenarios = []scenario{
	{name: "direct/public", kind: directRow, about: "a public route", a: stock(users1), b: warder("strict", users1).with(publicPolicy(10))},
	{name: "direct/jwt-strict", kind: directRow, about: "Redis is asked each time", a: stock(users1), b: warder("strict", users1), goals: []goal{{Figure: throughput, Least: 0.9}}},
	{name: "direct/jwt-tracked", kind: directRow, about: "one user", a: stock(users1), b: warder("tracked", users1), goals: []goal{{Figure: throughput, Least: 1.4}}, short: true},
	{name: "direct/api-key", kind: directRow, about: "an API key", a: stock(goodKey), b: warder("strict", goodKey).with(answering("api_key", http.StatusOK))},
	{name: "direct/no-credential", kind: directRow, about: "a 401 that is logged", a: stock(noCredential), b: warder("strict", noCredential).with(answering("credentials_missing", http.StatusUnauthorized))},
	{name: "direct/unknown-session", kind: directRow, about: "a flood of tokens without a session, `strict`", a: stock(unknownSession), b: warder("strict", unknownSession).with(answering("session_revoked", http.StatusUnauthorized))},
	{name: "direct/bad-signature", kind: directRow, about: "a flood of tokens with a bad signature", a: stock(badSignature), b: warder("strict", badSignature).with(answering("token_signature", http.StatusUnauthorized))},
	{name: "direct/50-roles", kind: directRow, about: "a user with 50 roles", a: stock(manyRoles), b: warder("tracked", manyRoles)},
	{name: "direct/4KiB-headers", kind: directRow, about: "requests with 4 KiB of headers", a: stock(longHeaders), b: warder("tracked", longHeaders)},
	{name: "direct/64-connections", kind: directRow, about: "64 connections with one check each", a: stock(users1), b: warder("tracked", users1), conns: 64},
	{name: "direct/GOMAXPROCS=1", kind: directRow, about: "one thread", a: stock(users1).with(oneThread), b: warder("tracked", users1).with(oneThread)},
	{name: "direct/10000-routes", kind: directRow, about: "A: warder with 10 routes", a: warder("strict", users1).with(publicPolicy(10)), b: warder("strict", users1).with(publicPolicy(10_000)), goals: []goal{{Figure: throughput, Least: 0.96}}},
	{name: "direct/users-1000", kind: directRow, about: "1,000 tokens and users; A: warder with one", a: warder("tracked", users1), b: warder("tracked", users1000)},
	{name: "direct/users-10000", kind: directRow, about: "10,000 tokens and users; A: warder with one", a: warder("tracked", users1), b: warder("tracked", users10000), goals: []goal{{Figure: cpuTime, Most: 1.15}}, short: true},
	{name: "direct/users-100000", kind: directRow, about: "100,000 tokens and users; A: warder with one", a: warder("tracked", users1), b: warder("tracked", users100000), goals: []goal{{Figure: cpuTime, Most: 1.4}}},

	{name: "paced/users-10000", kind: pacedRow, about: "15,000 checks/s of 10,000 users", a: stock(users10000), b: warder("tracked", users10000), rate: 15_000, goals: []goal{{Figure: latency, Most: 1}}, short: true},

	{name: "envoy/warder", kind: envoyRow, about: "our sidecar.yaml, 10,000 users", a: plain, b: warder("tracked", users10000).with(behind(shippedProxy)), goals: []goal{{Figure: throughput, Least: 0.88}, {Figure: cpuTime, Most: 1}}, short: true},
	{name: "envoy/warder-no-log", kind: envoyRow, about: "the same without the access log", a: plain, b: warder("tracked", users10000).with(behind(quietProxy)), goals: []goal{{Figure: throughput, Least: 0.97}}, short: true},
	{name: "envoy/warder-strict", kind: envoyRow, about: "our sidecar.yaml, Redis is asked each time", a: plain, b: warder("strict", users10000).with(behind(shippedProxy))},
	{name: "envoy/no-credential", kind: envoyRow, about: "our sidecar.yaml, a 401 that is logged", a: stock(noCredential).with(behind(plainProxy)), b: warder("strict", noCredential).with(answering("credentials_missing", http.StatusUnauthorized)).with(behind(shippedProxy))},
	{name: "envoy/stock-json-log", kind: envoyRow, about: "stock behind our sidecar.yaml, with a JSON file log of Envoy", a: plain, b: stock(users10000).with(behind(fileLogProxy))},
	{name: "envoy/jwt-authn", kind: envoyRow, about: "Envoy's jwt_authn and RBAC, no authorizer", a: plain, b: subject{credential: users10000, status: http.StatusOK, envoy: jwtProxy}},
	{name: "envoy/opa", kind: envoyRow, about: "OPA-Envoy: the token and a role in Rego", a: plain, b: subject{server: "opa", credential: users10000, status: http.StatusOK, envoy: plainProxy}},
}

// plain is what the rows through Envoy are compared with: the stock server, which is asked by
// ext_authz with nothing but its address.
var plain = stock(users10000).with(behind(plainProxy))

// prepare starts the stores, fills them, and builds the requests of the scenarios.
func (b *bench) prepare(t *testing.T, todo []scenario) {
	t.Helper()
	for _, path := range []string{warderBinary, stockBinary, loadBinary} {
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("%v; run make bench, which builds it", err)
		}
	}
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Fatalf("%v: the processor time of the servers is read from Linux's /proc", err)
	}
	var err error
	if b.envoy, err = envoy.FindBinary(""); err != nil {
		t.Fatal(err)
	}
	b.redis, b.postgres = authztest.StartRedis(t, "bench-redis-password"), authztest.StartPostgresServer(t)
	b.postgres.Exec(t, postgres.Schema)

	users := map[string]int{users1: 1, users1000: 1000, users10000: 10_000, users100000: 100_000}
	most := 1
	for _, s := range todo {
		most = max(most, users[s.a.credential], users[s.b.credential])
	}
	roles := make([]string, 50)
	for i := range roles {
		roles[i] = fmt.Sprintf(`"ASSETS_ROLE_%02d"`, i)
	}
	roles[len(roles)-1] = `"CONTROL"`
	b.postgres.Exec(t, fmt.Sprintf(`
		INSERT INTO users (id, is_active, roles) SELECT n, true, '["CONTROL"]' FROM generate_series(%[1]d, %[2]d) n;
		INSERT INTO users (id, is_active, roles) VALUES (%[3]d, true, '[%[4]s]');
		INSERT INTO api_keys (prefix, key_hash, scopes, is_active, user_id) VALUES ('wk_live', '%[5]s', '["assets:audit"]', true, %[1]d)`,
		firstUser, firstUser+most-1, richUser, strings.Join(roles, ","), authz.HashAPIKey(benchKey).Hex()))
	lines := b.sessions(t, most)

	usual := [][2]string{
		{"user-agent", "assets-web/4.2 (okhttp/5.1)"},
		{"accept", "application/json"},
		{"accept-language", "en-US,en;q=0.5"},
		{"accept-encoding", "gzip, br"},
		{"origin", "https://app.example.com"},
		{"x-client-version", "4.2.0"},
		{"dnt", "1"},
	}
	bearer := func(token string) [][2]string {
		return append(slices.Clone(usual), [2]string{"authorization", "Bearer " + token})
	}
	first, _, _ := strings.Cut(lines[0], "\t")
	rich := benchToken(benchSecret, richUser, sessionOf(richUser))
	b.redis.Do(t, "SET", "session:"+strconv.Itoa(richUser)+":"+sessionOf(richUser), "1")
	long := bearer(first)
	for i := range 4 {
		long = append(long, [2]string{"x-context-" + strconv.Itoa(i), strings.Repeat("0123456789abcdef", 64)})
	}
	b.credentials = map[string]*crowd{
		goodKey:        {headers: append(slices.Clone(usual), [2]string{"x-api-key", benchKey})},
		noCredential:   {headers: usual},
		unknownSession: {headers: bearer(benchToken(benchSecret, firstUser, "00000000-0000-4000-8000-000000000000"))},
		badSignature:   {headers: bearer(benchToken("not-"+benchSecret, firstUser, sessionOf(firstUser)))},
		manyRoles:      {headers: bearer(rich)},
		longHeaders:    {headers: long},
	}
	for name, n := range users {
		if n > most {
			continue
		}
		c := &crowd{count: n, headers: bearer(first)}
		if n > 1 {
			c.lines = b.file(t, "lines", []byte(strings.Join(lines[:n], "\n")))
		}
		b.credentials[name] = c
	}
	b.record(t)
}

func sessionOf(user int) string { return fmt.Sprintf("5f2b1c64-9a3e-4a0e-8c57-%012d", user) }

// benchToken returns a token of one length for all users of six digits. The role is for those who
// look at no database.
func benchToken(secret string, user int, session string) string {
	claims := fmt.Sprintf(`{"sub":"%d","jti":"%s","type":"access","role":"CONTROL","iat":%d,"exp":%d}`, user, session, time.Now().Unix(), time.Now().Add(24*time.Hour).Unix())
	return authztest.MintRaw([]byte(secret), `{"alg":"HS256","typ":"JWT"}`, claims)
}

// sessions makes a session for each of n users. It returns the lines of the load generator: a
// token, the user, and the session.
func (b *bench) sessions(t *testing.T, n int) []string {
	t.Helper()
	options, err := redis.ParseURL(b.redis.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	lines := make([]string, n)
	pipeline := client.Pipeline()
	for i := range lines {
		id, session := strconv.Itoa(firstUser+i), sessionOf(firstUser+i)
		pipeline.Set(t.Context(), "session:"+id+":"+session, "1", 0)
		lines[i] = benchToken(benchSecret, firstUser+i, session) + "\t" + id + "\t" + session
	}
	if _, err := pipeline.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	return lines
}

// file writes a file for the load generator and returns its path.
func (b *bench) file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// start starts the server of a subject, if it has one.
func (b *bench) start(t *testing.T, of subject) *contestant {
	t.Helper()
	var env []string
	if of.procs != 0 {
		env = []string{"GOMAXPROCS=" + strconv.Itoa(of.procs)}
	}
	switch of.server {
	case "stock":
		return startStock(t, env)
	case "warder":
		return b.startWarder(t, of.policy, of.consistency, env...)
	case "opa":
		return b.startOPA(t)
	}
	return nil
}

// opaPolicy does in Rego what a policy of warder does without stores.
const opaPolicy = `package envoy.authz

default allow := false

allow if {
	[scheme, token] := split(input.attributes.request.http.headers.authorization, " ")
	lower(scheme) == "bearer"
	[valid, _, claims] := io.jwt.decode_verify(token, {"secret": "%s", "alg": "HS256"})
	valid
	claims.role == "CONTROL"
	input.attributes.request.http.method == "GET"
	input.parsed_path = ["api", "v1", "assets", _, "audit"]
}
`

// startOPA starts OPA-Envoy.
func (b *bench) startOPA(t *testing.T) *contestant {
	t.Helper()
	addr := authztest.FreeAddress(t)
	c := launch(t, "opa", nil, nil, b.opa, "run", "--server", "--addr", authztest.FreeAddress(t), "--disable-telemetry", "--log-level", "error",
		"--set", "plugins.envoy_ext_authz_grpc.addr="+addr, "--set", "plugins.envoy_ext_authz_grpc.path=envoy/authz/allow",
		b.file(t, "policy.rego", fmt.Appendf(nil, opaPolicy, benchSecret)))
	c.addr = addr
	waitFor(t, "OPA to answer", func() error {
		select {
		case <-c.ended:
			return fatal{fmt.Errorf("it ended: %w", c.err)}
		default:
		}
		_, _, err := ask(t.Context(), addr, b.credentials[noCredential].request)
		return err
	})
	return c
}
