package envoy_test

import (
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"warder/authz"
	"warder/envoy"
)

// TestCheckWire tests that the response is that of the service, also for unreadable requests.
func TestCheckWire(t *testing.T) {
	t.Parallel()
	server, err := envoy.NewServer(envoy.Config{Decider: (*authz.Engine)(nil)}) // no decision is reached
	if err != nil {
		t.Fatal(err)
	}
	empty, err := proto.Marshal(new(authv3.CheckRequest))
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range [][]byte{nil, empty, {0xff}} {
		out := new(authv3.CheckResponse)
		if err := proto.Unmarshal(server.CheckWire(t.Context(), in), out); err != nil {
			t.Fatal(err)
		}
		if out.GetStatus().GetCode() != int32(codes.InvalidArgument) || out.GetDeniedResponse().GetStatus().GetCode() != 400 {
			t.Errorf("%x: %v", in, out)
		}
	}
}
