package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/memory"
	"warder/cmd/warder/internal/clitest"
	"warder/envoy"
	"warder/policy"
)

// A scrape is what /metrics shows: the value of each series, and for a histogram the
// number of observations, by name{label="value",…} with the labels sorted.
type scrape struct {
	text   string
	series map[string]float64
	help   map[string]string
}

// scrape asks a running server as Prometheus does, and reads the answer as it does.
func (r *running) scrape() scrape {
	r.t.Helper()
	response, err := http.Get("http://" + r.Admin.String() + "/metrics")
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		r.t.Fatalf("/metrics: %d, %v: %s", response.StatusCode, err, body)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(body)))
	if err != nil {
		r.t.Fatalf("/metrics cannot be read: %v", err)
	}
	return scraped(string(body), slices.Collect(maps.Values(families)))
}

func scraped(text string, families []*dto.MetricFamily) scrape {
	s := scrape{text, map[string]float64{}, map[string]string{}}
	for _, f := range families {
		s.help[f.GetName()] = f.GetHelp()
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			slices.Sort(labels)
			value := m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			s.series[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = value
		}
	}
	return s
}

// of returns the series of one name that are not zero, a line each, sorted.
func (s scrape) of(name string) string {
	var lines []string
	for series, value := range s.series {
		if strings.HasPrefix(series, name+"{") && value != 0 {
			lines = append(lines, fmt.Sprintf("%s %v", strings.TrimPrefix(series, name), value))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// contractMetrics are the names that dashboards and alerts may rely on.
var contractMetrics = []string{
	"warder_decisions_total", "warder_decision_duration_seconds", "warder_store_requests_total", "warder_store_duration_seconds",
	"warder_cache_requests_total", "warder_log_lines_dropped_total", "warder_policy_last_reload_successful", "warder_policy_last_reload_timestamp_seconds", "warder_policy_info",
	"grpc_server_started_total", "grpc_server_handled_total", "go_goroutines", "process_cpu_seconds_total",
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	const user, session, apiKey = "c4n4ry-user", "c4n4ry-session", "wk_c4n4ry_key_0001"
	store := memory.New(nil)
	store.PutUser(user, authz.User{Active: true})
	store.PutSession(user, session, 0)
	token := authztest.Mint(t, authztest.Token{Secret: []byte(clitest.Secret), Claims: map[string]any{
		"sub": user, "jti": session, "exp": time.Now().Add(time.Hour).Unix(),
	}})
	s := testSettings(t)
	s.Policy = clitest.WriteFile(t, t.TempDir(), "policy.yaml", testPolicy+"  - {id: keys, match: \"/keys/**\", allow: [{api_key: {}}]}\n")
	r := start(t, s, memoryStores(store))
	conn := r.dial(insecure.NewCredentials())
	for _, c := range []struct {
		want    codes.Code
		path    string
		headers map[string]string
	}{
		{codes.OK, "/public", nil},
		{codes.OK, "/public?c4n4ry-query=1", nil},
		{codes.PermissionDenied, "/c4n4ry-path", nil},
		{codes.InvalidArgument, "/c4n4ry-path//", nil},
		{codes.Unauthenticated, "/user", nil},
		{codes.OK, "/user", bearer(token)},
		{codes.OK, "/user", bearer(token)},
		{codes.Unauthenticated, "/user", bearer(token + "c4n4ry")},
		{codes.Unauthenticated, "/keys/c4n4ry", map[string]string{"x-api-key": apiKey}},
	} {
		headers := map[string]string{}
		for name, value := range c.headers {
			headers[strings.ToLower(name)] = value
		}
		if got, err := r.check(conn, c.path, headers); got != c.want || err != nil {
			t.Fatalf("%s: %v, %v; want %v", c.path, got, err, c.want)
		}
	}
	// A method that is not served is the client's word.
	if err := conn.Invoke(t.Context(), "/c4n4ry.Service/C4n4ry", &dto.Metric{}, &dto.Metric{}); err == nil {
		t.Fatal("an unknown method was answered")
	}

	got := r.scrape()
	for name, want := range map[string]string{
		"warder_decisions_total": `{decision="allow",reason="public",route="public"} 2
{decision="allow",reason="session",route="user"} 2
{decision="deny",reason="api_key_unknown",route="keys"} 1
{decision="deny",reason="credentials_missing",route="user"} 1
{decision="deny",reason="path_ambiguous",route=""} 1
{decision="deny",reason="route_unmatched",route=""} 1
{decision="deny",reason="token_malformed",route="user"} 1`,
		"warder_decision_duration_seconds": `{} 9`,
		"warder_store_requests_total": `{result="not_found",store="api_keys"} 1
{result="ok",store="sessions"} 2
{result="ok",store="users"} 2`,
		"warder_store_duration_seconds": `{store="api_keys"} 1
{store="sessions"} 2
{store="users"} 2`,
		"warder_cache_requests_total": `{cache="tokens",result="hit"} 1
{cache="tokens",result="miss"} 2`,
		"warder_policy_last_reload_successful": `{} 1`,
		"grpc_server_started_total":            `{grpc_method="Check",grpc_service="envoy.service.auth.v3.Authorization",grpc_type="unary"} 9`,
		"grpc_server_handled_total":            `{grpc_code="OK",grpc_method="Check",grpc_service="envoy.service.auth.v3.Authorization",grpc_type="unary"} 9`,
	} {
		if got.of(name) != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got.of(name), want)
		}
	}
	for _, name := range contractMetrics {
		if got.help[name] == "" {
			t.Errorf("%s is missing, or has no HELP", name)
		}
	}
	if !strings.Contains(got.text, `warder_decision_duration_seconds_bucket{le="2.5e-05"}`) {
		t.Error("the first bucket is not 25µs")
	}
	for _, secret := range []string{"c4n4ry", apiKey, token, clitest.Secret, s.Policy} {
		if i := strings.Index(got.text, secret); i >= 0 {
			t.Errorf("what a client sent, or a secret, is in a metric: %s", got.text[max(0, i-100):i+20])
		}
	}
}

// TestMetricsAreWellMade holds names, units and texts against Prometheus' own rules.
func TestMetricsAreWellMade(t *testing.T) {
	t.Parallel()
	m := newMetrics()
	m.countCaches(countedCache{"users", func() authz.CacheCounts { return authz.CacheCounts{} }})
	m.registry.MustRegister(newPolicyStatus("0123", time.Now()))
	m.decisions.WithLabelValues("a", "deny", "internal").Inc()
	m.dropped.WithLabelValues(linesOfAccess).Inc()
	m.calls.started.WithLabelValues("unary", "s", "m").Inc()
	m.calls.handled.WithLabelValues("unary", "s", "m", "OK").Inc()
	problems, err := testutil.GatherAndLint(m.registry, slices.DeleteFunc(slices.Clone(contractMetrics), func(name string) bool {
		return strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_")
	})...)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestStoreResult(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want string
		err  error
	}{
		{"ok", nil},
		{"not_found", authz.ErrNotFound},
		{"not_found", fmt.Errorf("users: %w", authz.ErrNotFound)},
		{"overloaded", fmt.Errorf("no: %w", authz.ErrOverloaded)},
		{"cancelled", fmt.Errorf("no: %w", context.Canceled)},
		{"unavailable", context.DeadlineExceeded},
		{"unavailable", errors.New("connection refused")},
	} {
		if got := storeResults[storeResult(c.err)]; got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

// Counters of routes that are gone stay, but not those of all ids that there ever were.
func TestGoneRoutesAreBounded(t *testing.T) {
	t.Parallel()
	m := newMetrics()
	current, err := policy.Parse([]policy.File{{Name: "p.yaml", Data: []byte(policyWith("stays", "back"))}}, clitest.Environment())
	if err != nil {
		t.Fatal(err)
	}
	count := func(id string) { m.decisions.WithLabelValues(id, "allow", "public").Inc() }
	count("stays")
	count("back")
	m.routesGone([]string{"back"}, current) // and it is there again
	for i := range maxGoneRoutes + 5 {
		id := fmt.Sprintf("gone-%d", i)
		count(id)
		m.routesGone([]string{id}, current)
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	left := strings.Split(scraped("", families).of("warder_decisions_total"), "\n")
	if len(left) != maxGoneRoutes+2 {
		t.Errorf("%d routes have counters, want the %d current ones and %d", len(left), 2, maxGoneRoutes)
	}
	for id, want := range map[string]bool{"stays": true, "back": true, "gone-0": false, "gone-4": false, "gone-5": true, "gone-1004": true} {
		if got := slices.ContainsFunc(left, func(l string) bool { return strings.Contains(l, `route="`+id+`"`) }); got != want {
			t.Errorf("%s has counters: %v, want %v", id, got, want)
		}
	}
}

// What a check pays for metrics: no garbage.
func TestMetricsAllocateNothing(t *testing.T) {
	m := newMetrics()
	m.decisions.WithLabelValues("", "deny", "internal").Inc()
	all := observers{m}
	o := envoy.Observation{Decision: authz.Deny(authz.ReasonInternal), Duration: time.Millisecond}
	if got := testing.AllocsPerRun(100, func() { all.Observed(t.Context(), o) }); got != 0 {
		t.Errorf("%v allocations, want none", got)
	}
}

// TestCallMetrics: calls are counted by type and status, a check without garbage.
func TestCallMetrics(t *testing.T) {
	m := newCallMetrics()
	check := &grpc.UnaryServerInfo{FullMethod: "/s.Authorization/Check"}
	answers := func(err error) grpc.UnaryHandler {
		return func(context.Context, any) (any, error) { return "out", err }
	}
	for _, err := range []error{nil, nil, status.Error(codes.Unavailable, "no"), errors.New("no status")} {
		if out, got := m.unary(t.Context(), nil, check, answers(err)); out != "out" || !errors.Is(got, err) {
			t.Errorf("an answer became %v, %v", out, got)
		}
	}
	for _, info := range []*grpc.StreamServerInfo{
		{FullMethod: "/s.Log/Stream", IsClientStream: true},
		{FullMethod: "/s.Health/Watch", IsServerStream: true},
		{FullMethod: "/s.Both/Ways", IsClientStream: true, IsServerStream: true},
	} {
		err := m.stream(nil, nil, info, func(any, grpc.ServerStream) error { return context.Canceled })
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m.started, m.handled)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := scraped("", families)
	if want := `{grpc_method="Check",grpc_service="s.Authorization",grpc_type="unary"} 4
{grpc_method="Stream",grpc_service="s.Log",grpc_type="client_stream"} 1
{grpc_method="Watch",grpc_service="s.Health",grpc_type="server_stream"} 1
{grpc_method="Ways",grpc_service="s.Both",grpc_type="bidi_stream"} 1`; got.of("grpc_server_started_total") != want {
		t.Errorf("started:\n%s\nwant\n%s", got.of("grpc_server_started_total"), want)
	}
	if want := `{grpc_code="Canceled",grpc_method="Stream",grpc_service="s.Log",grpc_type="client_stream"} 1
{grpc_code="Canceled",grpc_method="Watch",grpc_service="s.Health",grpc_type="server_stream"} 1
{grpc_code="Canceled",grpc_method="Ways",grpc_service="s.Both",grpc_type="bidi_stream"} 1
{grpc_code="OK",grpc_method="Check",grpc_service="s.Authorization",grpc_type="unary"} 2
{grpc_code="Unavailable",grpc_method="Check",grpc_service="s.Authorization",grpc_type="unary"} 1
{grpc_code="Unknown",grpc_method="Check",grpc_service="s.Authorization",grpc_type="unary"} 1`; got.of("grpc_server_handled_total") != want {
		t.Errorf("handled:\n%s\nwant\n%s", got.of("grpc_server_handled_total"), want)
	}
	next := answers(nil)
	if n := testing.AllocsPerRun(100, func() { _, _ = m.unary(t.Context(), nil, check, next) }); n != 0 {
		t.Errorf("%v allocations for a check, want none", n)
	}
}

// TestReadmeMetrics: README names every metric of the contract, and its alerts no other.
func TestReadmeMetrics(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(module, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	shadow := []string{"warder_shadow_enabled", "warder_shadow_routes", "warder_shadow_policy_requests_total", "warder_shadow_policy_differences_total"}
	for _, name := range slices.Concat(contractMetrics, shadow) {
		if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") && !strings.Contains(string(text), "| `"+name) && !strings.Contains(string(text), ", `"+name) {
			t.Errorf("the table of README has no row for %s", name)
		}
	}
	_, rules, _ := strings.Cut(string(text), "```yaml\ngroups:\n")
	rules, _, _ = strings.Cut(rules, "```")
	named := regexp.MustCompile(`warder_[a-z_]+`).FindAllString(rules, -1)
	if len(named) < 4 || strings.Count(rules, "- alert:") != 3 {
		t.Errorf("README has no alert rules: %q", rules)
	}
	for _, name := range named {
		if !slices.Contains(contractMetrics, name) {
			t.Errorf("an alert of README names %s, which is none", name)
		}
	}
	reasons := regexp.MustCompile(`reason=~"([a-z_|]+)"`).FindStringSubmatch(rules)
	for word := range strings.SplitSeq(reasons[1], "|") {
		if !slices.ContainsFunc(authz.Reasons(), func(r authz.Reason) bool { return r.String() == word }) {
			t.Errorf("an alert of README names the reason %s, which is none", word)
		}
	}
}
