package token

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"
)

// maxLeeway is the greatest leeway.
const maxLeeway = 5 * time.Minute

// Config configures a [Verifier].
//
// The claims named by UserClaim and SessionClaim are required. They must be strings that
// satisfy [ValidID], or non-negative integers, which are converted to their decimal digits.
// A sub or jti claim that is named by neither must be a string if it is present (RFC 7519).
type Config struct {
	Keys         []Key         // at least one; a kid selects one, keys without an id are all tried
	Issuer       string        // required iss; "" accepts any
	Audiences    []string      // at least one must be in aud; empty accepts any
	Leeway       time.Duration // for exp, nbf and iat; 0 to 5 minutes
	UserClaim    string        // a top-level claim; "" means sub
	SessionClaim string        // a top-level claim; "" means jti
	// Remember is the size in bytes of a cache of verified tokens. 0 disables the cache. It
	// stores claims, never decisions.
	Remember int
}

// tokenOverhead is the approximate memory for a cached token besides its text, in bytes.
const tokenOverhead = 300

// NewVerifier checks the configuration and returns a Verifier. The error joins a
// [*ConfigError] for each problem and contains no secret.
func NewVerifier(c Config) (*Verifier, error) {
	c.UserClaim = cmp.Or(c.UserClaim, "sub")
	c.SessionClaim = cmp.Or(c.SessionClaim, "jti")
	if err := errors.Join(append(c.keyProblems(), c.claimProblems()...)...); err != nil {
		return nil, err
	}
	v := &Verifier{
		keys:         make(map[string][]key, len(c.Keys)),
		issuer:       c.Issuer,
		audiences:    slices.Clone(c.Audiences),
		leeway:       c.Leeway,
		userClaim:    c.UserClaim,
		sessionClaim: c.SessionClaim,
	}
	for _, k := range c.Keys {
		v.keys[k.ID] = append(v.keys[k.ID], k.compile())
	}
	if c.Remember > 0 {
		v.known = &remembered{byText: otter.Must(&otter.Options[string, verified]{
			MaximumWeight: uint64(c.Remember),
			Weigher:       func(token string, _ verified) uint32 { return uint32(len(token)) + tokenOverhead }, //nolint:gosec // at most maxLength
		})}
	}
	return v, nil
}

func (c Config) keyProblems() []error {
	if len(c.Keys) == 0 {
		return []error{Misconfigured("keys", "none is given; want at least one")}
	}
	var found []error
	for i, k := range c.Keys {
		for _, problem := range k.problems() {
			found = append(found, Misconfigured(fmt.Sprintf("keys[%d]", i), "%v", problem))
		}
		first := slices.IndexFunc(c.Keys, func(other Key) bool { return other.ID == k.ID })
		if k.ID != "" && first < i {
			found = append(found, Misconfigured(fmt.Sprintf("keys[%d]", i), "kid %q is also the kid of keys[%d]; want a different kid for each key", k.ID, first))
		}
	}
	return found
}

func (c Config) claimProblems() []error {
	var found []error
	report := func(field, format string, args ...any) {
		found = append(found, Misconfigured(field, format, args...))
	}
	if slices.Contains(c.Audiences, "") {
		report("audiences", "one is empty; want a value of the claim aud")
	}
	if c.Remember < 0 {
		report("", "remember is %d bytes; want 0 or more", c.Remember)
	}
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		report("leeway", "is %v; want 0s to %v", c.Leeway, maxLeeway)
	}
	for _, claim := range []struct{ field, name string }{
		{"user_claim", c.UserClaim},
		{"session_claim", c.SessionClaim},
	} {
		if strings.TrimSpace(claim.name) != claim.name {
			report(claim.field, "%q has leading or trailing white space; want the name of a claim", claim.name)
		}
		for _, read := range readNames {
			if claim.name != read && fold(claim.name) == fold(read) {
				report(claim.field, "%q differs from the claim %q only in case; want %q or another name", claim.name, read, read)
			}
		}
	}
	// A token with names that differ only in case is rejected.
	if fold(c.UserClaim) == fold(c.SessionClaim) {
		report("session_claim", "is %q, the same as user_claim; want two different claims", c.SessionClaim)
	}
	return found
}
