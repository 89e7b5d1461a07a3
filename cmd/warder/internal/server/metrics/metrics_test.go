package metrics

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"warder/authz"
	"warder/cmd/warder/internal/clitest"
	"warder/envoy"
	"warder/policy"
)

// TestMetricsAreWellMade checks names, units and help texts against the rules of Prometheus.
func TestMetricsAreWellMade(t *testing.T) {
	t.Parallel()
	m := New(nil)
	m.CountCaches(Cache{"users", func() authz.CacheCounts { return authz.CacheCounts{} }})
	m.decisions.WithLabelValues("a", "deny", "internal").Inc()
	m.Dropped.WithLabelValues("access").Inc()
	m.calls.started.WithLabelValues("unary", "s", "m").Inc()
	m.calls.handled.WithLabelValues("unary", "s", "m", "OK").Inc()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var own []string
	for _, f := range families {
		if name := f.GetName(); !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			own = append(own, name)
		}
	}
	problems, err := testutil.GatherAndLint(m.registry, own...)
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

// TestGoneRoutesAreBounded checks that removed routes keep their counters, but only a bounded
// number of them.
func TestGoneRoutesAreBounded(t *testing.T) {
	t.Parallel()
	m := New(nil)
	current, err := policy.Parse([]policy.File{{Name: "p.yaml", Data: []byte(clitest.PolicyWith("stays", "back"))}}, clitest.Environment())
	if err != nil {
		t.Fatal(err)
	}
	count := func(id string) { m.decisions.WithLabelValues(id, "allow", "public").Inc() }
	count("stays")
	count("back")
	m.RoutesGone([]string{"back"}, current) // and then the route is added again
	for i := range maxGoneRoutes + 5 {
		id := fmt.Sprintf("gone-%d", i)
		count(id)
		m.RoutesGone([]string{id}, current)
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	left := strings.Split(clitest.Scraped("", families).Of("warder_decisions_total"), "\n")
	if len(left) != maxGoneRoutes+2 {
		t.Errorf("%d routes have counters, want the %d current ones and %d", len(left), 2, maxGoneRoutes)
	}
	for id, want := range map[string]bool{"stays": true, "back": true, "gone-0": false, "gone-4": false, "gone-5": true, "gone-1004": true} {
		if got := slices.ContainsFunc(left, func(l string) bool { return strings.Contains(l, `route="`+id+`"`) }); got != want {
			t.Errorf("%s has counters: %v, want %v", id, got, want)
		}
	}
}

// TestMetricsAllocateNothing checks that metrics do not allocate during a check.
func TestMetricsAllocateNothing(t *testing.T) {
	m := New(nil)
	m.decisions.WithLabelValues("", "deny", "internal").Inc()
	all := Observers{m}
	o := envoy.Observation{Decision: authz.Deny(authz.ReasonInternal), Duration: time.Millisecond}
	if got := testing.AllocsPerRun(100, func() { all.Observed(t.Context(), o) }); got != 0 {
		t.Errorf("%v allocations, want none", got)
	}
}

// TestCallMetrics checks that calls are counted by type and status, and that counting a check
// does not allocate.
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
	got := clitest.Scraped("", families)
	if want := `{grpc_method="Check",grpc_service="s.Authorization",grpc_type="unary"} 4
{grpc_method="Stream",grpc_service="s.Log",grpc_type="client_stream"} 1
{grpc_method="Watch",grpc_service="s.Health",grpc_type="server_stream"} 1
{grpc_method="Ways",grpc_service="s.Both",grpc_type="bidi_stream"} 1`; got.Of("grpc_server_started_total") != want {
		t.Errorf("started:\n%s\nwant\n%s", got.Of("grpc_server_started_total"), want)
	}
	if want := `{grpc_code="Canceled",grpc_method="Stream",grpc_service="s.Log",grpc_type="client_stream"} 1
{grpc_code="Canceled",grpc_method="Watch",grpc_service="s.Health",grpc_type="server_stream"} 1
{grpc_code="Canceled",grpc_method="Ways",grpc_service="s.Both",grpc_type="bidi_stream"} 1
{grpc_code="OK",grpc_method="Check",grpc_service="s.Authorization",grpc_type="unary"} 2
{grpc_code="Unavailable",grpc_method="Check",grpc_service="s.Authorization",grpc_type="unary"} 1
{grpc_code="Unknown",grpc_method="Check",grpc_service="s.Authorization",grpc_type="unary"} 1`; got.Of("grpc_server_handled_total") != want {
		t.Errorf("handled:\n%s\nwant\n%s", got.Of("grpc_server_handled_total"), want)
	}
	next := answers(nil)
	if n := testing.AllocsPerRun(100, func() { _, _ = m.unary(t.Context(), nil, check, next) }); n != 0 {
		t.Errorf("%v allocations for a check, want none", n)
	}
}

// TestShadowPolicyGoneRoutes checks that the counters of routes of earlier next policies are
// removed eventually.
func TestShadowPolicyGoneRoutes(t *testing.T) {
	t.Parallel()
	counts := newNextMetrics()
	current, err := policy.Parse([]policy.File{{Name: "p", Data: []byte(clitest.PolicyWith("a"))}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxGoneRoutes + 5 {
		id := fmt.Sprintf("route-%d", i)
		counts.differences.WithLabelValues("a", "allow", "public", id, "allow", "public").Inc()
		counts.RoutesGone([]string{id}, current)
	}
	if n := testutil.CollectAndCount(counts.differences); n != maxGoneRoutes {
		t.Errorf("%d routes have counters, want %d", n, maxGoneRoutes)
	}
}
