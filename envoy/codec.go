package envoy

import (
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// checkCodec is gRPC's own codec, but a CheckRequest that cannot be decoded
// arrives as an empty one, which is denied as malformed. Envoy sends such requests: it
// puts a path into a text field without looking whether it is UTF-8. gRPC would
// answer with an error, which is a yes where Envoy is set to failure_mode_allow.
type checkCodec struct{ encoding.CodecV2 }

func newCheckCodec() checkCodec {
	return checkCodec{encoding.GetCodecV2(protocodec.Name)}
}

// Unmarshal implements encoding.CodecV2.
func (c checkCodec) Unmarshal(data mem.BufferSlice, v any) error {
	err := c.CodecV2.Unmarshal(data, v)
	if request, ok := v.(*authv3.CheckRequest); ok && err != nil {
		proto.Reset(request)
		err = nil
	}
	return err
}
