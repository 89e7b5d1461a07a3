package envoy

import (
	"net/http"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"warder/authz"
)

// statusOf is the one table from a reason to the HTTP status that the client
// sees. A reason that is not in it is a 503.
var statusOf = map[authz.Reason]int{
	authz.ReasonPublic:    http.StatusOK,
	authz.ReasonPreflight: http.StatusOK,
	authz.ReasonAnonymous: http.StatusOK,
	authz.ReasonSession:   http.StatusOK,
	authz.ReasonAPIKey:    http.StatusOK,

	authz.ReasonRequestMalformed: http.StatusBadRequest,
	authz.ReasonPathAmbiguous:    http.StatusBadRequest,

	authz.ReasonCredentialsMissing:   http.StatusUnauthorized,
	authz.ReasonCredentialsAmbiguous: http.StatusUnauthorized,
	authz.ReasonTokenMalformed:       http.StatusUnauthorized,
	authz.ReasonTokenKeyUnknown:      http.StatusUnauthorized,
	authz.ReasonTokenAlgorithm:       http.StatusUnauthorized,
	authz.ReasonTokenSignature:       http.StatusUnauthorized,
	authz.ReasonTokenExpired:         http.StatusUnauthorized,
	authz.ReasonTokenNotYetValid:     http.StatusUnauthorized,
	authz.ReasonTokenClaims:          http.StatusUnauthorized,
	authz.ReasonSessionRevoked:       http.StatusUnauthorized,
	authz.ReasonUserUnknown:          http.StatusUnauthorized,
	authz.ReasonUserInactive:         http.StatusUnauthorized,
	authz.ReasonAPIKeyMalformed:      http.StatusUnauthorized,
	authz.ReasonAPIKeyUnknown:        http.StatusUnauthorized,
	authz.ReasonAPIKeyInactive:       http.StatusUnauthorized,
	authz.ReasonAPIKeyExpired:        http.StatusUnauthorized,

	authz.ReasonRouteUnmatched:  http.StatusForbidden,
	authz.ReasonClientIPDenied:  http.StatusForbidden,
	authz.ReasonClientIPUnknown: http.StatusForbidden,
	authz.ReasonPeerDenied:      http.StatusForbidden,
	authz.ReasonRoleMissing:     http.StatusForbidden,
	authz.ReasonScopeMissing:    http.StatusForbidden,
	authz.ReasonConditionFalse:  http.StatusForbidden,

	authz.ReasonSessionsUnavailable:  http.StatusServiceUnavailable,
	authz.ReasonDirectoryUnavailable: http.StatusServiceUnavailable,
	authz.ReasonOverloaded:           http.StatusServiceUnavailable,
	authz.ReasonInternal:             http.StatusServiceUnavailable,
}

// StatusOf returns the HTTP status that a client sees for a reason; 200 stands
// for a request that goes on.
func StatusOf(reason authz.Reason) int {
	if status, known := statusOf[reason]; known {
		return status
	}
	return http.StatusServiceUnavailable
}

// A denial is all that a client learns of a no: one for each status, whatever the
// reason was.
type denial struct {
	code   int32 // of gRPC
	detail string
}

var denials = map[int]denial{
	http.StatusBadRequest:         {int32(codes.InvalidArgument), "The request is malformed or ambiguous."},
	http.StatusUnauthorized:       {int32(codes.Unauthenticated), "Authentication required."},
	http.StatusForbidden:          {int32(codes.PermissionDenied), "Access denied."},
	http.StatusServiceUnavailable: {int32(codes.Unavailable), "Authorization is unavailable at the moment."},
}

// body returns the application/problem+json (RFC 9457) of a status.
func (d denial) body(status int) string {
	return `{"type":"about:blank","title":"` + http.StatusText(status) + `","status":` + strconv.Itoa(status) + `,"detail":"` + d.detail + `"}`
}

// responseFor turns a decision into one of the two shapes. The headers are those of
// the request.
func (s *Server) responseFor(d authz.Decision, request authz.Headers) *authv3.CheckResponse {
	about := metadataOf(d)
	if !d.Allowed() || StatusOf(d.Reason()) != http.StatusOK {
		return denyResponse(StatusOf(d.Reason()), challengeFor(d), about)
	}
	set, remove := s.identity.mutations(values(d.Reason(), d.Principal(), d.ClientIP()), request)
	return allowResponse(set, remove, about)
}

// allowResponse is the only maker of a yes.
func allowResponse(set []setHeader, remove []string, about *structpb.Struct) *authv3.CheckResponse {
	headers := make([]*corev3.HeaderValueOption, 0, len(set))
	for _, h := range set {
		headers = append(headers, overwrite(h.name, h.value))
	}
	return &authv3.CheckResponse{
		Status:          &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{Headers: headers, HeadersToRemove: remove}},
		DynamicMetadata: about,
	}
}

// denyResponse is the only maker of a no. It cannot make a yes: a status that is
// none for a no becomes a 503.
func denyResponse(status int, challenge string, about *structpb.Struct) *authv3.CheckResponse {
	kind, known := denials[status]
	if !known {
		status = http.StatusServiceUnavailable
		kind = denials[status]
	}
	headers := []*corev3.HeaderValueOption{overwrite("content-type", "application/problem+json")}
	switch status {
	case http.StatusUnauthorized:
		headers = append(headers, overwrite("www-authenticate", challenge))
	case http.StatusServiceUnavailable:
		headers = append(headers, overwrite("retry-after", "1")) // seconds
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: kind.code},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(status)},
			Headers: headers,
			Body:    kind.body(status),
		}},
		DynamicMetadata: about,
	}
}

// overwrite makes a header that replaces every one of its name, said in both ways:
// some Envoys read only append, others append_action, whose zero value lets the
// client's value stand beside ours.
func overwrite(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		Append:       wrapperspb.Bool(false), //nolint:staticcheck // deprecated, and all that some Envoys read
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// challengeFor returns the WWW-Authenticate value of a 401 (RFC 9110 section
// 11.6.1, RFC 6750 section 3): which credential is asked for, and whether one was
// there.
func challengeFor(d authz.Decision) string {
	scheme := "Bearer"
	if d.Challenge() == authz.ChallengeAPIKey {
		scheme = "ApiKey"
	}
	if d.Reason() == authz.ReasonCredentialsMissing {
		return scheme
	}
	return scheme + ` error="invalid_token"`
}

// challenges are all that challengeFor returns.
var challenges = []string{"Bearer", `Bearer error="invalid_token"`, "ApiKey", `ApiKey error="invalid_token"`}

// metadataKeys are what Envoy's access log and later filters can be told of a
// decision, under [metadataNamespace].
var metadataKeys = [...]string{"decision", "reason", "route", "user", "auth_method", "key_prefix", "client_ip"}

// metadataOf says for Envoy's access log and later filters what was decided. It
// stays inside Envoy. What is empty is left out.
func metadataOf(d authz.Decision) *structpb.Struct {
	verdict := "deny"
	if d.Allowed() {
		verdict = "allow"
	}
	who := d.Principal()
	client := ""
	if d.ClientIP().IsValid() {
		client = d.ClientIP().String()
	}
	values := [len(metadataKeys)]string{verdict, d.Reason().String(), d.Route(), who.UserID, who.Method.String(), who.KeyPrefix, client}
	fields := make(map[string]*structpb.Value, len(metadataKeys))
	for i, key := range metadataKeys {
		if values[i] != "" {
			// The message could not be encoded with anything but UTF-8 in it.
			fields[key] = structpb.NewStringValue(strings.ToValidUTF8(values[i], "\uFFFD"))
		}
	}
	return &structpb.Struct{Fields: fields}
}
