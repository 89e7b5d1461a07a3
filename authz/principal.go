package authz

import (
	"slices"

	"warder/authz/token"
	"warder/policy"
)

// An AuthMethod is how a principal was proven.
type AuthMethod uint8

const (
	MethodNone AuthMethod = iota
	MethodSession
	MethodAPIKey
	MethodAnonymous
)

// String returns the word used in headers, logs and metadata; "" for none.
func (m AuthMethod) String() string {
	switch m {
	case MethodSession:
		return "session"
	case MethodAPIKey:
		return "api_key"
	case MethodAnonymous:
		return "anonymous"
	case MethodNone:
	}
	return ""
}

// reason is why a principal of this method is allowed.
func (m AuthMethod) reason() Reason {
	switch m {
	case MethodSession:
		return ReasonSession
	case MethodAPIKey:
		return ReasonAPIKey
	case MethodAnonymous:
		return ReasonAnonymous
	case MethodNone:
	}
	return ReasonInternal
}

// A Principal is who a credential proves.
type Principal struct {
	Method    AuthMethod
	UserID    string // for an API key its owner, "" when it has none
	SessionID string // sessions only
	Roles     Names  // sessions only: an API key never has its owner's roles
	KeyPrefix string // API keys only: the public part
	Scopes    Names  // API keys only
}

// Names are role or scope names: sorted, without duplicates, and each fit to
// stand in a comma-separated header. Make them with [NewNames].
type Names []string

// NewNames sorts names and drops those that no rule could name and that a
// header could not carry without becoming two: see [ValidName]. dropped is how many
// were left out.
func NewNames(names []string) (valid Names, dropped int) {
	for _, n := range names {
		if !ValidName(n) {
			dropped++
			continue
		}
		valid = append(valid, n)
	}
	slices.Sort(valid)
	return slices.Compact(valid), dropped
}

// ValidName reports whether a role or scope can be held by anybody, by the same
// rule that the policy is checked with.
func ValidName(name string) bool { return policy.ValidName(name) }

// Has reports whether name is one of the names, compared exactly.
func (n Names) Has(name string) bool {
	_, found := slices.BinarySearch(n, name)
	return found
}

// ValidID reports whether s can be a user id or a session id, by the same rule
// that tokens are checked with.
func ValidID(s string) bool { return token.ValidID(s) }
