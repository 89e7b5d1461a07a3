package envoy

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	grpcmetadata "google.golang.org/grpc/metadata"

	"warder/authz"
)

const (
	envoysTrace  = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	clientsTrace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
)

func (p TraceParent) text() string {
	if p == (TraceParent{}) {
		return ""
	}
	return fmt.Sprintf("00-%x-%x-%02x", p.TraceID, p.SpanID, p.Flags)
}

func TestParseTraceParent(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		envoysTrace:  envoysTrace,
		clientsTrace: clientsTrace,
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff":      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff",
		"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01":      envoysTrace,
		"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more": envoysTrace,
		"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more":  "",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more": "",
		"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01":      "",
		"":                               "",
		envoysTrace[:54]:                 "",
		" " + envoysTrace:                "",
		envoysTrace + " ":                "",
		envoysTrace + "," + clientsTrace: "",
		strings.ToUpper(envoysTrace):     "",
		strings.ReplaceAll(envoysTrace, "-", "_"):                    "",
		"00-00000000000000000000000000000000-b7ad6b7169203331-01":    "",
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01":    "",
		"00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01":    "",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333\xff-01": "",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x":    "",
		strings.Repeat("0", 600):                                     "",
	} {
		if got := parseTraceParent(text).text(); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestParseTraceParentAllocations(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { parseTraceParent(envoysTrace) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

type begunKey struct{}

// A begun is a Tracer, a Decider and an Observer that keeps the parent of each check, and
// whether the other two got the context that the tracer returned.
type begun struct {
	mu                sync.Mutex
	parents           []string
	decided, observed int
}

func (b *begun) Begin(ctx context.Context, began time.Time, parent TraceParent) context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.parents = append(b.parents, parent.text())
	return context.WithValue(ctx, begunKey{}, !began.IsZero())
}

func (b *begun) Decide(ctx context.Context, r *authz.Request) authz.Decision {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ctx.Value(begunKey{}) == true && ctx.Err() == nil {
		b.decided++
	}
	return authz.Deny(authz.ReasonRouteUnmatched)
}

func (b *begun) Observed(ctx context.Context, _ Observation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ctx.Value(begunKey{}) == true {
		b.observed++
	}
}

// TestTraceParent tests which trace a check continues. The metadata of a call comes from Envoy,
// and a client can choose some of it.
func TestTraceParent(t *testing.T) {
	t.Parallel()
	all := new(begun)
	_, conn := serve(t, newTestServer(t, Config{Decider: all, Observer: all, Tracer: all}))
	client := authv3.NewAuthorizationClient(conn)
	rows := []struct {
		want, name string
		metadata   []string
		headers    []authz.Header
	}{
		{"", "none", nil, nil},
		{envoysTrace, "Envoy's", []string{"traceparent", envoysTrace}, nil},
		{clientsTrace, "the request's", nil, []authz.Header{{Name: "traceparent", Value: clientsTrace}}},
		{envoysTrace, "both", []string{"traceparent", envoysTrace}, []authz.Header{{Name: "traceparent", Value: clientsTrace}}},
		{envoysTrace, "beside large metadata", []string{"tracestate", strings.Repeat("a", 800<<10), "traceparent", envoysTrace, "baggage", strings.Repeat("b", 50<<10)}, nil},
		{"", "two in the metadata", []string{"traceparent", envoysTrace, "traceparent", clientsTrace}, nil},
		{"", "two equal ones in the metadata", []string{"traceparent", envoysTrace, "traceparent", envoysTrace}, nil},
		{"", "two in the request", nil, []authz.Header{{Name: "traceparent", Value: envoysTrace + "," + clientsTrace}}},
		{clientsTrace, "an invalid one in the metadata", []string{"traceparent", "00-x"}, []authz.Header{{Name: "traceparent", Value: clientsTrace}}},
		{"", "a huge one", []string{"traceparent", "cc" + envoysTrace[2:] + strings.Repeat("-", 100<<10)}, nil},
		{"", "the next call has none", nil, nil},
	}
	for i, row := range rows {
		ctx := grpcmetadata.AppendToOutgoingContext(t.Context(), row.metadata...)
		out, err := client.Check(ctx, checkRequest("GET", "/x", row.headers...))
		if err != nil || !isDeny(out) {
			t.Fatalf("%s: %v %v", row.name, out, err)
		}
		all.mu.Lock()
		if len(all.parents) != i+1 || all.parents[i] != row.want || all.decided != i+1 || all.observed != i+1 {
			t.Errorf("%s: %d parents, last %q, want %q; %d decided and %d observed with the context", row.name, len(all.parents), all.parents[len(all.parents)-1], row.want, all.decided, all.observed)
		}
		all.mu.Unlock()
	}
}

type panicTracer struct{}

func (panicTracer) Begin(context.Context, time.Time, TraceParent) context.Context { panic("canary") }

// TestTracerPanics tests that a fault of the tracer does not change a decision.
func TestTracerPanics(t *testing.T) {
	t.Parallel()
	all := new(begun)
	s := newTestServer(t, Config{Decider: all, Tracer: panicTracer{}})
	in := new(CheckRequest)
	in.decode(marshal(t, checkRequest("GET", "/x")))
	if out := s.Check(t.Context(), in); out.about[1] != authz.ReasonRouteUnmatched.String() {
		t.Errorf("%+v", out)
	}
}
