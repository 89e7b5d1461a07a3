package envoy

import (
	"context"
	"errors"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"warder/authz"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	g, conn := serve(t, newTestServer(t, Config{Decider: denying(authz.ReasonInternal)}))
	client := healthpb.NewHealthClient(conn)
	check := func(want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for _, service := range []string{"", "envoy.service.auth.v3.Authorization"} {
			out, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
			if err != nil || out.GetStatus() != want {
				t.Errorf("%q: %v %v, want %v", service, out, err, want)
			}
		}
	}
	check(healthpb.HealthCheckResponse_NOT_SERVING)
	g.SetServing(true)
	check(healthpb.HealthCheckResponse_SERVING)
	watch, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{Service: AuthorizationService})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []healthpb.HealthCheckResponse_ServingStatus{healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING} {
		if out, err := watch.Recv(); err != nil || out.GetStatus() != want {
			t.Fatalf("watching: %v %v, want %v", out, err, want)
		}
		g.SetServing(false)
	}
	check(healthpb.HealthCheckResponse_NOT_SERVING)
	if _, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "other"}); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown service: %v", err)
	}
}

// TestGuardIsOutermost tests that the guard also checks responses that an interceptor has
// changed.
func TestGuardIsOutermost(t *testing.T) {
	t.Parallel()
	for name, meddle := range map[string]grpc.UnaryServerInterceptor{
		"empty": func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
			return &CheckResponse{}, nil
		},
		"a message of its own": func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
			return &authv3.CheckResponse{Status: &rpcstatus.Status{}}, nil
		},
		"error": func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
			return nil, errors.New("canary")
		},
		"panic": func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) { panic("canary") },
	} {
		_, conn := serve(t, newTestServer(t, Config{}), grpc.ChainUnaryInterceptor(meddle))
		out, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), checkRequest("GET", "/public/x"))
		if err != nil || !isDeny(out) || out.GetDeniedResponse().GetStatus().GetCode() != 503 {
			t.Errorf("%s: %v %v", name, out, err)
		}
	}
}

// TestServices tests that only checks and health are served. Reflection is not.
func TestServices(t *testing.T) {
	t.Parallel()
	g := NewGRPCServer(newTestServer(t, Config{Decider: denying(authz.ReasonInternal)}), nil, nil)
	t.Cleanup(g.Stop)
	for name := range g.GetServiceInfo() {
		switch name {
		case AuthorizationService, "grpc.health.v1.Health":
		default:
			t.Errorf("%s is served", name)
		}
	}
	if AuthorizationService != "envoy.service.auth.v3.Authorization" {
		t.Error("the service has another name than Envoy asks for")
	}
}
