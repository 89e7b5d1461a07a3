package main

import (
	"context"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// callMetrics count gRPC calls under the names that go-grpc-middleware gave them, so
// that dashboards fit. Only methods that are served are counted: another name is
// the client's. Interceptors do it, since a statistics handler makes gRPC build
// half a dozen messages for each call.
type callMetrics struct {
	started *prometheus.CounterVec
	handled *prometheus.CounterVec
}

func newCallMetrics() *callMetrics {
	return &callMetrics{
		started: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "grpc_server_started_total",
			Help: "gRPC calls that began; those that are in flight are these without grpc_server_handled_total.",
		}, []string{"grpc_type", "grpc_service", "grpc_method"}),
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "grpc_server_handled_total",
			Help: "gRPC calls that ended, by their status. A denied request is an answer, so its status is OK.",
		}, []string{"grpc_type", "grpc_service", "grpc_method", "grpc_code"}),
	}
}

func (m *callMetrics) options() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(m.unary), grpc.ChainStreamInterceptor(m.stream)}
}

func (m *callMetrics) unary(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	service, method := m.begin("unary", info.FullMethod)
	out, err := next(ctx, in)
	m.handled.WithLabelValues("unary", service, method, status.Code(err).String()).Inc()
	return out, err
}

func (m *callMetrics) stream(server any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	kind := "server_stream"
	switch {
	case info.IsClientStream && info.IsServerStream:
		kind = "bidi_stream"
	case info.IsClientStream:
		kind = "client_stream"
	}
	service, method := m.begin(kind, info.FullMethod)
	err := next(server, s)
	m.handled.WithLabelValues(kind, service, method, status.Code(err).String()).Inc()
	return err
}

// begin counts the beginning of a call of "/service/method".
func (m *callMetrics) begin(kind, fullMethod string) (service, method string) {
	service, method, _ = strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	m.started.WithLabelValues(kind, service, method).Inc()
	return service, method
}
