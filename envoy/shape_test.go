package envoy

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"warder/authz"
)

// misshapenMessage returns why a response must not reach Envoy, or "" if it may. It inspects
// the generated message and does not depend on how the message was made.
func (id *identity) misshapenMessage(r *authv3.CheckResponse) string {
	switch {
	case r == nil || r.GetStatus() == nil || r.GetHttpResponse() == nil:
		return "the response is empty"
	case !validMetadata(r.GetDynamicMetadata()):
		return "metadata is no flat set of texts"
	}
	verdict := r.GetDynamicMetadata().GetFields()["decision"].GetStringValue()
	if r.GetStatus().GetCode() == int32(codes.OK) {
		if verdict == "would_deny" && len(r.GetOkResponse().GetHeaders()) == 0 {
			return id.misshapenOK(r.GetOkResponse())
		}
		if verdict != "allow" {
			return "the status is OK, but the decision is not allow"
		}
		return id.misshapenOK(r.GetOkResponse())
	}
	if verdict != "deny" {
		return "the status is an error, but the decision is not deny"
	}
	return misshapenDenied(r)
}

// misshapenOK returns why an allow must not be sent. The response has to set or remove every
// identity header, and must do nothing else to the request.
func (id *identity) misshapenOK(ok *authv3.OkHttpResponse) string {
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
		case !id.owns(name):
			return "sets a header that is not an identity header"
		case i > 0 && name <= ok.GetHeaders()[i-1].GetHeader().GetKey():
			return "sets a header twice"
		case !overwrites(h):
			return "sets a header that a client's could survive"
		case removes(ok, name):
			return "removes a header that it sets"
		}
	}
	for i, name := range ok.GetHeadersToRemove() {
		if !authz.IsToken(name) || name == "host" || i > 0 && name <= ok.GetHeadersToRemove()[i-1] {
			return "removes a header that cannot be removed, or the list is not sorted"
		}
	}
	for name := range id.owned() {
		if !removes(ok, name) && !slices.ContainsFunc(ok.GetHeaders(), func(h *corev3.HeaderValueOption) bool { return h.GetHeader().GetKey() == name }) {
			return "does not remove an identity header of the client"
		}
	}
	for _, name := range id.remove {
		if !removes(ok, name) {
			return "does not remove a header that must be removed"
		}
	}
	return ""
}

func removes(ok *authv3.OkHttpResponse, name string) bool {
	_, found := slices.BinarySearch(ok.GetHeadersToRemove(), name)
	return found
}

// misshapenDenied returns why a denial must not be sent. It has to be one of the fixed denials.
func misshapenDenied(r *authv3.CheckResponse) string {
	status := int(r.GetDeniedResponse().GetStatus().GetCode())
	origin := ""
	for _, h := range r.GetDeniedResponse().GetHeaders() {
		if h.GetHeader().GetKey() == "access-control-allow-origin" {
			origin = h.GetHeader().GetValue()
		}
	}
	if u, err := url.Parse(origin); err != nil || origin != "" && (origin != u.Scheme+"://"+u.Host || u.Scheme != "https" && u.Scheme != "http" || u.Host == "") {
		return "an origin that is none"
	}
	for _, challenge := range challenges {
		for as := range formCount {
			if proto.Equal(r, deniedMessage(status, challenge, as, origin, r.GetDynamicMetadata())) {
				return ""
			}
		}
	}
	return "not one of the fixed denials"
}

// overwrites reports whether the header is set so that it replaces all others of its name. In a
// CheckResponse, append is false if it is absent. It is not sent, because Envoy allocates it.
func overwrites(h *corev3.HeaderValueOption) bool {
	value, older := h.GetHeader().GetValue(), h.GetAppend() //nolint:staticcheck // deprecated, and all that some Envoys read
	return h.GetAppendAction() == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD && older == nil &&
		len(h.GetHeader().GetRawValue()) == 0 && value != "" && safeValue(value)
}

// validMetadata reports whether the metadata can be encoded. A string that is not valid UTF-8
// would make the whole response an error.
func validMetadata(m *structpb.Struct) bool {
	for key, value := range m.GetFields() {
		text, ok := value.GetKind().(*structpb.Value_StringValue)
		if !ok || !utf8.ValidString(text.StringValue) || !utf8.ValidString(key) {
			return false
		}
	}
	return true
}

// overwriting makes a header that replaces every header of the same name.
func overwriting(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// deniedMessage returns the fixed denial for a status and a challenge in a form, readable by an
// origin.
func deniedMessage(status int, challenge string, as form, origin string, about *structpb.Struct) *authv3.CheckResponse {
	rpc := map[int]int32{400: 3, 401: 16, 403: 7, 503: 14}[status]
	titles := map[int]string{400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 503: "Service Unavailable"}
	details := map[int]string{
		400: "The request is malformed or ambiguous.", 401: "Authentication required.", 403: "Access denied.",
		503: "Authorization is unavailable at the moment.",
	}
	web := map[int]string{400: "13", 401: "16", 403: "7", 503: "14"}[status]
	trailers := fmt.Sprintf("grpc-status:%s\r\ngrpc-message:%s\r\n", web, details[status])
	contentType, body := "", ""
	switch as {
	case formGRPC:
		contentType, body = "text/plain", details[status]
	case formGRPCWeb:
		contentType = "application/grpc-web+proto"
	case formGRPCWebText:
		contentType, body = "application/grpc-web-text+proto", base64.StdEncoding.EncodeToString(append([]byte{0x80, 0, 0, 0, byte(len(trailers))}, trailers...))
	default:
		contentType, body = "application/problem+json", fmt.Sprintf(`{"type":"about:blank","title":%q,"status":%d,"detail":%q}`, titles[status], status, details[status])
	}
	headers := []*corev3.HeaderValueOption{overwriting("content-type", contentType)}
	switch status {
	case 401:
		headers = append(headers, overwriting("www-authenticate", challenge))
	case 503:
		headers = append(headers, overwriting("retry-after", "1"))
	}
	if as == formGRPCWeb || as == formGRPCWebText {
		headers = append(headers, overwriting("grpc-status", web), overwriting("grpc-message", details[status]))
	}
	if origin != "" {
		headers = append(headers, overwriting("access-control-allow-origin", origin), overwriting("access-control-allow-credentials", "true"), overwriting("vary", "Origin"))
	}
	if origin != "" && as != formProblem {
		headers = append(headers, overwriting("access-control-expose-headers", "grpc-status,grpc-message"))
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: rpc},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(status)},
			Headers: headers,
			Body:    body,
		}},
		DynamicMetadata: about,
	}
}

// message returns the generated message for a response.
func message(r *CheckResponse) *authv3.CheckResponse {
	about := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for i, value := range r.about {
		if value != "" {
			about.Fields[metadataKeys[i]] = structpb.NewStringValue(value)
		}
	}
	if r.status != 200 {
		return deniedMessage(r.status, r.challenge, r.form, r.origin, about)
	}
	ok := &authv3.OkHttpResponse{HeadersToRemove: r.remove}
	for _, h := range r.set {
		ok.Headers = append(ok.Headers, overwriting(h.name, h.value))
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok}, DynamicMetadata: about,
	}
}
