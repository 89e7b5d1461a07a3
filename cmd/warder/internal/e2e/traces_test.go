package e2e

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"warder/authz/authztest"
)

// A collector receives traces by both protocols of OTLP, gRPC and HTTP.
type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	grpc  string // its host:port
	http  *httptest.Server
	leaks *leaks

	mu     sync.Mutex
	spans  []span
	tokens map[string]bool // the values of authorization that it received
	refuse bool            // by HTTP, it answers with an error that repeats them
}

// A span is one received span and the service that sent it.
type span struct {
	service string
	*tracepb.Span
}

func startCollector(t *testing.T, leaks *leaks) *collector {
	t.Helper()
	c := &collector{leaks: leaks, tokens: map[string]bool{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.grpc = l.Addr().String()
	g := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(g, c)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	c.http = httptest.NewServer(c)
	t.Cleanup(c.http.Close)
	return c
}

// Export implements the gRPC service.
func (c *collector) Export(ctx context.Context, in *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	fields, _ := metadata.FromIncomingContext(ctx)
	c.take(in, fields.Get("authorization"))
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

// ServeHTTP implements the HTTP service.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	in := new(collectorpb.ExportTraceServiceRequest)
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" || proto.Unmarshal(body, in) != nil {
		http.Error(w, "not a request of OTLP", http.StatusBadRequest)
		return
	}
	c.take(in, r.Header.Values("Authorization"))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse {
		http.Error(w, "wrong header "+r.Header.Get("Authorization"), http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (c *collector) take(in *collectorpb.ExportTraceServiceRequest, tokens []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, token := range tokens {
		c.tokens[token] = true
	}
	for _, resource := range in.GetResourceSpans() {
		service := attribute(resource.GetResource().GetAttributes(), "service.name")
		if service != "web" { // Envoy's own spans hold the URL
			text, _ := proto.Marshal(resource)
			_, _ = c.leaks.sink("spans").Write(text)
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, span{service, s})
			}
		}
	}
}

func attribute(all []*commonpb.KeyValue, name string) string {
	for _, a := range all {
		if a.GetKey() == name {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

// of returns the spans of a service so far.
func (c *collector) of(service string) []span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.spans), func(s span) bool { return s.service != service })
}

func (c *collector) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans = nil
}

// withTracer makes Envoy trace every request and send its spans to the collector.
func (c *collector) withTracer(t *testing.T) func(root map[string]any) {
	host, port, err := net.SplitHostPort(c.grpc)
	if err != nil {
		t.Fatal(err)
	}
	return func(root map[string]any) {
		withPatience(root)
		manager(root)["tracing"] = map[string]any{
			"random_sampling": map[string]any{"value": 100},
			"provider": map[string]any{"name": "envoy.tracers.opentelemetry", "typed_config": map[string]any{
				"@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig", "service_name": "web",
				"grpc_service": map[string]any{"envoy_grpc": map[string]any{"cluster_name": "collector"}},
			}},
		}
		static := root["static_resources"].(map[string]any)
		static["clusters"] = append(static["clusters"].([]any), map[string]any{
			"name": "collector", "type": "STATIC", "connect_timeout": "1s",
			"typed_extension_protocol_options": map[string]any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": map[string]any{
				"@type":                "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
				"explicit_http_config": map[string]any{"http2_protocol_options": map[string]any{}},
			}},
			"load_assignment": map[string]any{"cluster_name": "collector", "endpoints": []any{map[string]any{"lb_endpoints": []any{map[string]any{
				"endpoint": map[string]any{"address": map[string]any{"socket_address": map[string]any{"address": host, "port_value": port}}},
			}}}}},
		})
	}
}

// testTraces sends the traces of the program and of its Envoy to a collector.
func testTraces(t *testing.T, leaks *leaks) {
	r := newRig(t, leaks, authztest.StartRedis(t, ""), authztest.StartPostgres(t))
	c := startCollector(t, leaks)
	traced, plain := r.startEnvoy(t, false, c.withTracer(t)), r.startEnvoy(t, false, withPatience)
	token, apiKey := r.seed(t)
	header := leaks.secret("the collector's header", "c4n4ry-collector-header")
	// Spans are exported only when the program ends, which has to flush them.
	common := []string{"OTEL_BSP_SCHEDULE_DELAY=600000", "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20" + header}

	for _, protocol := range []struct {
		name string
		env  []string
	}{
		{"grpc", []string{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_ENDPOINT=http://" + c.grpc}},
		{"http", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.http.URL, "OTEL_SERVICE_NAME=warder-http", "OTEL_RESOURCE_ATTRIBUTES=team=edge"}},
	} {
		t.Run(protocol.name, func(t *testing.T) {
			c.forget()
			r.env = append(protocol.env, common...)
			r.startWarder(t, faultPolicy, nil)
			r.expect(t, traced, "/user?token="+token, bearer(token), http.StatusOK)
			r.expect(t, traced, "/key", key(apiKey), http.StatusOK)
			r.expect(t, traced, "/user/"+token, bearer(token+"x"), http.StatusForbidden)
			r.stopWarder(t)
			service := "warder"
			if protocol.name == "http" {
				service = "warder-http"
			}
			for reason, questions := range map[string][]string{
				"session":         {"warder.sessions redis", "warder.users postgresql"},
				"api_key":         {"warder.api_keys postgresql", "warder.users postgresql"},
				"route_unmatched": nil,
			} {
				c.expectTrace(t, service, reason, questions)
			}
			if !c.tokens["Bearer "+header] {
				t.Error("the header did not reach the collector")
			}
		})
	}

	t.Run("without Envoy's tracer", func(t *testing.T) {
		c.forget()
		r.env = append([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.http.URL}, common...)
		r.startWarder(t, faultPolicy, nil)
		const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
		r.expect(t, plain, "/open", nil, http.StatusOK)
		r.expect(t, plain, "/open", map[string]string{"traceparent": "00-" + trace + "-" + parent + "-00"}, http.StatusOK)
		r.expect(t, plain, "/open", map[string]string{"traceparent": "00-" + trace + "-" + parent + "-01", "tracestate": "a=c4n4ry-tracestate"}, http.StatusOK)
		leaks.secret("a tracestate", "c4n4ry-tracestate")
		r.stopWarder(t)
		spans := c.of("warder")
		if len(spans) != 1 || hex.EncodeToString(spans[0].GetTraceId()) != trace || hex.EncodeToString(spans[0].GetParentSpanId()) != parent {
			t.Errorf("%v; want one span within the sampled trace of the request", spans)
		}
	})

	t.Run("the collector fails", func(t *testing.T) {
		silent, err := net.Listen("tcp", "127.0.0.1:0") // connections are accepted by the kernel, and nothing answers
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		c.mu.Lock()
		c.refuse = true
		c.mu.Unlock()
		for name, env := range map[string][]string{
			"refuses": {"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.http.URL},
			"is away": {"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + authztest.FreeAddress(t), "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"},
			"silent":  {"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + silent.Addr().String()},
		} {
			before := len(leaks.text("warder stderr"))
			r.env = append(slices.Clone(env), "OTEL_BSP_SCHEDULE_DELAY=10", "OTEL_EXPORTER_OTLP_TIMEOUT=100", "OTEL_BSP_EXPORT_TIMEOUT=300", "OTEL_BSP_MAX_QUEUE_SIZE=4", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=2", common[1])
			r.startWarder(t, faultPolicy, nil)
			for range 20 {
				r.expect(t, traced, "/user", bearer(token), http.StatusOK)
			}
			waitFor(t, "the failure to be logged: "+name, func() error {
				if log := leaks.text("warder stderr")[before:]; !strings.Contains(log, "traces were not exported") {
					return errors.New(tailOf(log, 2000))
				}
				return nil
			})
			r.stopWarder(t)
			if n := strings.Count(leaks.text("warder stderr")[before:], "traces were not exported"); n != 1 {
				t.Errorf("%s: %d lines about it", name, n)
			}
		}
	})
}

// expectTrace expects a check with this reason in a trace that Envoy began, with a span for each
// question.
func (c *collector) expectTrace(t *testing.T, service, reason string, questions []string) {
	t.Helper()
	var check span
	for _, s := range c.of(service) {
		if attribute(s.GetAttributes(), "warder.reason") == reason {
			check = s
		}
	}
	if check.Span == nil {
		t.Errorf("no span has the reason %s: %v", reason, c.of(service))
		return
	}
	var asked []string
	for _, s := range c.of(service) {
		if string(s.GetParentSpanId()) == string(check.GetSpanId()) && string(s.GetTraceId()) == string(check.GetTraceId()) {
			asked = append(asked, s.GetName()+" "+attribute(s.GetAttributes(), "db.system.name"))
		}
	}
	if slices.Sort(asked); !slices.Equal(asked, questions) {
		t.Errorf("%s: the questions are %v, want %v", reason, asked, questions)
	}
	waitFor(t, "Envoy's spans of the trace", func() error {
		envoys := map[string]string{} // span -> parent
		for _, s := range c.of("web") {
			if string(s.GetTraceId()) == string(check.GetTraceId()) {
				envoys[string(s.GetSpanId())] = string(s.GetParentSpanId())
			}
		}
		call, ok := envoys[string(check.GetParentSpanId())]
		if request, found := envoys[call]; !ok || !found || request != "" {
			return fmt.Errorf("%s: the parent of the check is not the call that Envoy made for a request: %x in %v", reason, check.GetParentSpanId(), c.of("web"))
		}
		return nil
	})
}
