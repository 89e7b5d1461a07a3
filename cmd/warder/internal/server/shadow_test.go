package server

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/memory"
	"warder/authz/token"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/server/metrics"
	"warder/envoy"
	"warder/policy"
)

// TestServeShadow checks that --shadow enforces nothing except the rejection of ambiguous
// requests, and that log, metrics and /readyz show it.
func TestServeShadow(t *testing.T) {
	t.Parallel()
	r := startWith(t, testSettings(t), Options{Stores: MemoryStores(memory.New(nil)), Shadow: true})
	conn := r.dial(insecure.NewCredentials())
	for _, c := range []struct {
		want codes.Code
		path string
	}{
		{codes.OK, "/public"},
		{codes.OK, "/user"},
		{codes.OK, "/unmatched"},
		{codes.InvalidArgument, "/public/../user"},
	} {
		if got, err := r.check(conn, c.path, nil); got != c.want || err != nil {
			t.Errorf("%s: %v, %v; want %v", c.path, got, err, c.want)
		}
	}
	want := strings.Join([]string{
		`{decision="allow",reason="public",route="public"} 1`,
		`{decision="deny",reason="path_ambiguous",route=""} 1`,
		`{decision="would_deny",reason="credentials_missing",route="user"} 1`,
		`{decision="would_deny",reason="route_unmatched",route=""} 1`,
	}, "\n")
	seen := r.scrape()
	if got := seen.Of("warder_decisions_total"); got != want {
		t.Errorf("decisions:\n%s\nwant:\n%s", got, want)
	}
	if got := seen.Of("warder_shadow_enabled"); got != "{} 1" {
		t.Errorf("warder_shadow_enabled: %s", got)
	}
	if _, text := r.readyz(); text != "ready\nshadow: no denial is enforced" {
		t.Errorf("/readyz: %s", text)
	}
	if code, out, stderr := runCommand(clitest.Environment(), "explain", "--url", "http://"+r.Admin.String(), "GET", "/user"); code != 0 || !strings.HasPrefix(out, "WOULD DENY 200 credentials_missing") {
		t.Errorf("explain: %d, %s%s", code, out, stderr)
	}
	if !strings.Contains(r.log.String(), "SHADOW: NO DENIAL IS ENFORCED") {
		t.Errorf("the log does not say it:\n%s", r.log)
	}
	clitest.Eventually(t, "lines for what would be denied", func() bool { return strings.Count(r.out.String(), `"decision":"would_deny"`) == 2 })
}

// TestShadowPolicy checks that the next policy is reloaded like the current one and changes no
// response, and that the differences are counted and logged.
func TestShadowPolicy(t *testing.T) {
	t.Parallel()
	store := memory.New(nil)
	store.PutUser("42", authz.User{Active: true})
	store.PutSession("42", "s1", 0)
	next := clitest.WriteFile(t, t.TempDir(), "next.yaml", `version: 1
routes:
  - {id: public, match: /public, public: true}
  - {id: staff, match: /user, allow: [{user: {roles: [STAFF]}}]}
  - {id: new, match: /new, public: true}
`)
	r := startWith(t, testSettings(t), Options{Stores: MemoryStores(store), NextPolicy: next})
	conn := r.dial(insecure.NewCredentials())
	token := map[string]string{"authorization": "Bearer " + mint(t)}
	ask := func() {
		t.Helper()
		for _, c := range []struct {
			want    codes.Code
			path    string
			headers map[string]string
		}{
			{codes.OK, "/public", nil},
			{codes.OK, "/user", token},
			{codes.Unauthenticated, "/user", nil},
			{codes.PermissionDenied, "/new?token=canary", nil},
			{codes.InvalidArgument, "/a//b", nil},
		} {
			if got, err := r.check(conn, c.path, c.headers); got != c.want || err != nil {
				t.Errorf("%s: %v, %v; want %v", c.path, got, err, c.want)
			}
		}
	}
	counted := func(result string, n int) {
		t.Helper()
		clitest.Eventually(t, fmt.Sprintf("%d that are %s", n, result), func() bool {
			return r.scrape().Series[fmt.Sprintf("warder_shadow_policy_requests_total{result=%q}", result)] == float64(n)
		})
	}
	ask()
	counted("same", 3)
	counted("different", 2)
	want := strings.Join([]string{
		`{decision="allow",next_decision="deny",next_reason="role_missing",next_route="staff",reason="session",route="user"} 1`,
		`{decision="deny",next_decision="allow",next_reason="public",next_route="new",reason="route_unmatched",route=""} 1`,
	}, "\n")
	if got := r.scrape().Of("warder_shadow_policy_differences_total"); got != want {
		t.Errorf("differences:\n%s\nwant:\n%s", got, want)
	}
	clitest.Eventually(t, "a line for each difference", func() bool { return strings.Count(r.out.String(), `"next_decision"`) == 2 })
	if out := r.out.String(); !strings.Contains(out, `"user":"42"`) || !strings.Contains(out, `"next_reason":"role_missing","next_route":"staff","next_policy":"`) || strings.Contains(out, "canary") {
		t.Errorf("the lines:\n%s", out)
	}

	// A broken next policy changes nothing. After it is repaired, it is used for the comparison.
	if err := os.WriteFile(next, []byte("version: 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	clitest.Eventually(t, "a word about the broken file", func() bool { return strings.Contains(r.log.String(), "policy not reloaded") })
	if code, text := r.readyz(); code != 200 || !strings.HasPrefix(text, "ready\nshadow policy: the reload at ") {
		t.Errorf("/readyz with a broken policy to come: %d %s", code, text)
	}
	if err := os.WriteFile(next, []byte(testPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	clitest.Eventually(t, "a word about the mended file", func() bool { return strings.Contains(r.log.String(), "policy reloaded") })
	ask()
	counted("same", 8)
	counted("different", 2)
	if code, text := r.readyz(); code != 200 || text != "ready" {
		t.Errorf("/readyz: %d %s", code, text)
	}
}

// TestShadowPolicyIsWrong checks that an unreadable next policy prevents the start, like an
// unreadable current policy.
func TestShadowPolicyIsWrong(t *testing.T) {
	t.Parallel()
	s := testSettings(t)
	next := clitest.WriteFile(t, t.TempDir(), "next.yaml", "version: 1\nroutes: [{id: a, match: /a}]\n")
	_, err := New(s, Options{Stdout: &authztest.Buffer{}, Log: NewLogger(&authztest.Buffer{}, config.Log{}), Stores: MemoryStores(memory.New(nil)), NextPolicy: next})
	if err == nil || !strings.Contains(err.Error(), next+":2:10: routes[0].allow: is missing") {
		t.Errorf("a wrong policy to come: %v", err)
	}
}

// TestShadowPolicyIsBounded checks that waiting comparisons use bounded memory, and that stores
// that do not answer are not asked twice.
func TestShadowPolicyIsBounded(t *testing.T) {
	t.Parallel()
	counts := metrics.New(nil).Next
	n := &nextPolicy{counts: counts, queue: make(chan envoy.Observation, nextBacklog)}
	observed := func(size int, r authz.Reason) {
		n.Observed(t.Context(), envoy.Observation{
			Request: authz.NewRequest(authz.Attributes{Headers: make(authz.Headers, 10)}), Decision: authz.Deny(r), Size: size,
		})
	}
	for range 20 {
		observed(1<<20, authz.ReasonRouteUnmatched)
	}
	if len(n.queue) != 15 {
		t.Errorf("%d requests of 1 MiB wait, want 15", len(n.queue))
	}
	observed(1<<10, authz.ReasonRouteUnmatched) // there is still room for a small one
	for range 16 {
		n.taken(<-n.queue)
	}
	if held := n.waiting.Load(); held != 0 {
		t.Errorf("%d bytes are held by nothing", held)
	}
	for range nextBacklog + 10 {
		observed(100, authz.ReasonRouteUnmatched)
	}
	for _, r := range []authz.Reason{authz.ReasonOverloaded, authz.ReasonSessionsUnavailable, authz.ReasonDirectoryUnavailable, authz.ReasonKeysUnavailable, authz.ReasonInternal} {
		observed(100, r)
	}
	if got := testutil.ToFloat64(counts.Skipped); len(n.queue) != nextBacklog || got != 5+10+4 {
		t.Errorf("%d wait and %v were skipped", len(n.queue), got)
	}
}

// keysThatHang answers only after the context has ended. keysThatPanic panics.
type (
	keysThatHang  struct{}
	keysThatPanic struct{}
)

func (keysThatHang) APIKey(ctx context.Context, _ authz.KeyHash) (authz.APIKey, error) {
	<-ctx.Done()
	return authz.APIKey{}, ctx.Err()
}

func (keysThatPanic) APIKey(context.Context, authz.KeyHash) (authz.APIKey, error) { panic("canary") }

// TestShadowPolicyEnds checks that a comparison ends at its deadline, and that a panic in a
// comparison does not end the server.
func TestShadowPolicyEnds(t *testing.T) {
	t.Parallel()
	routes, err := policy.Parse([]policy.File{{Name: "p", Data: []byte("version: 1\nroutes: [{id: key, match: /key, allow: [{api_key: {}}]}]\n")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	store := memory.New(nil)
	for _, keys := range []authz.APIKeys{keysThatHang{}, keysThatPanic{}} {
		engine, err := authz.NewEngine(authz.Config{Policy: routes, Tokens: new(token.Verifier), Sessions: store, Users: store, APIKeys: keys})
		if err != nil {
			t.Fatal(err)
		}
		var log authztest.Buffer
		n := &nextPolicy{engine: engine, deadline: time.Millisecond, counts: metrics.New(nil).Next, log: NewLogger(&log, config.Log{})}
		n.compare(t.Context(), envoy.Observation{Decision: authz.Deny(authz.ReasonRouteUnmatched), Request: authz.NewRequest(authz.Attributes{
			Method: "GET", Path: "/key", Headers: authz.Headers{{Name: "x-api-key", Value: "wk_test_0123456789"}},
		})})
		if panics := keys == (keysThatPanic{}); strings.Contains(log.String(), "canary") || strings.Contains(log.String(), "shadow policy") != panics {
			t.Errorf("%T: the log says %q", keys, log.String())
		}
	}
}
