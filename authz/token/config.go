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
	Keys         []Key         // at least one; a kid selects one, keys without an id or with AnyKID are all tried
	Issuer       string        // required iss; "" accepts any
	Audiences    []string      // at least one must be in aud; empty accepts any
	Leeway       time.Duration // for exp, nbf and iat; 0 to 5 minutes. For nbf and iat, at least 5 seconds
	UserClaim    string        // a top-level claim; "" means sub
	SessionClaim string        // a top-level claim; "" means jti
	RefusedUses  []string      // besides those of the function RefusedUses
	AcceptedUses []string      // not refused, whatever the list says
	// Remember is the size in bytes of a cache of verified tokens. 0 disables the cache. It
	// stores claims, never decisions.
	Remember int
}

// tokenOverhead is the approximate memory for a cached token besides its texts, in bytes.
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
		uses:         newUses(c.RefusedUses, c.AcceptedUses),
	}
	for _, k := range c.Keys {
		if k.ID == AnyKID {
			v.anyKID = append(v.anyKID, k.compile())
			continue
		}
		v.keys[k.ID] = append(v.keys[k.ID], k.compile())
	}
	if c.Remember > 0 {
		v.known = &remembered{byText: otter.Must(&otter.Options[string, verified]{
			MaximumWeight: uint64(c.Remember),
			Weigher: func(token string, found verified) uint32 {
				return uint32(len(token)+len(found.payload)) + tokenOverhead //nolint:gosec // at most twice maxLength
			},
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
		if k.ID != "" && k.ID != AnyKID && first < i {
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
	found = append(found, c.useProblems()...)
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

// useProblems checks the lists of uses.
func (c Config) useProblems() []error {
	var found []error
	for i, text := range c.RefusedUses {
		switch words := meaning(text); {
		case len(words) == 0:
			found = append(found, Misconfigured(fmt.Sprintf("refused_uses[%d]", i), "%q names no kind of token; want a word such as password_reset", text))
		case slices.Contains([]string{"access", "bearer", "at"}, strings.Join(words, " ")):
			found = append(found, Misconfigured(fmt.Sprintf("refused_uses[%d]", i), "%q is what access tokens declare; leave it out", text))
		}
	}
	for i, text := range c.AcceptedUses {
		at := fmt.Sprintf("accepted_uses[%d]", i)
		switch {
		case len(meaning(text)) == 0:
			found = append(found, Misconfigured(at, "%q names no kind of token; want a word such as mfa", text))
		case slices.ContainsFunc(c.RefusedUses, func(refused string) bool { return slices.Equal(meaning(refused), meaning(text)) }):
			found = append(found, Misconfigured(at, "%q is also in refused_uses; want it in one of the two", text))
		}
	}
	return found
}
