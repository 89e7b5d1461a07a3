package metrics

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// callMetrics counts gRPC calls under the metric names of go-grpc-middleware, so that existing
// dashboards work. It counts only methods that the server serves, because any other name is
// chosen by the client. It uses interceptors because a statistics handler would make gRPC
// build half a dozen messages for each call.
type callMetrics struct {
	started *prometheus.CounterVec
	handled *prometheus.CounterVec

	// methods maps full names to the methods that were called. Adding a method replaces
	// the map.
	methods atomic.Pointer[map[string]*calledMethod]
	adding  sync.Mutex
}

// A calledMethod holds the counters that almost every call of a method needs.
type calledMethod struct {
	labels  []string // type, service, method
	started prometheus.Counter
	ok      prometheus.Counter
}

func newCallMetrics() *callMetrics {
	m := &callMetrics{
		started: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "grpc_server_started_total",
			Help: "gRPC calls that started; calls in flight are these minus grpc_server_handled_total.",
		}, []string{"grpc_type", "grpc_service", "grpc_method"}),
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "grpc_server_handled_total",
			Help: "gRPC calls that ended, by their status. A denied request is an answer, so its status is OK.",
		}, []string{"grpc_type", "grpc_service", "grpc_method", "grpc_code"}),
	}
	m.methods.Store(&map[string]*calledMethod{})
	return m
}

func (m *callMetrics) options() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(m.unary), grpc.ChainStreamInterceptor(m.stream)}
}

func (m *callMetrics) unary(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	method := m.method(info.FullMethod, "unary")
	method.started.Inc()
	out, err := next(ctx, in)
	m.ended(method, err)
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
	method := m.method(info.FullMethod, kind)
	method.started.Inc()
	err := next(server, s)
	m.ended(method, err)
	return err
}

func (m *callMetrics) ended(method *calledMethod, err error) {
	if err == nil {
		method.ok.Inc()
		return
	}
	told, ok := status.FromError(err)
	if !ok {
		told = status.FromContextError(err) // as gRPC tells the client
	}
	m.handled.WithLabelValues(append(method.labels, told.Code().String())...).Inc()
}

// method returns the counters of "/service/method".
func (m *callMetrics) method(fullMethod, kind string) *calledMethod {
	if known, ok := (*m.methods.Load())[fullMethod]; ok {
		return known
	}
	m.adding.Lock()
	defer m.adding.Unlock()
	service, name, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	labels := []string{kind, service, name}
	added := &calledMethod{
		labels:  slices.Clip(labels), // so that append makes a copy
		started: m.started.WithLabelValues(labels...),
		ok:      m.handled.WithLabelValues(append(labels, codes.OK.String())...),
	}
	methods := maps.Clone(*m.methods.Load())
	methods[fullMethod] = added
	m.methods.Store(&methods)
	return added
}
