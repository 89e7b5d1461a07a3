package server

import (
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/memory"
	"warder/cmd/warder/internal/clitest"
)

// scrape asks a running server as Prometheus does, and reads the answer as it does.
func (r *running) scrape() clitest.Scrape {
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
	return clitest.ScrapeOf(r.t, string(body))
}

// contractMetrics are the names that dashboards and alerts may rely on.
var contractMetrics = []string{
	"warder_decisions_total", "warder_decision_duration_seconds", "warder_store_requests_total", "warder_store_duration_seconds", "warder_store_available",
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
	r := start(t, s, MemoryStores(store))
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
		{codes.OK, "/user", map[string]string{"authorization": "Bearer " + token}},
		{codes.OK, "/user", map[string]string{"authorization": "Bearer " + token}},
		{codes.Unauthenticated, "/user", map[string]string{"authorization": "Bearer " + token + "c4n4ry"}},
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
	// The name of a method that is not served is chosen by the client.
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
		if got.Of(name) != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got.Of(name), want)
		}
	}
	for _, name := range contractMetrics {
		if name == "warder_store_available" {
			continue // stores in memory are always there; TestOutage reads it
		}
		if got.Help[name] == "" {
			t.Errorf("%s is missing, or has no HELP", name)
		}
	}
	if !strings.Contains(got.Text, `warder_decision_duration_seconds_bucket{le="2.5e-05"}`) {
		t.Error("the first bucket is not 25µs")
	}
	for _, secret := range []string{"c4n4ry", apiKey, token, clitest.Secret, s.Policy} {
		if i := strings.Index(got.Text, secret); i >= 0 {
			t.Errorf("what a client sent, or a secret, is in a metric: %s", got.Text[max(0, i-100):i+20])
		}
	}
}

// TestPolicyStatusIsWellMade checks the metrics of the reload against the rules of Prometheus.
func TestPolicyStatusIsWellMade(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newPolicyStatus("0123", time.Now()))
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestDocumentedMetrics checks that the documentation table lists exactly the registered
// metrics.
func TestDocumentedMetrics(t *testing.T) {
	t.Parallel()
	text := clitest.PageAt(t, "cmd/warder/README.md").Text
	names := []string{"warder_secret_last_reload_successful", "warder_jwks_keys", "warder_jwks_last_refresh_successful", "warder_jwks_last_refresh_timestamp_seconds", "warder_jwks_refreshes_total", "warder_shadow_enabled", "warder_shadow_routes", "warder_shadow_policy_requests_total", "warder_shadow_policy_differences_total"}
	for name := range start(t, testSettings(t), MemoryStores(memory.New(nil))).scrape().Help {
		names = append(names, name)
	}
	names = slices.DeleteFunc(append(names, contractMetrics...), func(name string) bool {
		return strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_")
	})
	slices.Sort(names)
	names = slices.Compact(names)
	var rows []string
	for _, row := range regexp.MustCompile("(?m)^\\| `((?:warder|grpc)_[a-z_]+)` \\|").FindAllStringSubmatch(text, -1) {
		rows = append(rows, row[1])
	}
	slices.Sort(rows)
	if !slices.Equal(rows, names) {
		t.Errorf("the table of metrics has\n%s\nwant\n%s", strings.Join(rows, "\n"), strings.Join(names, "\n"))
	}
}

// TestDocumentedLabels checks that the documentation table has exactly the labels of each metric
// of a server, and each value that it has. The tests of k8s/monitoring rely on the table.
func TestDocumentedLabels(t *testing.T) {
	t.Parallel()
	s := testSettings(t)
	store := memory.New(nil)
	r := start(t, s, MemoryStores(store))
	conn := r.dial(insecure.NewCredentials())
	for _, path := range []string{"/public", "/user", "/nowhere"} {
		if _, err := r.check(conn, path, nil); err != nil {
			t.Fatal(err)
		}
	}
	text := clitest.PageAt(t, "cmd/warder/README.md").Text
	word := regexp.MustCompile("`([^`]+)`")
	compared := map[string]bool{}
	for series := range r.scrape().Series {
		name, rest, _ := strings.Cut(series, "{")
		row := regexp.MustCompile("(?m)^\\| `" + name + "` \\| *(.*?) *\\| ").FindStringSubmatch(text)
		if row == nil {
			continue // TestDocumentedMetrics
		}
		cell := strings.Replace(row[1], "the same", "`grpc_type`, `grpc_service`, `grpc_method`", 1)
		// A label may be followed by its values: "`store`: `sessions`, `users`; `result`: …".
		values := map[string][]string{}
		for part := range strings.SplitSeq(regexp.MustCompile(`\([^)]*\)`).ReplaceAllString(cell, ""), ";") {
			names, listed, _ := strings.Cut(part, ":")
			for _, label := range word.FindAllStringSubmatch(names, -1) {
				values[label[1]] = nil
				for _, value := range word.FindAllStringSubmatch(listed, -1) {
					values[label[1]] = append(values[label[1]], value[1])
				}
			}
		}
		for _, label := range regexp.MustCompile(`(\w+)="([^"]*)"`).FindAllStringSubmatch(rest, -1) {
			listed, ok := values[label[1]]
			if !ok || len(listed) > 0 && !slices.Contains(listed, label[2]) {
				t.Errorf("%s: the table has not %s", series, label[0])
			}
			delete(values, label[1])
		}
		for label := range values {
			t.Errorf("%s has no label %s, and the table has it", series, label)
		}
		compared[name] = true
	}
	if len(compared) < 9 {
		t.Errorf("only %d metrics compared: %v", len(compared), compared)
	}
}
