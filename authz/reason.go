package authz

// A Reason says why a request was allowed or denied. The words are an API:
// logs, metrics, dynamic metadata and the command line use them. The zero
// Reason is a denial.
type Reason uint8

const (
	ReasonInternal Reason = iota // a fault of warder itself

	// Allowed.
	ReasonPublic
	ReasonPreflight
	ReasonAnonymous
	ReasonSession
	ReasonAPIKey

	// The request cannot be read in one way only.
	ReasonRequestMalformed
	ReasonPathAmbiguous

	// Nobody is proven.
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

	// Not for this one.
	ReasonRouteUnmatched
	ReasonClientIPDenied
	ReasonClientIPUnknown
	ReasonPeerDenied
	ReasonRoleMissing
	ReasonScopeMissing
	ReasonConditionFalse

	// The answer cannot be known now.
	ReasonSessionsUnavailable
	ReasonDirectoryUnavailable
	ReasonOverloaded

	reasonCount
)

// passed is what a single check says when it has no objection. It is no reason
// for a yes: a decision made of it is a denial.
const passed = reasonCount

// Reasons returns every reason, for tests and tables that must name them all.
func Reasons() []Reason {
	all := make([]Reason, 0, reasonCount)
	for r := range reasonCount {
		all = append(all, r)
	}
	return all
}

// Allows reports whether the reason is one for a yes.
func (r Reason) Allows() bool {
	switch r {
	case ReasonPublic, ReasonPreflight, ReasonAnonymous, ReasonSession, ReasonAPIKey:
		return true
	default:
		return false
	}
}

// always reports whether a denial for the reason is enforced in shadow too: of a request
// that can be read in two ways the application may read the other one, and a fault of
// warder itself is no decision.
func (r Reason) always() bool {
	switch r {
	case ReasonRequestMalformed, ReasonPathAmbiguous, ReasonInternal:
		return true
	default:
		return r >= reasonCount
	}
}

// String returns the word that the contract gives the reason.
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
	ReasonOverloaded:           "overloaded",
}
