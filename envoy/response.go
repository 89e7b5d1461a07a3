package envoy

import (
	"net/http"

	"warder/authz"
	"warder/authz/attribute"
)

// statusOf maps a reason to the HTTP status that the client sees. A reason that is not in it
// has status 503.
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
	authz.ReasonKeysUnavailable:      http.StatusServiceUnavailable,
	authz.ReasonOverloaded:           http.StatusServiceUnavailable,
	authz.ReasonInternal:             http.StatusServiceUnavailable,
}

// StatusOf returns the HTTP status that a client sees for a reason. The status 200 means that
// the request is passed on.
func StatusOf(reason authz.Reason) int {
	if status, known := statusOf[reason]; known {
		return status
	}
	return http.StatusServiceUnavailable
}

// A CheckResponse is the response to a check. It has one of two shapes: an allow with changes
// to the request headers, or one of a few fixed denials. The zero value is a denial.
// [allowResponse] and [denyResponse] construct a CheckResponse, and [CheckResponse.appendTo]
// writes it as an envoy.service.auth.v3.CheckResponse.
type CheckResponse struct {
	status    int    // HTTP status; 200 for an allow
	challenge string // WWW-Authenticate of a 401
	form      form   // of a denial
	shadow    bool   // credentials are not removed
	page      page   // of a denial in formProblem, instead of the problem document
	origin    string // the origin whose scripts may read a denial; "" if none
	set       []setHeader
	remove    []string
	about     metadata
	summary   bool // about is sent as a summary
}

// responseFor converts a decision about a request to one of the two shapes. The argument in is
// the message that the request was read from; it may be nil for a denial. The argument request
// may be nil for a denial, too.
func (s *Server) responseFor(d authz.Decision, in *CheckRequest, request *authz.Request) *CheckResponse {
	about := metadataOf(d)
	var told [fieldCount]string
	var attributes attribute.Set
	switch {
	case d.WouldDeny(): // allowed, without identity headers
	case d.Allowed() && StatusOf(d.Reason()) == http.StatusOK:
		told, attributes = values(d.Reason(), d.Principal(), d.ClientIP()), attributesFor(d.Reason(), d.Principal())
	default:
		out := denyResponse(StatusOf(d.Reason()), challengeFor(d), formFor(in), d.Origin(), about)
		out.summary = s.summary
		if out.form == formProblem && request != nil {
			out.page = pageFor(d, out.status, request)
		}
		return out
	}
	set, remove := s.identityIn(d.Shadow()).mutations(told, attributes, request.Headers)
	out := allowResponse(set, remove, d.Shadow(), about)
	out.summary = s.summary
	return out
}

// identityIn returns the identity configuration for a response. In shadow mode the application
// makes its own checks and needs the credentials.
func (s *Server) identityIn(shadow bool) *identity {
	if shadow {
		return s.shadowed
	}
	return s.identity
}

// allowResponse is the only function that constructs an allow.
func allowResponse(set []setHeader, remove []string, shadow bool, about metadata) *CheckResponse {
	return &CheckResponse{status: http.StatusOK, set: set, remove: remove, shadow: shadow, about: about}
}

// denyResponse is the only function that constructs a denial. It cannot construct an allow. A
// status that no denial has becomes 503.
func denyResponse(status int, challenge string, as form, origin string, about metadata) *CheckResponse {
	if _, known := denials[status]; !known {
		status = http.StatusServiceUnavailable
	}
	if status != http.StatusUnauthorized {
		challenge = ""
	}
	return &CheckResponse{status: status, challenge: challenge, form: as, origin: origin, about: about}
}

// challengeFor returns the WWW-Authenticate value of a 401 (RFC 9110 section 11.6.1, RFC 6750
// section 3). It says which credential is required, and whether the request had one.
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

// challenges lists all values that challengeFor returns.
var challenges = []string{"Bearer", `Bearer error="invalid_token"`, "ApiKey", `ApiKey error="invalid_token"`}
