package envoy

import (
	"context"
	"log/slog"
	"slices"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"warder/authz"
	"warder/authz/mask"
)

// Guard is the last thing an answer passes: whatever is not one of the two shapes
// becomes a denial with a 503, and so do an error and a panic. Other methods
// than Check pass untouched.
func (s *Server) Guard(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (out any, err error) {
	if info.FullMethod != authv3.Authorization_Check_FullMethodName {
		return next(ctx, in)
	}
	defer func() {
		if fault := recover(); fault != nil {
			mask.LogPanic(ctx, s.log, "guard", fault)
			out, err = s.refusal(), nil
		}
	}()
	out, err = next(ctx, in)
	response, _ := out.(*authv3.CheckResponse)
	if why := s.misshapen(response, err); why != "" {
		s.log.ErrorContext(ctx, "answer of a wrong shape, replaced with a denial", slog.String("problem", why))
		return s.refusal(), nil
	}
	return response, nil
}

// refusal is the answer when there is no other.
func (s *Server) refusal() *authv3.CheckResponse {
	return s.responseFor(authz.Deny(authz.ReasonInternal), nil)
}

// misshapen says why an answer must not leave; "" when it may.
func (s *Server) misshapen(r *authv3.CheckResponse, err error) string {
	switch {
	case err != nil:
		return "an error"
	case r == nil || r.GetStatus() == nil || r.GetHttpResponse() == nil:
		return "nothing in it"
	case !validMetadata(r.GetDynamicMetadata()):
		return "metadata is no flat set of texts"
	}
	verdict := r.GetDynamicMetadata().GetFields()["decision"].GetStringValue()
	if r.GetStatus().GetCode() == int32(codes.OK) {
		if verdict != "allow" {
			return "OK for what is no yes"
		}
		return s.identity.misshapenYes(r.GetOkResponse())
	}
	if verdict != "deny" {
		return "a refusal for what is no denial"
	}
	return misshapenNo(r)
}

// misshapenYes says why a yes must not leave: it has to account for every identity
// header, set or removed, and do nothing else to the request.
func (id *identity) misshapenYes(ok *authv3.OkHttpResponse) string {
	if ok == nil {
		return "OK without an OK response"
	}
	if len(ok.GetResponseHeadersToAdd()) > 0 || len(ok.GetQueryParametersToSet()) > 0 || len(ok.GetQueryParametersToRemove()) > 0 ||
		ok.GetDynamicMetadata() != nil { //nolint:staticcheck // deprecated, and it would override the other
		return "OK with more than request headers"
	}
	for i, h := range ok.GetHeaders() {
		name := h.GetHeader().GetKey()
		switch {
		case !slices.Contains(id.names[:], name):
			return "sets a header that is no identity header"
		case i > 0 && name <= ok.GetHeaders()[i-1].GetHeader().GetKey():
			return "sets a header twice"
		case !overwrites(h):
			return "sets a header that a client's could survive"
		case removes(ok, name):
			return "removes what it sets"
		}
	}
	for i, name := range ok.GetHeadersToRemove() {
		if !isToken(name) || name == "host" || i > 0 && name <= ok.GetHeadersToRemove()[i-1] {
			return "removes what cannot be removed, or in no order"
		}
	}
	for _, name := range id.names {
		if !removes(ok, name) && !slices.ContainsFunc(ok.GetHeaders(), func(h *corev3.HeaderValueOption) bool { return h.GetHeader().GetKey() == name }) {
			return "lets an identity header through"
		}
	}
	for _, name := range id.remove {
		if !removes(ok, name) {
			return "lets a header through that is to be removed"
		}
	}
	return ""
}

func removes(ok *authv3.OkHttpResponse, name string) bool {
	_, found := slices.BinarySearch(ok.GetHeadersToRemove(), name)
	return found
}

// misshapenNo says why a no must not leave: it has to be one of the fixed ones.
func misshapenNo(r *authv3.CheckResponse) string {
	status := int(r.GetDeniedResponse().GetStatus().GetCode())
	for _, challenge := range challenges {
		if proto.Equal(r, denyResponse(status, challenge, r.GetDynamicMetadata())) {
			return ""
		}
	}
	return "a refusal that is none of the fixed ones"
}

// overwrites reports whether the header is set as [overwrite] does it, to
// something.
func overwrites(h *corev3.HeaderValueOption) bool {
	value, older := h.GetHeader().GetValue(), h.GetAppend() //nolint:staticcheck // deprecated, and all that some Envoys read
	return h.GetAppendAction() == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD && older != nil && !older.GetValue() &&
		len(h.GetHeader().GetRawValue()) == 0 && value != "" && safeValue(value)
}

// validMetadata reports whether the metadata can be encoded: a text that is not
// UTF-8 would make an error of the whole answer.
func validMetadata(m *structpb.Struct) bool {
	for key, value := range m.GetFields() {
		text, ok := value.GetKind().(*structpb.Value_StringValue)
		if !ok || !utf8.ValidString(text.StringValue) || !utf8.ValidString(key) {
			return false
		}
	}
	return true
}
