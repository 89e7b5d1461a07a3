//go:build bench

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"warder/authz/authztest"
)

// A report is the result of a run of make bench.
type report struct {
	Machine   []fact `json:"machine"`
	BenchTime string `json:"bench_time"`
	Rounds    int    `json:"rounds"`
	Body      int    `json:"check_request_bytes"` // of one user
	Rows      []row  `json:"rows"`
}

const caption = `A and B get the same load in turns. All figures are medians of the rounds; B/A is the median of the ratios of the rounds, with
the least and the most. Every answer is compared with the one that its user must get, and a wrong one fails the run. CPU is user and
system time, without Redis, Postgres and the generator, which run on the same cores. ` + "`stock`" + ` is testdata/stock: grpc-go and
go-control-plane, which allows everything. warder has its default configuration, but longer timeouts, and ` + "`directory.max_staleness`" + ` is
10m: rows are kept until a change is announced. Denials are logged, as by default, to /dev/null. A check is one that was
recorded from an Envoy with our sidecar.yaml. The Envoy in front has one worker and answers itself after the check.`

// titles stand above the tables, by kind of row.
var titles = []struct{ kind, title string }{
	{directRow, "### Checks over gRPC"},
	{pacedRow, "### A fixed rate\n\nA latency counts from the time at which the check was due. A check is not sent if 1,000 have no answer."},
	{envoyRow, "### Through Envoy"},
}

// bench is the state that all scenarios share.
type bench struct {
	ctx         context.Context // canceled by an interrupt, so that the cleanups run in that case too
	benchTime   time.Duration   // duration of one run
	rounds      int
	redis       *authztest.Redis
	postgres    *authztest.Postgres
	envoy       string // path of the binary
	opa         string // path of the binary of OPA-Envoy, which may not be there
	credentials map[string]*crowd
}

// TestBench measures warder against the stock server and what else a user would pick, and prints
// the tables of SPEED.md. Only wrong answers fail it, never the figures.
func TestBench(t *testing.T) {
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	short := os.Getenv("SHORT") != ""
	b := &bench{
		ctx:       ctx,
		benchTime: knob(t, "BENCHTIME", 1500*time.Millisecond, time.ParseDuration),
		rounds:    knob(t, "ROUNDS", 5, strconv.Atoi),
		opa:       os.Getenv("OPA"),
	}
	wanted := knob(t, "SCENARIO", regexp.MustCompile(""), regexp.Compile)
	if b.benchTime < 10*time.Millisecond || b.rounds < 1 {
		t.Fatalf("BENCHTIME is %v and ROUNDS %d; use at least 10ms and 1", b.benchTime, b.rounds)
	}
	var todo []scenario
	for _, s := range scenarios {
		if wanted.MatchString(s.name) && (s.short || !short) {
			todo = append(todo, s)
		}
	}
	if len(todo) == 0 {
		if !slices.ContainsFunc(maskScenarios, func(s maskScenario) bool { return wanted.MatchString(s.name) }) {
			t.Fatalf("SCENARIO is %s, which matches no scenario", wanted)
		}
		return
	}
	b.prepare(t, todo)
	report := report{
		Machine: machine(t, b.envoy, b.redis.URL(), b.postgres.URL()), BenchTime: b.benchTime.String(), Rounds: b.rounds,
		Body: len(b.credentials[users1].request),
	}
	for _, s := range todo {
		if ctx.Err() != nil {
			t.Fatal("interrupted")
		}
		r := row{Name: s.name, Kind: s.kind, About: s.about, Goals: s.goals, Unavailable: b.unavailable(s)}
		if r.Unavailable == "" && !t.Run(s.name, func(t *testing.T) { r.Runs = b.measure(t, s) }) {
			r.Unavailable = "failed, see above"
		}
		r.sum()
		report.Rows = append(report.Rows, r)
		fmt.Println(r.line())
	}
	fmt.Printf("\n%s\n", report.page(time.Now()))
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

// page returns the section of SPEED.md that has the figures.
func (r report) page(now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "## Figures\n\nMeasured on %s by `make bench`: %d rounds of %s a side, a check of %d bytes.\n\n", now.Format(time.DateOnly), r.Rounds, r.BenchTime, r.Body)
	for _, f := range r.Machine {
		fmt.Fprintf(&b, "* %s: %s\n", f.Name, f.Value)
	}
	fmt.Fprintf(&b, "\n%s\n", caption)
	for _, each := range titles {
		if rows := table(each.kind, r.Rows); rows != "" {
			fmt.Fprintf(&b, "\n%s\n\n%s", each.title, rows)
		}
	}
	return b.String()
}

// measure runs the rounds of a scenario.
func (b *bench) measure(t *testing.T, s scenario) []pair {
	sides := [2]*side{b.side(t, s, s.a), b.side(t, s, s.b)}
	for _, side := range sides {
		side.warmUp(t)
	}
	pairs := make([]pair, b.rounds)
	for i := range pairs {
		pairs[i] = pair{A: sides[0].run(t), B: sides[1].run(t)}
	}
	for _, side := range sides {
		side.expect()
	}
	return pairs
}

// A side is a server in a scenario, perhaps with an Envoy in front, and the load that it gets.
type side struct {
	*contestant // nil if Envoy decides alone
	bench       *bench
	scenario    scenario
	credential  *crowd
	proxy       *proxy // nil if the contestant is asked directly
	status      int    // the expected HTTP status
	load        []string
	expect      func() // sends one request and checks the answer
}

// side prepares a side of a scenario and checks one answer.
func (b *bench) side(t *testing.T, s scenario, of subject) *side {
	t.Helper()
	c := b.credentials[of.credential]
	x := &side{bench: b, scenario: s, credential: c, contestant: b.start(t, of), status: of.status}
	conns, streams := loadConns, loadStreams
	if s.conns != 0 {
		conns, streams = s.conns, loadConns*loadStreams/s.conns
	}
	x.load = []string{"-connections", strconv.Itoa(conns), "-streams", strconv.Itoa(streams)}
	if c.lines != "" {
		x.load = append(x.load, "-tokens", c.lines)
	}
	if of.envoy == nil {
		check := func() []byte { return x.contestant.expect(t, c.request, of) }
		x.status, x.expect = 200, func() { check() }
		x.load = append(x.load,
			"-url", "http://"+x.addr+checkMethod, "-message", b.file(t, "message", c.request), "-want", b.file(t, "want", check()), "-status", "200")
		return x
	}
	addr := ""
	if x.contestant != nil {
		addr = x.addr
	}
	p := b.startProxy(t, of.server, of.envoy(t, addr))
	x.proxy = &p
	x.expect = func() { p.expect(t, c.headers, of.status) }
	if of.server != "stock" && of.status == 200 { // this Envoy does not allow everything
		p.expect(t, b.credentials[noCredential].headers, 0)
	}
	x.load = append(x.load, "-url", "http://"+p.Listen+hotPath, "-want", b.file(t, "want", p.expect(t, c.headers, of.status)), "-status", strconv.Itoa(of.status))
	for _, h := range c.headers {
		x.load = append(x.load, "-header", h[0]+": "+h[1])
	}
	return x
}

// warmUp asks for each user once, and then lets connections and heaps reach their final size.
func (s *side) warmUp(t *testing.T) {
	t.Helper()
	s.offer(t, "-requests", strconv.Itoa(max(s.credential.count, 1000)), "-duration", "5m")
	s.offer(t, "-duration", max(s.bench.benchTime/3, 10*time.Millisecond).String())
}

// offer runs the load generator and requires right answers to all requests.
func (s *side) offer(t *testing.T, more ...string) offered {
	t.Helper()
	var counted map[string]int
	counts := s.proxy != nil && s.contestant != nil
	if counts {
		counted = s.proxy.counters(t)
	}
	l := s.bench.generate(t, append(slices.Clone(s.load), more...)...)
	if err := l.check(); err != nil {
		t.Fatalf("wrong answers: %v", err)
	}
	if counts {
		s.checkCounters(t, counted, l.Sent)
	}
	return l
}

// run measures one round of a side.
func (s *side) run(t *testing.T) sample {
	t.Helper()
	load := []string{"-duration", s.bench.benchTime.String()}
	if s.scenario.rate != 0 {
		load = append(load, "-rate", strconv.Itoa(s.scenario.rate))
	}
	var before, after, envoyBefore, envoyAfter usage
	if s.contestant != nil {
		before = s.usage(t)
	}
	if s.proxy != nil {
		envoyBefore = usageOf(t, s.proxy.PID())
	}
	l := s.offer(t, load...)
	if s.contestant != nil {
		after = s.usage(t)
	}
	if s.proxy != nil {
		envoyAfter = usageOf(t, s.proxy.PID())
	}
	n := time.Duration(l.Sent)
	return sample{
		Rate: l.Rate, CPU: (after.cpu - before.cpu) / n, EnvoyCPU: (envoyAfter.cpu - envoyBefore.cpu) / n, Peak: after.peak,
		P50: time.Duration(l.P50) * time.Microsecond, P99: time.Duration(l.P99) * time.Microsecond, Max: time.Duration(l.Max) * time.Microsecond,
		Dropped: l.Dropped, Late: time.Duration(l.Late) * time.Microsecond,
	}
}

// checkCounters requires that Envoy sent a check for each of n requests and got an answer.
func (s *side) checkCounters(t *testing.T, before map[string]int, n int) {
	t.Helper()
	want := "ok"
	if s.status != 200 {
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

// unavailable returns why a scenario cannot be measured, or "".
func (b *bench) unavailable(s scenario) string {
	if s.b.server != "opa" {
		return ""
	}
	if _, err := os.Stat(b.opa); err == nil {
		return ""
	}
	why, err := os.ReadFile(b.opa + ".err")
	if err != nil {
		return "not built: make bench builds it"
	}
	lines := strings.Split(strings.TrimSpace(string(why)), "\n")
	return "not built: " + strings.TrimSpace(lines[len(lines)-1])
}
