package envoy

import (
	"testing"

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

// TestServices: nothing is served beside checks and health, no reflection either.
func TestServices(t *testing.T) {
	t.Parallel()
	g := NewGRPCServer(newTestServer(t, Config{Decider: denying(authz.ReasonInternal)}))
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
