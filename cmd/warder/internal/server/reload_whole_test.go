package server

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"warder/authz"
	"warder/authz/memory"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
)

// wholePolicies decide one request, of user 42 with the role EDITOR, in ways that differ in
// every part of the answer. A mix of two policies would give yet another answer: with the
// admin_role of the first and the route of the second, a session would be allowed.
var wholePolicies = []struct{ route, decision, text string }{
	{"open", "allow public", "version: 1\nadmin_role: EDITOR\nroutes:\n  - {id: open, match: /thing, public: true}\n"},
	{"control", "deny role_missing", "version: 1\nadmin_role: \"\"\nroutes:\n  - {id: control, match: /thing, allow: [{user: {roles: [CONTROL]}}]}\n"},
	{"office", "deny client_ip_denied", "version: 1\nadmin_role: EDITOR\nip_lists: {office: [203.0.113.0/24]}\nroutes:\n  - {id: office, match: /thing, public: true, client_ips: [office]}\n"},
	{"news", "allow anonymous", "version: 1\nroutes:\n  - {id: news, match: /thing, allow: [{anonymous: {}}, {api_key: {}}]}\n"},
	{"keys", "deny credentials_missing", "version: 1\nadmin_role: EDITOR\nroutes:\n  - {id: keys, match: /thing, allow: [{api_key: {}}]}\n"},
	{"other", "deny route_unmatched", "version: 1\nroutes:\n  - {id: other, match: /other, public: true}\n"},
}

// A reloadRig is a server whose policy is a file of a Kubernetes volume.
type reloadRig struct {
	*running
	volume *clitest.KubernetesVolume
	path   string
	client authv3.AuthorizationClient
	token  string
}

func newReloadRig(t *testing.T) *reloadRig {
	t.Helper()
	store := memory.New(nil)
	store.PutUser("42", authz.User{Active: true, Roles: authz.Names{"EDITOR"}})
	store.PutSession("42", "s1", 0)
	r := &reloadRig{volume: &clitest.KubernetesVolume{Dir: t.TempDir()}, token: mint(t)}
	r.volume.Publish(t, map[string]string{"policy.yaml": wholePolicies[0].text})
	r.path = filepath.Join(r.volume.Dir, "policy.yaml")
	s := testSettings(t)
	s.Policy = r.path
	s.Log.Decisions = config.LogNone
	r.running = start(t, s, MemoryStores(store))
	r.client = authv3.NewAuthorizationClient(r.dial(insecure.NewCredentials()))
	return r
}

// change writes the policy in one of the ways in which policies are changed in practice.
func (r *reloadRig) change(t *testing.T, how int, text string) {
	t.Helper()
	target, err := filepath.EvalSymlinks(r.path)
	if err != nil {
		t.Fatal(err)
	}
	switch how % 3 {
	case 0:
		r.volume.Publish(t, map[string]string{"policy.yaml": text})
	case 1:
		clitest.Replace(t, target, text)
	case 2:
		// Truncated, then written in two parts.
		f, err := os.Create(target)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, part := range []string{text[:len(text)/2], text[len(text)/2:]} {
			if _, err := f.WriteString(part); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// ask returns the whole answer to the request.
func (r *reloadRig) ask(t *testing.T) string {
	response, err := r.client.Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: "198.51.100.7"},
		}}},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Host: "example.com", Path: "/thing", Headers: map[string]string{"authorization": "Bearer " + r.token},
		}},
	}})
	if err != nil {
		t.Errorf("a check ended with %v", err)
		return ""
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(response)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// decides waits until the server decides by the policy with this route.
func (r *reloadRig) decides(t *testing.T, route string) {
	t.Helper()
	clitest.Eventually(t, "the policy with "+route, func() bool { return r.server.engine.Policy().Routes()[0].ID == route })
}

// TestReloadIsWhole: 10,000 requests while the policy is reloaded 100 times. Each
// answer is, to the last byte, the answer of one whole policy.
func TestReloadIsWhole(t *testing.T) {
	t.Parallel()
	const reloads, requests, clients = 100, 10_000, 8
	r := newReloadRig(t)
	whole := map[string]int{} // answer -> index of the policy
	for i, p := range wholePolicies {
		if i > 0 {
			r.change(t, i, p.text)
			r.hangup <- os.Interrupt
		}
		r.decides(t, p.route)
		whole[r.ask(t)] = i
	}
	if len(whole) != len(wholePolicies) {
		t.Fatalf("%d different answers of %d policies", len(whole), len(wholePolicies))
	}
	before := r.scrape()
	reloaded := strings.Count(r.log.String(), `"msg":"policy reloaded`)

	seen := make([]atomic.Int64, len(wholePolicies))
	for i := range reloads {
		next := wholePolicies[i%len(wholePolicies)]
		var asking sync.WaitGroup
		for range clients {
			asking.Go(func() {
				for range requests / reloads / clients {
					if which, ok := whole[r.ask(t)]; ok {
						seen[which].Add(1)
					} else {
						t.Error("an answer is that of no whole policy")
					}
				}
			})
		}
		r.change(t, i, next.text)
		if i%10 > 0 { // the watch must find the others
			r.hangup <- os.Interrupt
		}
		r.decides(t, next.route)
		asking.Wait()
		for range requests / reloads % clients {
			if r.ask(t); whole[r.ask(t)] != i%len(wholePolicies) {
				t.Errorf("%s does not decide although it was loaded", next.route)
			}
			seen[i%len(wholePolicies)].Add(1)
		}
	}

	total := int64(0)
	for i := range seen {
		n := seen[i].Load()
		total += n
		if n == 0 {
			t.Errorf("%s decided nothing", wholePolicies[i].route)
		}
	}
	if total != requests {
		t.Errorf("%d answers of whole policies, want %d", total, requests)
	}
	if got := strings.Count(r.log.String(), `"msg":"policy reloaded`) - reloaded; got != reloads {
		t.Errorf("%d reloads, want %d", got, reloads)
	}
	r.wholeDecisions(t, before)
}

// wholeDecisions checks that each pair of a route and a reason in the counters belongs to one
// policy, and is not a mix of two.
func (r *reloadRig) wholeDecisions(t *testing.T, before clitest.Scrape) {
	t.Helper()
	known := map[string]bool{}
	for _, p := range wholePolicies {
		decision, reason, _ := strings.Cut(p.decision, " ")
		route := p.route
		if reason == "route_unmatched" {
			route = ""
		}
		known[fmt.Sprintf("warder_decisions_total{decision=%q,reason=%q,route=%q}", decision, reason, route)] = true
	}
	decisions := 0.0
	for series, n := range r.scrape().Series {
		if strings.HasPrefix(series, "warder_decisions_total{") {
			decisions += n - before.Series[series]
			if !known[series] {
				t.Errorf("decided by parts of policies: %s %v", series, n)
			}
		}
	}
	if decisions < 10_000 {
		t.Errorf("%v decisions were counted", decisions)
	}
}

// TestReloadKeepsTheLastGood writes 100 new versions, of which every other one is broken in one
// of several ways. The last valid policy must decide, and log, metrics and /readyz must say so
// until the next valid policy.
func TestReloadKeepsTheLastGood(t *testing.T) {
	t.Parallel()
	r := newReloadRig(t)
	answers := map[string]string{}
	lastGood := wholePolicies[0]
	answers[lastGood.route] = r.ask(t)
	broken := []string{
		"", "version: 1\nroutes:\n  - {id: open, ma", "version: 1\nroutes: []\n", "\x00\xff\xfe",
		"version: 1\nroutes:\n  - {id: open, match: /thing, publik: true}\n  - {id: open, match: thing, public: true}\n",
		wholePolicies[1].text + "---\n" + wholePolicies[0].text,
	}
	for i := range 100 {
		if i%2 == 0 {
			r.change(t, i/2, broken[i/2%len(broken)])
			r.hangup <- os.Interrupt
			clitest.Eventually(t, "the failure is known", func() bool { return r.server.reloader.status.detail() != "" })
			if got := r.scrape().Of("warder_policy_last_reload_successful"); got != "" {
				t.Fatalf("broken version %d: the metrics are those of a good reload", i)
			}
			code, text := r.readyz()
			if code != 200 || !strings.HasPrefix(text, "ready\npolicy: the reload at ") || !strings.Contains(text, "the last good one stays (hash "+r.server.engine.Policy().Hash()[:8]) {
				t.Fatalf("broken version %d: /readyz says %d %s", i, code, text)
			}
		} else {
			lastGood = wholePolicies[i/2%len(wholePolicies)]
			r.change(t, i/2, lastGood.text)
			r.hangup <- os.Interrupt
			clitest.Eventually(t, "the failure is over", func() bool { return r.server.reloader.status.detail() == "" })
			r.decides(t, lastGood.route)
			if code, text := r.readyz(); code != 200 || text != "ready" {
				t.Fatalf("good version %d: /readyz says %d %s", i, code, text)
			}
			if got := r.scrape().Of("warder_policy_last_reload_successful"); got != "{} 1" {
				t.Fatalf("good version %d: %q", i, got)
			}
		}
		answer := r.ask(t)
		if answers[lastGood.route] == "" {
			answers[lastGood.route] = answer
		}
		if answer != answers[lastGood.route] || r.server.engine.Policy().Routes()[0].ID != lastGood.route {
			t.Fatalf("version %d: %s does not decide any more", i, lastGood.route)
		}
		if got, want := r.scrape().Of("warder_policy_info"), fmt.Sprintf("{hash=%q} 1", r.server.engine.Policy().Hash()); got != want {
			t.Fatalf("version %d: %s, want %s alone", i, got, want)
		}
	}
	if got := strings.Count(r.log.String(), "policy not reloaded, the last good one stays"); got < 50 {
		t.Errorf("%d problems were logged, want one at least for each of the 50 broken versions", got)
	}
}

func TestPolicyStatus(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 25, 3, 0, 0, 0, time.UTC)
	s := newPolicyStatus("0123456789abcdef", at)
	expect := func(want string) {
		t.Helper()
		if got := s.detail(); got != want {
			t.Errorf("got %q\nwant %q", got, want)
		}
	}
	expect("")
	s.bad(3, at.Add(time.Minute))
	if text := gathered(t, s); !strings.Contains(text, "last_reload_successful{} 0") || !strings.Contains(text, "timestamp_seconds{} 1.7955756e+09") {
		t.Errorf("after a bad reload the metrics are\n%s", text)
	}
	expect("policy: the reload at 2026-11-25T03:01:00Z failed with 3 problems, see the log; the last good one stays (hash 01234567, read at 2026-11-25T03:00:00Z)")
	s.bad(1, at.Add(time.Hour))
	expect("policy: the reload at 2026-11-25T04:00:00Z failed with 1 problem, see the log; the last good one stays (hash 01234567, read at 2026-11-25T03:00:00Z)")
	s.good("fedcba9876543210", at.Add(2*time.Hour))
	expect("")
	want := `warder_policy_info{hash="fedcba9876543210"} 1
warder_policy_last_reload_successful{} 1
warder_policy_last_reload_timestamp_seconds{} 1.7955828e+09`
	if got := gathered(t, s); got != want {
		t.Errorf("after a good reload the metrics are\n%s\nwant\n%s", got, want)
	}
}

// gathered returns the metrics of a collector as sorted lines.
func gathered(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for series, value := range clitest.Scraped("", families).Series {
		lines = append(lines, fmt.Sprint(series, " ", value))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
