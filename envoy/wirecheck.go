package envoy

import (
	"bytes"
	"context"
)

// CheckWire answers one check in wire form, as the gRPC service would. It decodes an
// envoy.service.auth.v3.CheckRequest and returns an encoded
// envoy.service.auth.v3.CheckResponse. It is for tools that have a request but no connection.
func (s *Server) CheckWire(ctx context.Context, request []byte) []byte {
	in := new(CheckRequest)
	in.decode(bytes.Clone(request)) // the caller may reuse it
	return s.Check(ctx, in).appendTo(nil)
}
