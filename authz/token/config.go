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

// maxLeeway bounds how long a token may live on by the leeway.
const maxLeeway = 5 * time.Minute

// Config says which tokens are accepted.
//
// The claims that UserClaim and SessionClaim name are required: strings as
// [ValidID] wants them, or plain integers, which count as their digits. A sub or
// jti that is named by neither must be a string, if it is there, as RFC 7519 says.
type Config struct {
	Keys         []Key         // at least one; a kid selects one key, those without an id are all tried
	Issuer       string        // "" for any
	Audiences    []string      // at least one must be in aud; empty for any
	Leeway       time.Duration // for exp, nbf and iat; 0 to 5 minutes
	UserClaim    string        // a claim at the top level; "" means sub
	SessionClaim string        // a claim at the top level; "" means jti
	// Remember is how many bytes of good tokens are kept, so that one that comes
	// again costs a look-up; 0 keeps none. It is never more than claims that are
	// kept, never a decision.
	Remember int
}

// tokenOverhead is about what a token that is kept costs beside its text, in bytes.
const tokenOverhead = 300

// NewVerifier checks the configuration; every problem of it is in the error,
// one a line, and no secret.
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
			found = append(found, Misconfigured(fmt.Sprintf("keys[%d]", i), "kid %q is the kid of keys[%d] too; want one key for each", k.ID, first))
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
		report("audiences", "one is empty; want the text that stands in aud")
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
			report(claim.field, "%q has white space at its ends; want the name as it stands in a token", claim.name)
		}
		for _, read := range readNames {
			if claim.name != read && fold(claim.name) == fold(read) {
				report(claim.field, "%q differs from the claim %q in case only; want %q or another name", claim.name, read, read)
			}
		}
	}
	// Names that differ in case only could not stand in one token.
	if fold(c.UserClaim) == fold(c.SessionClaim) {
		report("session_claim", "is %q, as user_claim is; want two different claims", c.SessionClaim)
	}
	return found
}
