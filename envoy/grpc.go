package envoy

import (
	"context"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
)

const (
	// maxMessageBytes is the largest value of Config.MaxRequestBytes.
	maxMessageBytes = 16 << 20
	// maxStreams is the number of checks that one connection may have in flight. The shipped
	// configurations limit Envoy to 1000.
	maxStreams = 1024
	// maxBurst is the number of checks that a connection may begin at once. Envoy may begin
	// more than maxStreams before it has received warder's settings. The limit is then its
	// circuit breaker for requests, 4096 in the shipped configurations. Checks beyond
	// maxStreams wait.
	maxBurst = 4 * maxStreams
	// streamWorkers is the number of goroutines that wait for checks. A goroutine that is
	// started for a single check has to grow its stack each time, which costs more than the
	// decision. When all workers wait for a store, further checks get goroutines of their own.
	streamWorkers = 64
	// maxHeaderBytes is the maximum size of a call's metadata that is announced to peers.
	// Envoy's tracers copy header fields of the client into the metadata (tracestate, baggage,
	// B3), and Envoy accepts at most 8 MiB of header fields (max_request_headers_kb).
	maxHeaderBytes = 9 << 20
)

// AuthorizationService is the name of the authorization service in gRPC health. The empty name
// stands for the whole server and has the same status.
const AuthorizationService = "envoy.service.auth.v3.Authorization"

// A GRPCServer serves [Server], [AccessLog] and gRPC health.
type GRPCServer struct {
	*grpc.Server
	health    *health.Server
	accessLog *AccessLog
}

// NewGRPCServer returns a gRPC server with limits for untrusted peers. Its health status is
// NOT_SERVING until [GRPCServer.SetServing] is called. If accessLog is nil, Envoy is told that
// there is no access log service. If secure is nil, calls are not encrypted. The options may
// add statistics and chained interceptors. The guard runs outside all of them.
func NewGRPCServer(s *Server, accessLog *AccessLog, secure credentials.TransportCredentials, options ...grpc.ServerOption) *GRPCServer {
	if secure == nil {
		secure = insecure.NewCredentials()
	}
	inFlight := newCalls(memoryLimit(), s.now)
	all := append([]grpc.ServerOption{
		grpc.Creds(wholeCalls{secure, inFlight, s.maxBytes}),
		grpc.ReadBufferSize(0), // a callConn has its own buffer
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.ConnectionTimeout(5 * time.Second),
		// Envoy may ping an idle connection.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			// Connections are closed from time to time, so that new replicas get their share.
			MaxConnectionIdle:     15 * time.Minute,
			MaxConnectionAge:      30 * time.Minute,
			MaxConnectionAgeGrace: 10 * time.Second,
			// Pings detect a peer that disappeared without closing the connection.
			Time:    30 * time.Second,
			Timeout: 10 * time.Second,
		}),
		// Stop does not return while a check still uses a store.
		grpc.WaitForHandlers(true),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.UnaryInterceptor(s.Guard),
		grpc.ForceServerCodecV2(newCheckCodec(inFlight)),
	}, options...)
	g := &GRPCServer{Server: grpc.NewServer(all...), health: health.NewServer(), accessLog: accessLog}
	g.RegisterService(authorization(s), s)
	if accessLog != nil {
		accesslogv3.RegisterAccessLogServiceServer(g.Server, accessLog)
	}
	healthpb.RegisterHealthServer(g.Server, g.health)
	g.SetServing(false)
	return g
}

// authorization describes the service as Envoy knows it. Its messages are encoded and decoded
// only by [checkCodec].
func authorization(s *Server) *grpc.ServiceDesc {
	info := &grpc.UnaryServerInfo{Server: s, FullMethod: authv3.Authorization_Check_FullMethodName}
	check := func(ctx context.Context, in any) (any, error) {
		return s.Check(ctx, in.(*CheckRequest)), nil
	}
	return &grpc.ServiceDesc{
		ServiceName: AuthorizationService,
		HandlerType: (*checker)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Check", Handler: func(_ any, ctx context.Context, decode func(any) error, guard grpc.UnaryServerInterceptor) (any, error) {
			in := new(CheckRequest)
			if err := decode(in); err != nil {
				return nil, err
			}
			defer in.done()
			return guard(ctx, in, info, check) // there is always an interceptor: the guard
		}}},
		Metadata: "envoy/service/auth/v3/external_auth.proto",
	}
}

type checker interface {
	Check(ctx context.Context, in *CheckRequest) *CheckResponse
}

// SetServing sets the gRPC health status of "" and [AuthorizationService] to SERVING or
// NOT_SERVING, and notifies watchers. Checks are answered either way.
func (g *GRPCServer) SetServing(serving bool) {
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if serving {
		status = healthpb.HealthCheckResponse_SERVING
	}
	g.health.SetServingStatus("", status)
	g.health.SetServingStatus(AuthorizationService, status)
}

// GracefulStop waits for the checks in flight. It ends access log streams without waiting for
// Envoy to end them.
func (g *GRPCServer) GracefulStop() {
	g.accessLog.end()
	g.Server.GracefulStop()
}
