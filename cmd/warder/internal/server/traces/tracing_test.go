package traces

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"warder/authz"
	"warder/cmd/warder/internal/clitest"
	"warder/envoy"
)

// canary is in everything that a client or a store may say.
const canary = "c4n4ry"

var sampledParent = envoy.TraceParent{TraceID: [16]byte{1}, SpanID: [8]byte{2}, Flags: 1}

func unsampledParent() envoy.TraceParent {
	p := sampledParent
	p.Flags = 0
	return p
}

// recorded returns a Tracing whose spans are kept.
func recorded(t testing.TB, words ...string) (*Tracing, *tracetest.SpanRecorder) {
	t.Helper()
	s, err := Read(clitest.Environment(append(words, endpoint)...))
	if err != nil {
		t.Fatal(err)
	}
	spans := tracetest.NewSpanRecorder()
	traces := newTracing(s, clitest.Discard(), sdktrace.WithSpanProcessor(spans))
	t.Cleanup(traces.Close)
	return traces, spans
}

// show renders a span: its name, kind, status and attributes.
func show(s sdktrace.ReadOnlySpan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", s.Name(), s.SpanKind(), s.Status().Code)
	for _, a := range s.Attributes() {
		fmt.Fprintf(&b, " %s=%s", a.Key, a.Value.String())
	}
	fmt.Fprint(&b, s.Status().Description, len(s.Events()))
	return b.String()
}

// stores answer each question with err.
type stores struct{ err error }

func (s stores) Alive(context.Context, authz.Session) (bool, error) { return false, s.err }
func (s stores) User(context.Context, string) (authz.User, error)   { return authz.User{}, s.err }
func (s stores) APIKey(context.Context, authz.KeyHash) (authz.APIKey, error) {
	return authz.APIKey{}, s.err
}

func observation(reason authz.Reason) envoy.Observation {
	headers := authz.Headers{{Name: "authorization", Value: "Bearer " + canary}, {Name: "traceparent", Value: canary}}
	return envoy.Observation{
		Request: authz.NewRequest(authz.Attributes{Method: "GET", Path: "/" + canary + "?q=" + canary, Host: canary, Headers: headers}),
		Method:  "GET", Path: "/" + canary, ID: canary, Decision: authz.Deny(reason), Duration: time.Millisecond,
	}
}

// TestSpans tests the spans of a check and of its questions, and that they hold no text of the
// request, of the questions or of the errors.
func TestSpans(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		err            error
		result, status string
	}{
		{nil, "ok", "Unset"},
		{fmt.Errorf("%s: %w", canary, authz.ErrNotFound), "not_found", "Unset"},
		{fmt.Errorf("%s: %w", canary, authz.ErrOverloaded), "overloaded", "Error"},
		{fmt.Errorf("%s: %w", canary, context.Canceled), "cancelled", "Error"},
		{errors.New(canary), "unavailable", "Error"},
	} {
		traces, spans := recorded(t)
		store := stores{row.err}
		ctx := traces.Begin(t.Context(), time.Unix(1000, 0), sampledParent)
		_, _ = traces.Sessions(store, Redis).Alive(ctx, authz.Session{UserID: canary, ID: canary})
		_, _ = traces.Users(store, Postgres).User(ctx, canary)
		_, _ = traces.APIKeys(store, InMemory).APIKey(ctx, authz.HashAPIKey(canary))
		traces.Observed(ctx, observation(authz.ReasonTokenExpired))
		ended := spans.Ended()
		if len(ended) != 4 {
			t.Fatalf("%d spans", len(ended))
		}
		check := ended[3]
		if p := check.Parent(); p.TraceID() != sampledParent.TraceID || p.SpanID() != sampledParent.SpanID || !p.IsRemote() || !check.StartTime().Equal(time.Unix(1000, 0)) {
			t.Errorf("the check has the parent %v", p)
		}
		for _, s := range ended {
			if text := show(s); strings.Contains(text, canary) {
				t.Errorf("the text of a client or a store is in %s", text)
			}
			if s != check && s.Parent().SpanID() != check.SpanContext().SpanID() {
				t.Errorf("%s is not within the check", s.Name())
			}
		}
		suffix := " warder.store.result=" + row.result
		if row.status == "Error" {
			suffix += " error.type=" + row.result
		}
		sessions := suffix
		if row.err == nil {
			sessions = " warder.store.result=not_found" // the session is not alive
		}
		for i, want := range []string{
			"warder.sessions client " + row.status + " warder.store=sessions db.system.name=redis" + sessions + "0",
			"warder.users client " + row.status + " warder.store=users db.system.name=postgresql" + suffix + "0",
			"warder.api_keys internal " + row.status + " warder.store=api_keys" + suffix + "0",
			"envoy.service.auth.v3.Authorization/Check server Unset rpc.system.name=grpc rpc.method=envoy.service.auth.v3.Authorization/Check" +
				" http.request.method=GET warder.decision=deny warder.reason=token_expired0",
		} {
			if got := show(ended[i]); got != want {
				t.Errorf("%v:\n got %s\nwant %s", row.err, got, want)
			}
		}
	}
}

// TestReasons tests that a span is an error exactly if warder could not decide.
func TestReasons(t *testing.T) {
	t.Parallel()
	for _, reason := range authz.Reasons() {
		if reason.Allows() {
			continue // a denial cannot have it
		}
		traces, spans := recorded(t)
		o := observation(reason)
		o.Method = canary
		traces.Observed(traces.Begin(t.Context(), time.Now(), sampledParent), o)
		got := show(spans.Ended()[0])
		failed := reason == authz.ReasonInternal || strings.HasSuffix(reason.String(), "_unavailable") || reason == authz.ReasonOverloaded
		if strings.Contains(got, " Error ") != failed || strings.Contains(got, "error.type="+reason.String()) != failed ||
			strings.Contains(got, canary) || !strings.Contains(got, "http.request.method=_OTHER") {
			t.Errorf("%v: %s", reason, got)
		}
	}
}

// TestSampling tests which checks are recorded.
func TestSampling(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		spans   int
		sampler string
		parent  envoy.TraceParent
	}{
		{0, "", envoy.TraceParent{}},
		{0, "", unsampledParent()},
		{2, "", sampledParent},
		{2, "parentbased_always_on", envoy.TraceParent{}},
		{0, "parentbased_always_on", unsampledParent()},
		{0, "always_off", sampledParent},
		{2, "always_on", unsampledParent()},
	} {
		traces, spans := recorded(t, "OTEL_TRACES_SAMPLER="+row.sampler)
		ctx := traces.Begin(t.Context(), time.Now(), row.parent)
		_, _ = traces.Users(stores{}, Postgres).User(ctx, "1")
		traces.Observed(ctx, observation(authz.ReasonPublic))
		if got := len(spans.Ended()); got != row.spans {
			t.Errorf("%q with %v: %d spans, want %d", row.sampler, row.parent, got, row.spans)
		}
	}
	// A question outside a check, such as one of the policy to come, has no span.
	traces, spans := recorded(t, "OTEL_TRACES_SAMPLER=always_on")
	_, _ = traces.Users(stores{}, Postgres).User(t.Context(), "1")
	if got := len(spans.Ended()); got != 0 {
		t.Errorf("%d spans outside a check", got)
	}
	// Nothing is continued with OTEL_PROPAGATORS=none.
	traces, spans = recorded(t, "OTEL_PROPAGATORS=none", "OTEL_TRACES_SAMPLER=always_on")
	traces.Observed(traces.Begin(t.Context(), time.Now(), sampledParent), observation(authz.ReasonPublic))
	if p := spans.Ended()[0].Parent(); p.IsValid() {
		t.Errorf("the parent is %v", p)
	}
}

// unsampled makes the calls of a check that is not recorded.
func unsampled(ctx context.Context, traces *Tracing, users authz.Users, parent envoy.TraceParent, o envoy.Observation) {
	ctx = traces.Begin(ctx, time.Time{}, parent)
	_, _ = users.User(ctx, "1")
	traces.Observed(ctx, o)
}

// TestAllocations bounds the cost of a check that is not recorded. A question to a store within
// it costs nothing.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	for _, row := range []struct {
		budget        float64
		sampler, name string
		parent        envoy.TraceParent
	}{
		{0, "", "no parent", envoy.TraceParent{}},
		{0, "", "an unsampled parent", unsampledParent()},
		{0, "parentbased_traceidratio", "an unsampled parent", unsampledParent()},
		{7, "parentbased_traceidratio", "no parent", envoy.TraceParent{}},
		{7, "traceidratio", "no parent", envoy.TraceParent{}},
		{9, "traceidratio", "a parent", sampledParent},
	} {
		traces, _ := recorded(t, "OTEL_TRACES_SAMPLER="+row.sampler, "OTEL_TRACES_SAMPLER_ARG=0")
		users, o := traces.Users(stores{}, Postgres), observation(authz.ReasonPublic)
		got := testing.AllocsPerRun(200, func() { unsampled(t.Context(), traces, users, row.parent, o) })
		if t.Logf("%q, %s: %v allocations", row.sampler, row.name, got); got > row.budget {
			t.Errorf("%q, %s: %v allocations, at most %v wanted", row.sampler, row.name, got, row.budget)
		}
		ctx := traces.Begin(t.Context(), time.Time{}, row.parent)
		if got := testing.AllocsPerRun(200, func() { _, _ = users.User(ctx, "1") }); got != 0 {
			t.Errorf("%q, %s: a question: %v allocations", row.sampler, row.name, got)
		}
	}
}

// BenchmarkUnsampled measures what traces add to a check that is not recorded: because its
// parent is not, and because the sampler says so.
func BenchmarkUnsampled(b *testing.B) {
	for name, parent := range map[string]envoy.TraceParent{"parent": unsampledParent(), "sampler": {}} {
		b.Run(name, func(b *testing.B) {
			traces, _ := recorded(b, "OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0")
			users, o := traces.Users(stores{}, Postgres), observation(authz.ReasonPublic)
			b.ReportAllocs()
			for b.Loop() {
				unsampled(b.Context(), traces, users, parent, o)
			}
			if trace.SpanFromContext(traces.Begin(b.Context(), time.Time{}, parent)).IsRecording() {
				b.Error("the check is recorded")
			}
		})
	}
}

// BenchmarkSampled measures what traces add to a check that is recorded, up to the queue of the
// exporter.
func BenchmarkSampled(b *testing.B) {
	s, err := Read(clitest.Environment(endpoint))
	if err != nil {
		b.Fatal(err)
	}
	traces := newTracing(s, clitest.Discard(), sdktrace.WithBatcher(tracetest.NewNoopExporter()))
	b.Cleanup(traces.Close)
	users, o := traces.Users(stores{}, Postgres), observation(authz.ReasonPublic)
	b.ReportAllocs()
	for b.Loop() {
		unsampled(b.Context(), traces, users, sampledParent, o)
	}
}

// A failing exporter fails with err.
type failing struct {
	sdktrace.SpanExporter
	err error
}

func (f *failing) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return f.err }

// TestReporter tests that failures of the collector are logged at most once a minute, with the
// number of lost spans and without what was sent to the collector.
func TestReporter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		f := &failing{err: errors.New("401 for c4n4ry-header: " + strings.Repeat("x", 10_000))}
		r := &reporter{SpanExporter: f, log: log, now: time.Now, secrets: []string{"c4n4ry-header", "x"}}
		export := func() string {
			out.Reset()
			if err := r.ExportSpans(t.Context(), make([]sdktrace.ReadOnlySpan, 2)); err != nil {
				t.Error(err)
			}
			return out.String()
		}
		first := export()
		if !strings.Contains(first, "traces were not exported") || !strings.Contains(first, "spans=2") || strings.Contains(first, "c4n4ry-header") || len(first) > 2*maxErrorText {
			t.Errorf("the first failure: %s", first)
		}
		for range 10 {
			if got := export(); got != "" {
				t.Errorf("another failure: %s", got)
			}
		}
		time.Sleep(quiet)
		if got := export(); !strings.Contains(got, "spans=22") {
			t.Errorf("a failure after a minute: %s", got)
		}
		f.err = nil
		if got := export(); !strings.Contains(got, "exported again") {
			t.Errorf("a success: %s", got)
		}
		if got := export(); got != "" {
			t.Errorf("another success: %s", got)
		}
	})
}
