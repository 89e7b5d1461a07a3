package authz

// A Reason says why a request was allowed or denied. The names that String returns
// are an API: logs, metrics, dynamic metadata and the command line use them. The
// zero Reason denies.
type Reason uint8

const (
	ReasonInternal Reason = iota // a fault in warder itself

	// The request is allowed.
	ReasonPublic
	ReasonPreflight
	ReasonAnonymous
	ReasonSession
	ReasonAPIKey

	// The request is invalid, or its path can be read in more than one way.
	ReasonRequestMalformed
	ReasonPathAmbiguous

	// The request is not authenticated.
	ReasonCredentialsMissing
	ReasonCredentialsAmbiguous
	ReasonTokenMalformed
	ReasonTokenKeyUnknown
	ReasonTokenAlgorithm
	ReasonTokenSignature
	ReasonTokenExpired
	ReasonTokenNotYetValid
	ReasonTokenClaims
	ReasonSessionRevoked
	ReasonUserUnknown
	ReasonUserInactive
	ReasonAPIKeyMalformed
	ReasonAPIKeyUnknown
	ReasonAPIKeyInactive
	ReasonAPIKeyExpired

	// The request may not use the route, or no route matches it.
	ReasonRouteUnmatched
	ReasonClientIPDenied
	ReasonClientIPUnknown
	ReasonPeerDenied
	ReasonRoleMissing
	ReasonScopeMissing
	ReasonConditionFalse

	// A store could not answer, or the keys of an issuer of tokens are not known.
	ReasonSessionsUnavailable
	ReasonDirectoryUnavailable
	ReasonKeysUnavailable
	ReasonOverloaded

	reasonCount
)

// passed is the result of a check that does not deny the request. It is not a reason
// to allow: a Decision made from it is a denial.
const passed = reasonCount

// Reasons returns every reason, for tests and tables that must list them all.
func Reasons() []Reason {
	all := make([]Reason, 0, reasonCount)
	for r := range reasonCount {
		all = append(all, r)
	}
	return all
}

// Allows reports whether a decision with this reason allows the request.
func (r Reason) Allows() bool {
	switch r {
	case ReasonPublic, ReasonPreflight, ReasonAnonymous, ReasonSession, ReasonAPIKey:
		return true
	default:
		return false
	}
}

// always reports whether a denial with this reason is enforced in shadow mode too.
// The application may read an ambiguous request differently than warder does, and
// after a fault in warder there is no decision to report.
func (r Reason) always() bool {
	switch r {
	case ReasonRequestMalformed, ReasonPathAmbiguous, ReasonInternal:
		return true
	default:
		return r >= reasonCount
	}
}

// String returns the name of the reason, such as "token_expired".
func (r Reason) String() string {
	if r >= reasonCount {
		return reasonNames[ReasonInternal]
	}
	return reasonNames[r]
}

var reasonNames = [reasonCount]string{
	ReasonInternal:             "internal",
	ReasonPublic:               "public",
	ReasonPreflight:            "preflight",
	ReasonAnonymous:            "anonymous",
	ReasonSession:              "session",
	ReasonAPIKey:               "api_key",
	ReasonRequestMalformed:     "request_malformed",
	ReasonPathAmbiguous:        "path_ambiguous",
	ReasonCredentialsMissing:   "credentials_missing",
	ReasonCredentialsAmbiguous: "credentials_ambiguous",
	ReasonTokenMalformed:       "token_malformed",
	ReasonTokenKeyUnknown:      "token_key_unknown",
	ReasonTokenAlgorithm:       "token_algorithm",
	ReasonTokenSignature:       "token_signature",
	ReasonTokenExpired:         "token_expired",
	ReasonTokenNotYetValid:     "token_not_yet_valid",
	ReasonTokenClaims:          "token_claims",
	ReasonSessionRevoked:       "session_revoked",
	ReasonUserUnknown:          "user_unknown",
	ReasonUserInactive:         "user_inactive",
	ReasonAPIKeyMalformed:      "api_key_malformed",
	ReasonAPIKeyUnknown:        "api_key_unknown",
	ReasonAPIKeyInactive:       "api_key_inactive",
	ReasonAPIKeyExpired:        "api_key_expired",
	ReasonRouteUnmatched:       "route_unmatched",
	ReasonClientIPDenied:       "client_ip_denied",
	ReasonClientIPUnknown:      "client_ip_unknown",
	ReasonPeerDenied:           "peer_denied",
	ReasonRoleMissing:          "role_missing",
	ReasonScopeMissing:         "scope_missing",
	ReasonConditionFalse:       "condition_false",
	ReasonSessionsUnavailable:  "sessions_unavailable",
	ReasonDirectoryUnavailable: "directory_unavailable",
	ReasonKeysUnavailable:      "keys_unavailable",
	ReasonOverloaded:           "overloaded",
}
