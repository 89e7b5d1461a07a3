package e2e

import (
	"context"
	crand "crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"warder/authz/authztest"
	"warder/cmd/warder/internal/clitest"
)

// hostile returns the requests of strangers. They know how tokens and keys look, the routes, and
// the name of a user, but no secret.
func (s *stage) hostile() func(n int) *credential {
	other := []byte("another-secret-0123456789abcdef0123")
	text := func(n int) string { // of base64url
		b := make([]byte, n)
		_, _ = crand.Read(b)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	claims := func(user string) map[string]any {
		return map[string]any{"sub": user, "jti": "s-" + crand.Text(), "exp": time.Now().Add(time.Hour).Unix()}
	}
	paths := []string{
		"/user/../audit", "/%2e%2e/key", "/user%2fx", "/key;a=b", "/user/%00", "/user\\x", "/%75ser/", "/user/%zz", "/öpen", "/nowhere/" + strings.Repeat("a/", 900),
		"/nowhere?next=//evil.example.com&q=" + strings.Repeat("%27%20OR%201=1--", 60),
	}
	texts := []string{
		"' OR 1=1 --", "%s%s%n", "${jndi:ldap://x}", strings.Repeat("A", 16<<10), "\u202e\u0000"[:3], "session:*", "{\"a\":" + strings.Repeat("[", 500), "Basic " + text(30), "Bearer", "Bearer a.b.c",
	}
	kinds := []func() *credential{
		func() *credential {
			return fixed("a forged token", "/user", bearer(authztest.Mint(s.t, authztest.Token{Secret: other, Claims: claims(strconv.Itoa(rand.IntN(5000)))})), never)
		},
		func() *credential {
			return fixed("a random token", "/user", bearer("eyJhbGciOiJIUzI1NiJ9."+text(60)+"."+text(32)), never)
		},
		func() *credential {
			return fixed("an unsigned token", "/user", bearer("eyJhbGciOiJub25lIn0."+base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"sub":%q,"jti":%q,"exp":4102444800}`, goodUser, goodSession))+"."), never)
		},
		func() *credential {
			return fixed("a random API key", "/key", map[string]string{"X-API-Key": "wk_" + crand.Text()}, never)
		},
		func() *credential {
			return fixed("a random id", "/user/"+strconv.Itoa(rand.Int()), bearer(text(20)+"."+text(60)+"."+text(32)), never)
		},
		func() *credential { return fixed("a hostile path", paths[rand.IntN(len(paths))], nil, never) },
		func() *credential {
			c := fixed("a hostile text", "/user", map[string]string{"User-Agent": texts[rand.IntN(len(texts))], "Authorization": texts[rand.IntN(len(texts))]}, never)
			if rand.IntN(2) == 0 {
				c.path = "/key"
				c.headers = http.Header{"X-Api-Key": {texts[rand.IntN(len(texts))], texts[rand.IntN(len(texts))]}}
			}
			return c
		},
		func() *credential { // a client whose user has logged out goes on
			if c := s.sessions.anyPast(); c != nil {
				return c
			}
			return s.unknown
		},
	}
	return func(n int) *credential { return kinds[n%len(kinds)]() }
}

// nextValid returns valid credentials only.
func (s *stage) nextValid(n int) *credential {
	all := &s.sessions
	if n%2 == 1 {
		all = &s.keys
	}
	if c := all.any(); c != nil {
		return c
	}
	return s.open
}

// metrics returns what /metrics says.
func (s *stage) metrics(t *testing.T) clitest.Scrape {
	t.Helper()
	client := http.Client{Timeout: patience}
	response, err := client.Get("http://" + s.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	defer client.CloseIdleConnections()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return clitest.ScrapeOf(t, string(text))
}

// A storeLoad is what the stores were asked since they started.
type storeLoad struct {
	redis                    float64 // commands, as Redis counts them
	postgres                 float64 // transactions, as Postgres counts them
	sessions, users, apiKeys float64 // questions, as warder counts them
}

func (s *stage) storeLoad(t *testing.T) (l storeLoad) {
	t.Helper()
	info, err := s.set.sessions.Info(t.Context(), "stats").Result()
	if err != nil {
		t.Fatal(err)
	}
	l.redis = authztest.InfoNumber(t, info, "total_commands_processed")
	row := s.directory.QueryRow(t.Context(), "SELECT (xact_commit + xact_rollback)::float8 FROM pg_stat_database WHERE datname = current_database()")
	if err := row.Scan(&l.postgres); err != nil {
		t.Fatal(err)
	}
	for series, n := range s.metrics(t).Series {
		if !strings.HasPrefix(series, "warder_store_requests_total{") {
			continue
		}
		for store, to := range map[string]*float64{"sessions": &l.sessions, "users": &l.users, "api_keys": &l.apiKeys} {
			if strings.Contains(series, `store="`+store+`"`) {
				*to += n
			}
		}
	}
	return l
}

// busiest returns a function that returns the greatest number of warder's connections on which
// Postgres worked at the same moment since the call of busiest, of some hundred moments.
func (s *stage) busiest(t *testing.T) (end func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	most := 0
	var sampling sync.WaitGroup
	sampling.Go(func() {
		for tick := time.NewTicker(20 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			var n int
			err := s.directory.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'warder' AND state = 'active'").Scan(&n)
			if err == nil {
				most = max(most, n)
			}
		}
	})
	return func() int {
		cancel()
		sampling.Wait()
		return most
	}
}

// A phase is a line of the printed table.
type phase struct {
	name       string
	took       time.Duration
	valid, bad *ledger // bad is nil if there is no flood
	load       storeLoad
	cpu        time.Duration // of warder
	most       int
	memory     [2]int64
}

// phase lets the load go on for some time and measures it.
func (s *stage) phase(t *testing.T, name string, d time.Duration, flood *traffic) *phase {
	t.Helper()
	p := &phase{name: name}
	before, used := s.storeLoad(t), usageOf(t, s.warder.cmd.Process.Pid)
	most, began := s.busiest(t), time.Now()
	p.valid = s.traffic.turnLedger()
	if flood != nil {
		p.bad = flood.turnLedger()
	}
	s.wait(d)
	p.took, p.most = time.Since(began), most()
	s.traffic.turnLedger()
	if flood != nil {
		flood.turnLedger()
	}
	after, usedAfter := s.storeLoad(t), usageOf(t, s.warder.cmd.Process.Pid)
	p.cpu, p.memory = usedAfter.cpu-used.cpu, [2]int64{used.resident, usedAfter.resident}
	p.load = storeLoad{after.redis - before.redis, after.postgres - before.postgres, after.sessions - before.sessions, after.users - before.users, after.apiKeys - before.apiKeys}
	return p
}

// envoyLimit is the timeout of Envoy's question to warder in sidecar.yaml.
const envoyLimit = 500 * time.Millisecond

func (p *phase) cells() []string {
	bad := 0
	if p.bad != nil {
		bad = p.bad.count()
	}
	p.valid.mu.Lock()
	defer p.valid.mu.Unlock()
	slices.Sort(p.valid.latencies)
	late := len(p.valid.latencies) - len(slices.DeleteFunc(slices.Clone(p.valid.latencies), func(d time.Duration) bool { return d > envoyLimit }))
	rate := func(n float64) string { return fmt.Sprintf("%.0f", n/p.took.Seconds()) }
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }
	return []string{
		p.name, rate(float64(bad)), rate(float64(p.valid.valid)), fmt.Sprint(len(p.valid.refused)), fmt.Sprint(late),
		ms(authztest.Percentile(p.valid.latencies, 50)), ms(authztest.Percentile(p.valid.latencies, 99)), ms(authztest.Percentile(p.valid.latencies, 100)),
		rate(p.load.redis), rate(p.load.sessions), rate(p.load.postgres), rate(p.load.users), rate(p.load.apiKeys), fmt.Sprint(p.most),
		fmt.Sprintf("%.0f", 1000*p.cpu.Seconds()/p.took.Seconds()), fmt.Sprintf("%d, %d", p.memory[0]>>20, p.memory[1]>>20),
	}
}

var phaseHead = []string{
	"", "bad/s", "valid/s", "valid refused", "valid later than 500 ms", "p50 ms", "p99 ms", "most ms",
	"Redis commands/s", "of warder: sessions", "Postgres transactions/s", "of warder: users", "of warder: API keys", "Postgres connections busy at once", "warder mCPU", "MiB before, after",
}

// TestFloodOfStrangers sends bad requests beside valid ones through a real Envoy. make flood sends
// 5,000 a second for a minute, or as many as the machine can serve beside all that it runs here.
func TestFloodOfStrangers(t *testing.T) {
	wanted, valid, d := 300.0, 50.0, 3*time.Second
	whole := knob(t, "FLOOD", 0, time.ParseDuration)
	if whole > 0 {
		wanted, valid, d = 5000, 200, whole
	}
	s := newStage(t, startStores(t))
	s.choose = s.nextValid
	var phases []*phase
	for _, m := range modes() {
		if whole == 0 && m.name != "strict" {
			continue // strict asks the stores about each request
		}
		t.Run(m.name, func(t *testing.T) {
			s.play(t, m, valid)
			s.calm(t, s.traffic.turnLedger(), time.Now(), time.Second)
			rate := wanted
			if whole > 0 {
				rate = s.bearable(t, wanted)
			}
			phases = append(phases, s.phase(t, m.name+", no flood", min(d, 10*time.Second), nil))
			flood := s.traffics(newTraffic("http://"+s.front, rate, true, s.hostile()))
			flood.start(t)
			s.wait(d / 5) // what grows with the first requests has grown
			p := s.phase(t, m.name+", flood", d, flood)
			phases = append(phases, p)
			flood.end(t)
			s.calm(t, s.traffic.turnLedger(), time.Now(), time.Second)
			s.checkFlood(t, p)
			p.bad.mu.Lock()
			t.Logf("%s: %d bad requests asked, statuses %v, %d not sent", m.name, int(rate*p.took.Seconds()), p.bad.statuses, flood.dropped.Load())
			p.bad.mu.Unlock()
		})
	}
	if whole > 0 && len(phases) > 0 {
		s.printMachine(t)
	}
	table := [][]string{phaseHead}
	for _, p := range phases {
		table = append(table, p.cells())
	}
	fmt.Printf("%.0f bad requests a second wanted, for %v\n\n%s\n", wanted, d, aligned(table))
}

// bearable returns the rate of bad requests that the machine can serve beside the stores and the
// clients, but not more than wanted: a machine that cannot serve them tests the kernel's queues.
func (s *stage) bearable(t *testing.T, wanted float64) float64 {
	t.Helper()
	trial := s.traffics(newTraffic("http://"+s.front, wanted, true, s.hostile()))
	trial.most = 64 // the rest waits with the client, and not in queues
	trial.start(t)
	s.wait(time.Second)
	l := trial.turnLedger()
	const d = 4 * time.Second
	s.wait(d)
	l.mu.Lock()
	served := float64(l.requests-l.statuses[0]) / d.Seconds()
	l.mu.Unlock()
	trial.end(t)
	s.calm(t, s.traffic.turnLedger(), time.Now(), time.Second)
	t.Logf("of %.0f bad requests a second, %.0f were answered", wanted, served)
	if served > wanted*0.95 {
		return wanted
	}
	return served * 0.6
}

// checkFlood fails the test for what must hold on any machine.
func (s *stage) checkFlood(t *testing.T, p *phase) {
	t.Helper()
	for _, l := range []*ledger{p.valid, p.bad} {
		l.mu.Lock()
		if l.wronglyAllowed > 0 || l.falselyRefused > 0 {
			t.Errorf("%d wrongly allowed, %d valid credentials refused with a 4xx: %s", l.wronglyAllowed, l.falselyRefused, strings.Join(l.mistakes, "; "))
		}
		l.mu.Unlock()
	}
	if n := p.bad.count(); n == 0 || p.load.apiKeys == 0 {
		t.Errorf("%d bad requests, %.0f questions about API keys: this tests nothing", n, p.load.apiKeys)
	}
	if p.memory[1] > p.memory[0]+roomForMemory() {
		t.Errorf("%d MiB of memory after the first fifth of the flood and %d at its end", p.memory[0]>>20, p.memory[1]>>20)
	}
}
