package envoy

import "context"

// CheckWire answers one check in the wire form of Envoy's messages, as the gRPC
// service would: it reads an envoy.service.auth.v3.CheckRequest and returns an
// envoy.service.auth.v3.CheckResponse. It is for tools that have a request and no
// connection.
func (s *Server) CheckWire(ctx context.Context, request []byte) []byte {
	in := new(CheckRequest)
	in.decode(request)
	return s.Check(ctx, in).appendTo(nil)
}
