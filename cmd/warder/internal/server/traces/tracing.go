package traces

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"warder/authz"
	"warder/envoy"
)

// flushTime bounds the time that Close takes.
const flushTime = 2 * time.Second

// scope is the name of warder's instrumentation.
const scope = "warder"

// Attributes that no semantic convention defines. The decision log uses the same words.
const (
	decisionKey   = attribute.Key("warder.decision")
	reasonKey     = attribute.Key("warder.reason")
	authMethodKey = attribute.Key("warder.auth_method")
	storeKey      = attribute.Key("warder.store")
	resultKey     = attribute.Key("warder.store.result")
)

// A Tracing makes the spans of a server. It implements [envoy.Tracer] and [envoy.Observer].
type Tracing struct {
	provider  *sdktrace.TracerProvider
	tracer    trace.Tracer
	sampler   sampler
	continues bool
	log       *slog.Logger
}

// Start returns a Tracing that exports spans as s says. It does not connect to the collector
// yet. The caller must call Close.
func Start(ctx context.Context, s *Settings, version string, log *slog.Logger) (*Tracing, error) {
	var exporter sdktrace.SpanExporter
	var err error
	if s.protocol == protocolGRPC {
		exporter, err = otlptracegrpc.New(ctx)
	} else {
		exporter, err = otlptracehttp.New(ctx)
	}
	if err != nil {
		return nil, err
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(semconv.ServiceName("warder"), semconv.ServiceVersion(version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		_ = exporter.Shutdown(ctx)
		return nil, err
	}
	return newTracing(s, log,
		sdktrace.WithResource(about),
		sdktrace.WithBatcher(&reporter{SpanExporter: exporter, log: log, now: time.Now, secrets: s.secrets})), nil
}

func newTracing(s *Settings, log *slog.Logger, options ...sdktrace.TracerProviderOption) *Tracing {
	provider := sdktrace.NewTracerProvider(append(options, sdktrace.WithSampler(s.sampler.Sampler))...)
	return &Tracing{provider: provider, tracer: provider.Tracer(scope), sampler: s.sampler, continues: s.continues, log: log}
}

// Close exports the spans that are left, for at most flushTime.
func (t *Tracing) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.log.Warn("gave up exporting the last traces", "after", flushTime.String())
	}
}

var checkAttributes = []attribute.KeyValue{
	semconv.RPCSystemNameGRPC, semconv.RPCMethod(envoy.AuthorizationService + "/Check"),
}

// Begin implements [envoy.Tracer].
func (t *Tracing) Begin(ctx context.Context, began time.Time, parent envoy.TraceParent) context.Context {
	hasParent := t.continues && parent.Known()
	if t.sampler.drops(hasParent, trace.TraceFlags(parent.Flags).IsSampled()) {
		return ctx
	}
	if hasParent {
		ctx = trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: parent.TraceID, SpanID: parent.SpanID, TraceFlags: trace.TraceFlags(parent.Flags), Remote: true,
		}))
	}
	ctx, _ = t.tracer.Start(ctx, envoy.AuthorizationService+"/Check", // Observed ends the span
		trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(began))
	return ctx
}

// Observed implements [envoy.Observer]. It ends the span of the check.
func (t *Tracing) Observed(ctx context.Context, o envoy.Observation) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	d := o.Decision
	reason := d.Reason().String()
	span.SetAttributes(checkAttributes...)
	span.SetAttributes(method(o.Method), decisionKey.String(d.Verdict()), reasonKey.String(reason))
	if route := d.Route(); route != "" {
		span.SetAttributes(semconv.HTTPRoute(route))
	}
	if d.Allowed() {
		span.SetAttributes(authMethodKey.String(d.Principal().Method.String()))
	}
	switch d.Reason() {
	case authz.ReasonInternal, authz.ReasonSessionsUnavailable, authz.ReasonDirectoryUnavailable, authz.ReasonKeysUnavailable, authz.ReasonOverloaded:
		span.SetAttributes(semconv.ErrorTypeKey.String(reason))
		span.SetStatus(codes.Error, "")
	default: // a refusal of a client is not an error of warder
	}
	span.End()
}

// method returns the attribute for the method of a request. Clients choose methods freely, so
// unknown ones are not repeated.
func method(name string) attribute.KeyValue {
	switch name {
	case "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE":
		return semconv.HTTPRequestMethodKey.String(name)
	}
	return semconv.HTTPRequestMethodOther
}
