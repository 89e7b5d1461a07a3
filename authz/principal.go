package authz

import (
	"slices"

	"warder/authz/attribute"
	"warder/authz/token"
	"warder/policy"
)

// An AuthMethod is how a principal was authenticated.
type AuthMethod uint8

const (
	MethodNone AuthMethod = iota
	MethodSession
	MethodAPIKey
	MethodAnonymous
)

// String returns the name used in headers, logs and metadata, or "" for MethodNone.
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

// reason returns the reason for allowing a principal of this method.
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
	UserID    string // for an API key, its owner; "" when it has none
	SessionID string // sessions only
	Roles     Names  // sessions only; an API key does not inherit its owner's roles
	KeyPrefix string // API keys only: the public prefix
	Scopes    Names  // API keys only
	// Attributes are those of the user's row and, where the row has no such column, of the token's
	// claims; or those of the API key's row.
	Attributes attribute.Set
}

// Names are role or scope names, sorted and without duplicates. Each can be part of a
// comma-separated header value. Use [NewNames] to make them.
type Names []string

// NewNames returns the valid names, sorted and without duplicates, and the number of
// names that it dropped because they are not valid. See [ValidName].
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

// ValidName reports whether name can be a role or a scope. The policy is checked with
// the same rule.
func ValidName(name string) bool { return policy.ValidName(name) }

// Has reports whether n contains name. The comparison is exact.
func (n Names) Has(name string) bool {
	_, found := slices.BinarySearch(n, name)
	return found
}

// ValidID reports whether s can be a user id or a session id. Tokens are checked with
// the same rule.
func ValidID(s string) bool { return token.ValidID(s) }
