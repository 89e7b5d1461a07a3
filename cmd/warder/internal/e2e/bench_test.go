//go:build bench

package e2e

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/postgres"
	"warder/envoy"
)

// The load: few connections with many concurrent requests on each, as Envoy sends them.
const (
	loadClients = 4
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
	benchSecret  = "bench-hmac-secret-0123456789abcdef"
	benchUser    = "42"
	benchSession = "5f2b1c64-9a3e-4a0e-8c57-0b1f8a1d2e3c"
	benchKey     = "wk_live_3q2-7wEhIzM0Vn8sYbLxKa"
)

// The credentials that scenarios use.
const (
	goodToken      = "a good token"
	goodKey        = "a good key"
	noCredential   = "none"
	unknownSession = "a token of no session"
	badSignature   = "a token with a bad signature"
)

// A scenario is a row of the table. It puts the servers A and B under the same load.
type scenario struct {
	name        string
	a           string // describes A if A is not the stock server
	aPolicy     string // if not "", A is warder with this policy
	policy      string
	consistency string
	credential  string
	reason      string // the reason in warder's response
	status      int    // the HTTP status that warder's response leads to, or 0
	goal        float64
}

// decisions are the scenarios that are measured both directly and through Envoy.
var decisions = []scenario{
	{name: "public", policy: policyOf(10, hotPublic), consistency: "strict", credential: goodToken, reason: "public", status: http.StatusOK},
	{name: "jwt-strict", policy: benchPolicy, consistency: "strict", credential: goodToken, reason: "session", status: http.StatusOK},
	{name: "jwt-tracked", policy: benchPolicy, consistency: "tracked", credential: goodToken, reason: "session", status: http.StatusOK},
	{name: "api-key", policy: benchPolicy, consistency: "strict", credential: goodKey, reason: "api_key", status: http.StatusOK},
	{name: "no-credential", policy: benchPolicy, consistency: "strict", credential: noCredential, reason: "credentials_missing", status: http.StatusUnauthorized},
	{name: "unknown-session", policy: benchPolicy, consistency: "strict", credential: unknownSession, reason: "session_revoked", status: http.StatusUnauthorized},
	{name: "bad-signature", policy: benchPolicy, consistency: "strict", credential: badSignature, reason: "token_signature", status: http.StatusUnauthorized},
}

// goals are the project's goals for the ratio of throughput, B to A, by scenario.
var goals = map[string]float64{
	"direct/jwt-tracked":  1.4,
	"direct/jwt-strict":   0.9,
	"direct/10000-routes": 0.96,
	"envoy/jwt-tracked":   1.1,
}

const caption = `A is the stock server (testdata/stock), which always allows. B is warder with its default configuration, except
that timeouts are longer and directory.max_staleness is 5s, so that jwt-strict measures Redis and not Postgres.
Denials are logged, as by default, to /dev/null. 10000-routes compares warder with itself: A has a policy of 10 routes.
direct: h2load sends a CheckRequest that was recorded from an Envoy with our sidecar.yaml.
envoy: h2load sends HTTP/2 requests to an Envoy with one worker, which responds itself after the check. The Envoy of A
has a minimal configuration (ext_authz with its defaults), that of B is our sidecar.yaml; both use TCP loopback.
All figures are medians of the rounds. B/A is the median of the ratios of the rounds, with the minimum and the maximum.
CPU is the user and system time of A or B for one check. It excludes Redis, Postgres, Envoy and h2load, which run on
the same cores. Latencies are measured with 64 requests in flight. Peak memory is that of the process of A or B.`

// bench is the state that all scenarios share.
type bench struct {
	ctx       context.Context // canceled by an interrupt, so that the cleanups run in that case too
	benchTime time.Duration   // duration of one run
	rounds    int
	redis     *authztest.Redis
	postgres  *authztest.Postgres
	envoy     string // path of the binary
	headers   map[string][][2]string
	bodies    map[string][]byte // CheckRequests by credential
	noTracked string            // why the tracked consistency is not available, or ""
}

// TestBench measures warder against the stock server and prints a table. Only wrong responses fail
// it, never the figures.
func TestBench(t *testing.T) {
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{
		ctx:       ctx,
		benchTime: knob(t, "BENCHTIME", 2*time.Second, time.ParseDuration),
		rounds:    knob(t, "ROUNDS", 5, strconv.Atoi),
	}
	wanted := knob(t, "SCENARIO", regexp.MustCompile(""), regexp.Compile)
	if b.benchTime < 10*time.Millisecond || b.rounds < 1 {
		t.Fatalf("BENCHTIME is %v and ROUNDS %d; use at least 10ms and 1", b.benchTime, b.rounds)
	}
	var todo []scenario
	for _, s := range scenarios() {
		if wanted.MatchString(s.name) {
			todo = append(todo, s)
		}
	}
	if len(todo) == 0 {
		if !slices.ContainsFunc(maskScenarios, func(s maskScenario) bool { return wanted.MatchString(s.name) }) {
			t.Fatalf("SCENARIO is %s, which matches no scenario", wanted)
		}
		return
	}
	b.prepare(t)
	report := report{Machine: append(machine(t, b.envoy, b.redis.URL(), b.postgres.URL()), fact{"h2load", strings.TrimPrefix(firstLine(t, "h2load", "--version"), "h2load ")}), BenchTime: b.benchTime.String(), Rounds: b.rounds, Body: len(b.bodies[goodToken])}
	fmt.Println(report.head())
	for _, s := range todo {
		if ctx.Err() != nil {
			t.Fatal("interrupted")
		}
		r := row{Name: s.name, A: s.a, Goal: s.goal}
		if s.consistency == "tracked" {
			r.Unavailable = b.noTracked
		}
		if r.Unavailable == "" && !t.Run(s.name, func(t *testing.T) { r.Runs = b.measure(t, s) }) {
			r.Unavailable = "failed, see above"
		}
		r.sum()
		report.Rows = append(report.Rows, r)
		fmt.Println(r.line())
	}
	fmt.Printf("\n%s\n\n%s\n%s\n\n", report.head(), report.table(), caption)
	if file := os.Getenv("BENCH_OUT"); file != "" {
		text, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func scenarios() []scenario {
	var all []scenario
	for _, s := range decisions {
		s.name = "direct/" + s.name
		all = append(all, s)
	}
	all = append(all, scenario{
		name: "direct/10000-routes", a: "10 routes", aPolicy: policyOf(10, hotPublic), policy: policyOf(10_000, hotPublic),
		consistency: "strict", credential: goodToken, reason: "public",
	})
	for _, s := range decisions {
		s.name = "envoy/" + s.name
		all = append(all, s)
	}
	for i := range all {
		all[i].goal = goals[all[i].name]
	}
	return all
}

// prepare starts the stores, fills them, and builds the requests.
func (b *bench) prepare(t *testing.T) {
	for _, path := range []string{warderBinary, stockBinary} {
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("%v; run make bench, which builds it", err)
		}
	}
	if _, err := exec.LookPath("h2load"); err != nil {
		t.Fatalf("%v; run make bench, which installs it or says how", err)
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
	b.postgres.Exec(t, fmt.Sprintf(`
		INSERT INTO users (id, is_active, roles) VALUES (%[1]s, true, '["CONTROL"]');
		INSERT INTO api_keys (prefix, key_hash, scopes, is_active, user_id) VALUES ('wk_live', '%[2]s', '["assets:audit"]', true, %[1]s)`,
		benchUser, authz.HashAPIKey(benchKey).Hex()))
	b.redis.Do(t, "SET", "session:"+benchUser+":"+benchSession, "1")
	b.noTracked = b.unavailable(t, "tracked")

	token := func(secret, session string) [2]string {
		now := time.Now()
		return [2]string{"authorization", "Bearer " + authztest.Mint(t, authztest.Token{Secret: []byte(secret), Claims: map[string]any{
			"sub": benchUser, "jti": session, "type": "access", "iat": now.Unix(), "exp": now.Add(24 * time.Hour).Unix(),
		}})}
	}
	usual := [][2]string{
		{"user-agent", "assets-web/4.2 (okhttp/5.1)"},
		{"accept", "application/json"},
		{"accept-language", "en-US,en;q=0.5"},
		{"accept-encoding", "gzip, br"},
		{"origin", "https://app.example.com"},
		{"x-client-version", "4.2.0"},
		{"dnt", "1"},
	}
	b.headers = map[string][][2]string{
		goodToken:      append(slices.Clone(usual), token(benchSecret, benchSession)),
		goodKey:        append(slices.Clone(usual), [2]string{"x-api-key", benchKey}),
		noCredential:   usual,
		unknownSession: append(slices.Clone(usual), token(benchSecret, "00000000-0000-4000-8000-000000000000")),
		badSignature:   append(slices.Clone(usual), token("not-"+benchSecret, benchSession)),
	}
	b.bodies = b.record(t, b.headers)
}

// measure runs the rounds of a scenario.
func (b *bench) measure(t *testing.T, s scenario) []pair {
	var a *contestant
	if s.aPolicy != "" {
		a = b.startWarder(t, s.aPolicy, s.consistency)
	} else {
		a = startStock(t)
	}
	sides := [2]side{b.side(t, s, a), b.side(t, s, b.startWarder(t, s.policy, s.consistency))}
	for i := range sides {
		sides[i].warmUp(t)
	}
	pairs := make([]pair, b.rounds)
	for i := range pairs {
		pairs[i] = pair{A: sides[0].run(t, sides[0].requests), B: sides[1].run(t, sides[1].requests)}
	}
	for _, side := range sides {
		side.expect()
	}
	return pairs
}

// A side is a contestant in a scenario, with the request that it gets.
type side struct {
	*contestant
	bench    *bench
	proxy    *proxy // nil if h2load calls the contestant directly
	url      string
	headers  [][2]string
	body     string // file with the body of the request, or ""
	expect   func() // sends one request and checks the response
	class    int    // class of the expected status: 2 for 2xx
	size     int    // size of the body of each response
	requests int    // number of requests in one run
}

// side prepares a contestant for a scenario and checks one response.
func (b *bench) side(t *testing.T, s scenario, c *contestant) side {
	t.Helper()
	request, decision, status := b.bodies[s.credential], "allow", s.status
	if s.status >= 400 {
		decision = "deny"
	}
	asked := c.expect(t, request, decision, s.reason)
	if !strings.HasPrefix(s.name, "envoy/") {
		const frame = 5 // a compression flag and the length of the message
		body := filepath.Join(t.TempDir(), "check")
		framed := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request)))
		if err := os.WriteFile(body, append(framed, request...), 0o600); err != nil {
			t.Fatal(err)
		}
		return side{
			contestant: c, bench: b, url: "http://" + c.addr + "/envoy.service.auth.v3.Authorization/Check",
			headers: [][2]string{{"content-type", "application/grpc"}, {"te", "trailers"}}, body: body,
			class: 2, size: frame + asked,
			expect: func() { c.expect(t, request, decision, s.reason) },
		}
	}
	var config map[string]any
	if c.name == "stock" {
		config, status = plainProxy(t, c.addr), http.StatusOK
	} else {
		config = shippedProxy(t, c.addr)
	}
	p := b.startProxy(t, c, config)
	return side{
		contestant: c, bench: b, proxy: &p, url: "http://" + p.Listen + hotPath, headers: b.headers[s.credential],
		class: status / 100, size: p.expect(t, b.headers[s.credential], status),
		expect: func() {
			c.expect(t, request, decision, s.reason)
			p.expect(t, b.headers[s.credential], status)
		},
	}
}

// warmUp lets connections and heaps reach their final size. It then sets the number of requests
// that takes the time of a run. With a fixed number, every response can be counted.
func (s *side) warmUp(t *testing.T) {
	t.Helper()
	first := s.run(t, 1000)
	again := s.run(t, max(1000, int(first.Rate*s.bench.benchTime.Seconds()/4)))
	s.requests = max(1000, int(again.Rate*s.bench.benchTime.Seconds()))
}

// A sample is the result of one run of h2load.
type sample struct {
	Rate float64       `json:"requests_per_second"`
	CPU  time.Duration `json:"cpu_per_check_ns"`
	P50  time.Duration `json:"p50_ns"`
	P99  time.Duration `json:"p99_ns"`
	Peak int64         `json:"peak_memory_bytes"` // since the process started
}

// pair is one round.
type pair struct {
	A sample `json:"a"`
	B sample `json:"b"`
}

// run sends n requests and requires n correct responses.
func (s *side) run(t *testing.T, n int) sample {
	t.Helper()
	var counted map[string]int
	if s.proxy != nil {
		counted = s.proxy.counters(t)
	}
	before := s.usage(t)
	l, latencies := s.bench.load(t, s.url, s.headers, s.body, loadClients, loadStreams, n)
	after := s.usage(t)
	if err := l.check(n, s.class, s.size); err != nil {
		t.Fatalf("wrong responses of the %s server: %v", s.name, err)
	}
	if len(latencies) != n {
		t.Fatalf("h2load logged %d of %d requests", len(latencies), n)
	}
	if s.proxy != nil {
		s.checkCounters(t, counted, n)
	}
	return sample{
		Rate: l.rate, CPU: (after.cpu - before.cpu) / time.Duration(n),
		P50: percentile(latencies, 50), P99: percentile(latencies, 99), Peak: after.peak,
	}
}

// checkCounters requires that Envoy sent a check for each of n requests and got a response.
func (s *side) checkCounters(t *testing.T, before map[string]int, n int) {
	t.Helper()
	want := "ok"
	if s.class != 2 {
		want = "denied"
	}
	after := s.proxy.counters(t)
	for _, counter := range []string{"ok", "denied", "error", "failure_mode_allowed"} {
		expected := 0
		if counter == want {
			expected = n
		}
		if got := after[counter] - before[counter]; got != expected {
			t.Fatalf("Envoy counts %d checks as %s, want %d of %d", got, counter, expected, n)
		}
	}
}

// A report is the result of a run of make bench.
type report struct {
	Machine   []fact `json:"machine"`
	BenchTime string `json:"bench_time"`
	Rounds    int    `json:"rounds"`
	Body      int    `json:"check_request_bytes"` // with a good token
	Rows      []row  `json:"rows"`
}

// A row is a scenario with its figures.
type row struct {
	Name        string  `json:"name"`
	A           string  `json:"a,omitempty"`
	Unavailable string  `json:"unavailable,omitempty"`
	Goal        float64 `json:"goal,omitempty"`
	Met         bool    `json:"met"`
	Ratio       spread  `json:"ratio"`     // of requests a second, B to A
	CPURatio    spread  `json:"cpu_ratio"` // of CPU per check, B to A
	Runs        []pair  `json:"runs,omitempty"`
}

func (r *row) sum() {
	var rates, cpus []float64
	for _, p := range r.Runs {
		rates = append(rates, p.B.Rate/p.A.Rate)
		if p.A.CPU > 0 { // it is 0 if a run is shorter than a clock tick
			cpus = append(cpus, float64(p.B.CPU)/float64(p.A.CPU))
		}
	}
	r.Ratio, r.CPURatio = spreadOf(rates), spreadOf(cpus)
	r.Met = r.Goal != 0 && len(r.Runs) > 0 && r.Ratio.Median >= r.Goal
}

// median returns the median of one figure over all runs of A, or of B if b is true.
func (r row) median(b bool, figure func(sample) float64) float64 {
	var values []float64
	for _, p := range r.Runs {
		if b {
			values = append(values, figure(p.B))
		} else {
			values = append(values, figure(p.A))
		}
	}
	return spreadOf(values).Median
}

// verdict reports whether the goal was met, as text.
func (r row) verdict() string {
	switch {
	case r.Goal == 0:
		return ""
	case r.Unavailable != "":
		return fmt.Sprintf(">= %g: not measured", r.Goal)
	case r.Met:
		return fmt.Sprintf(">= %g: met", r.Goal)
	default:
		return fmt.Sprintf(">= %g: missed", r.Goal)
	}
}

// line returns the short form of the row that is printed as soon as it is measured.
func (r row) line() string {
	if r.Unavailable != "" {
		return fmt.Sprintf("%s: not available: %s", r.Name, r.Unavailable)
	}
	return strings.TrimSpace(fmt.Sprintf("%s: B/A = %s %s", r.Name, r.Ratio, r.verdict()))
}

func (r report) head() string {
	var b strings.Builder
	b.WriteString(factLines(r.Machine))
	fmt.Fprintf(&b, "load: h2load -c %d -m %d, %d rounds A B of %s each; a CheckRequest with a token is %d bytes", loadClients, loadStreams, r.Rounds, r.BenchTime, r.Body)
	return b.String()
}

// table returns the report as a Markdown table with aligned columns.
func (r report) table() string {
	cells := [][]string{{"scenario", "req/s A, B", "B/A", "CPU µs A, B", "B/A", "p50 ms A, B", "p99 ms A, B", "peak MiB A, B", "goal"}}
	for _, row := range r.Rows {
		if row.Unavailable != "" {
			cells = append(cells, []string{row.Name, "not available", "", "", "", "", "", "", row.verdict()})
			continue
		}
		both := func(format string, figure func(sample) float64) string {
			return fmt.Sprintf(format+", "+format, row.median(false, figure), row.median(true, figure))
		}
		cells = append(cells, []string{
			row.Name,
			both("%.0f", func(s sample) float64 { return s.Rate }), row.Ratio.String(),
			both("%.1f", func(s sample) float64 { return float64(s.CPU) / 1e3 }), row.CPURatio.String(),
			both("%.2f", func(s sample) float64 { return float64(s.P50) / 1e6 }),
			both("%.2f", func(s sample) float64 { return float64(s.P99) / 1e6 }),
			both("%.0f", func(s sample) float64 { return float64(s.Peak) / (1 << 20) }),
			row.verdict(),
		})
	}
	return aligned(cells)
}
