package main

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"warder/authz"
)

// A grpcServer is the server that Envoy asks, with the gRPC health service.
type grpcServer struct {
	*grpc.Server
	health *health.Server
}

func newGRPCServer(s *server, _ authz.ClientIPResolver) (*grpcServer, error) {
	var options []grpc.ServerOption
	if s.tls != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(s.tls.config())))
	}
	g := &grpcServer{Server: grpc.NewServer(options...), health: health.NewServer()}
	healthpb.RegisterHealthServer(g.Server, g.health)
	return g, nil
}

func (g *grpcServer) setServing(ready bool) {
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if ready {
		status = healthpb.HealthCheckResponse_SERVING
	}
	g.health.SetServingStatus("", status)
}
