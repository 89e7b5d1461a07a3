// Command stock is what warder is measured against: the authorization server
// that the libraries give when nothing is added. grpc-go as it comes, the
// generated service of go-control-plane, and always yes. Nothing in it is tuned,
// and it is used by `make bench` only.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

func main() {
	address := flag.String("listen", "127.0.0.1:0", "the address to listen on; port 0 lets the system choose")
	flag.Parse()
	if err := serve(*address); err != nil {
		fmt.Fprintln(os.Stderr, "stock:", err)
		os.Exit(1)
	}
}

// serve prints the address that it is bound to, on a line of its own.
func serve(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, always{})
	return server.Serve(listener)
}

// always allows.
type always struct{}

func (always) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{
		Status:       &status.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
	}, nil
}
