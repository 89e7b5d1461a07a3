package envoy

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"warder/authz"
)

// traced makes Envoy trace every request, which copies header fields of the client into the
// metadata of the check. The spans are sent to warder, which does not serve them.
func traced(provider string) func(*tree) {
	config := map[string]any{
		"@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig", "service_name": "web",
		"grpc_service": map[string]any{"envoy_grpc": map[string]any{"cluster_name": "warder"}},
	}
	if provider == "zipkin" {
		config = map[string]any{
			"@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig", "collector_cluster": "warder",
			"collector_endpoint": "/spans", "collector_endpoint_version": "HTTP_JSON",
		}
	}
	return func(t *tree) {
		const manager = "static_resources/listeners/0/filter_chains/0/filters/0/typed_config/"
		t.set(manager+"tracing", map[string]any{
			"random_sampling": map[string]any{"value": 100},
			"provider":        map[string]any{"name": "envoy.tracers." + provider, "typed_config": config},
		})
		t.set(manager+"max_request_headers_kb", 8192)
	}
}

// TestEnvoyTracing tests an Envoy that traces, and that lets a request through if its check
// gets no answer. It must let nothing through, whatever header fields of the client its tracer
// copies.
func TestEnvoyTracing(t *testing.T) {
	t.Parallel()
	const parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, provider := range []string{"opentelemetry", "zipkin"} {
		t.Run(provider, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, Config{MaxHeaderKB: 8192}, func(o *ConfigOptions) { o.FailureModeAllow = true }, traced(provider))
			for _, c := range []struct {
				status int
				name   string
				lines  []string
			}{
				{401, "no trace", nil},
				{401, "a trace", []string{parent, "tracestate: a=b"}},
				{401, "a tracestate of 20 KB", []string{parent, "tracestate: a=" + strings.Repeat("b", 20<<10)}},
				{401, "baggage of 50 KB", []string{parent, "baggage: a=" + strings.Repeat("b", 50<<10)}},
				{401, "a tracestate of 800 KB", []string{parent, "tracestate: a=" + strings.Repeat("b", 800<<10)}},
				{400, "a tracestate of 3 MB", []string{parent, "tracestate: a=" + strings.Repeat("b", 3<<20)}},
				{401, "a b3 of 50 KB", []string{"b3: " + strings.Repeat("b", 50<<10)}},
				{401, "the fields of b3", []string{"x-b3-traceid: 463ac35c9f6413ad48485a3953bb6124", "x-b3-spanid: a2fb4a1d1a96d312", "x-b3-sampled: 1", "x-b3-flags: " + strings.Repeat("1", 30<<10)}},
				{401, "a trace that is none", []string{"traceparent: \xff\xfe", "tracestate: \xff=\xff", "grpc-trace-bin: %%%"}},
				{401, "fields of gRPC", []string{"grpc-timeout: 0n", "grpc-encoding: gzip", "content-encoding: gzip", "te: gzip"}},
			} {
				response, body := b.send(t, "GET", "/users/x", c.lines...)
				if response.StatusCode != c.status {
					t.Errorf("%s: %d %s, want %d", c.name, response.StatusCode, body, c.status)
				}
			}
			if _, hits := b.seen(); hits > 0 {
				t.Errorf("%d requests reached the upstream", hits)
			}
		})
	}

	// This shows what happens if gRPC itself sees the metadata, so that the rows above are
	// meaningful.
	t.Run("stock gRPC", func(t *testing.T) {
		t.Parallel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s, all := newTestServer(t, Config{}), newCalls(1<<30, time.Now)
		g := grpc.NewServer(grpc.UnaryInterceptor(s.Guard), grpc.ForceServerCodecV2(newCheckCodec(all)), grpc.MaxHeaderListSize(16<<10))
		g.RegisterService(authorization(s), s)
		go func() { _ = g.Serve(l) }()
		t.Cleanup(g.Stop)
		b := newBench(t, Config{Decider: denying(authz.ReasonInternal)}, func(o *ConfigOptions) { o.FailureModeAllow, o.Warder = true, l.Addr().String() }, traced("opentelemetry"))
		response, _ := b.send(t, "GET", "/users/x", parent, "tracestate: a="+strings.Repeat("b", 20<<10))
		if _, hits := b.seen(); fmt.Sprint(response.StatusCode, hits) != "200 1" {
			t.Errorf("%d with %d hits; the tracer copies nothing", response.StatusCode, hits)
		}
	})
}
