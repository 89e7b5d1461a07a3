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
	// maxMessageBytes bounds what a check may be allowed to have.
	maxMessageBytes = 16 << 20
	// maxStreams is how many checks one connection may have in flight. The shipped
	// configurations keep to 1000.
	maxStreams = 1024
	// maxBurst is how many checks a connection may begin at once. Envoy may begin more than
	// maxStreams before it has the settings of warder: as many as its circuit breaker for
	// requests lets through, 4096 in the shipped configurations. Those beyond maxStreams wait.
	maxBurst = 4 * maxStreams
	// streamWorkers is how many goroutines wait for checks. One that is made for a
	// check alone grows its stack each time, which costs more than deciding. When all of
	// them wait for a store, further checks get goroutines of their own.
	streamWorkers = 64
	// maxHeaderBytes is what peers are told that the metadata of a call may have. Envoy's
	// tracers copy fields of the client into it (tracestate, baggage, B3), and Envoy accepts
	// 8 MiB of fields at most (max_request_headers_kb).
	maxHeaderBytes = 9 << 20
)

// AuthorizationService is the name under which gRPC health tells of the
// authorization service; the empty name tells the same of the whole server.
const AuthorizationService = "envoy.service.auth.v3.Authorization"

// A GRPCServer serves [Server], [AccessLog] and gRPC health.
type GRPCServer struct {
	*grpc.Server
	health    *health.Server
	accessLog *AccessLog
}

// NewGRPCServer makes a gRPC server with the limits of one that strangers can
// reach, NOT_SERVING until [GRPCServer.SetServing]. Without an access log (nil) Envoy
// is told that there is none; without transport security (nil) calls come in the clear.
// The options may add statistics and chained interceptors; the guard is outside of all
// of them.
func NewGRPCServer(s *Server, accessLog *AccessLog, secure credentials.TransportCredentials, options ...grpc.ServerOption) *GRPCServer {
	if secure == nil {
		secure = insecure.NewCredentials()
	}
	inFlight := newCalls(memoryLimit(), s.now)
	all := append([]grpc.ServerOption{
		grpc.Creds(wholeCalls{secure, inFlight, s.maxBytes}),
		grpc.ReadBufferSize(0), // a callConn has one
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.ConnectionTimeout(5 * time.Second),
		// An Envoy that pings a quiet connection is no attacker.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			// Connections end now and then, so that new replicas get their part.
			MaxConnectionIdle:     15 * time.Minute,
			MaxConnectionAge:      30 * time.Minute,
			MaxConnectionAgeGrace: 10 * time.Second,
			// A peer that is gone without a word is noticed.
			Time:    30 * time.Second,
			Timeout: 10 * time.Second,
		}),
		// Stop returns when no check uses a store any more.
		grpc.WaitForHandlers(true),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.UnaryInterceptor(s.Guard),
		grpc.ForceServerCodecV2(newCheckCodec(inFlight)),
	}, options...)
	g := &GRPCServer{Server: grpc.NewServer(all...), health: health.NewServer(), accessLog: accessLog}
	g.RegisterService(&authorization, s)
	if accessLog != nil {
		accesslogv3.RegisterAccessLogServiceServer(g.Server, accessLog)
	}
	healthpb.RegisterHealthServer(g.Server, g.health)
	g.SetServing(false)
	return g
}

// authorization is the service as Envoy knows it, with messages that only
// [checkCodec] reads and writes.
var authorization = grpc.ServiceDesc{
	ServiceName: AuthorizationService,
	HandlerType: (*checker)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Check", Handler: handleCheck}},
	Metadata:    "envoy/service/auth/v3/external_auth.proto",
}

type checker interface {
	Check(ctx context.Context, in *CheckRequest) *CheckResponse
}

// handleCheck is what the generated code of the service would be. There always is
// an interceptor: the guard.
func handleCheck(server any, ctx context.Context, decode func(any) error, guard grpc.UnaryServerInterceptor) (any, error) {
	in := new(CheckRequest)
	if err := decode(in); err != nil {
		return nil, err
	}
	defer in.done()
	info := &grpc.UnaryServerInfo{Server: server, FullMethod: authv3.Authorization_Check_FullMethodName}
	return guard(ctx, in, info, func(ctx context.Context, in any) (any, error) {
		return server.(checker).Check(ctx, in.(*CheckRequest)), nil
	})
}

// SetServing makes gRPC health answer SERVING or NOT_SERVING for "" and for
// [AuthorizationService], and tells those who watch. Checks are answered either way.
func (g *GRPCServer) SetServing(serving bool) {
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if serving {
		status = healthpb.HealthCheckResponse_SERVING
	}
	g.health.SetServingStatus("", status)
	g.health.SetServingStatus(AuthorizationService, status)
}

// GracefulStop waits for the checks in flight, and for no access log.
func (g *GRPCServer) GracefulStop() {
	g.accessLog.end()
	g.Server.GracefulStop()
}
