package token

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"warder/authz/cache"
)

// maxLeeway is the greatest leeway.
const maxLeeway = 5 * time.Minute

// Config configures a [Verifier]: the rules of all tokens, the keys of its own issuer, and
// further issuers.
//
// The claims named by UserClaim and, unless SessionOptional is set, SessionClaim are required. They must be strings that
// satisfy [ValidID], or non-negative integers, which are converted to their decimal digits.
// A sub or jti claim that is named by neither must be a string if it is present (RFC 7519).
//
// With Issuers, the claim iss selects whose keys a token may be signed with. A token whose iss
// none of them has is one of the Config's own keys; without such keys it is refused.
type Config struct {
	Keys         []Key    // at least one, unless there are Issuers; a kid selects one, keys without an id or with AnyKID are all tried
	Issuer       string   // required iss; "" accepts any that none of Issuers has
	Audiences    []string // at least one must be in aud; empty accepts any
	UserClaim    string   // a claim, or a path such as account.id; "" means sub
	SessionClaim string   // a claim, or a path; "" means jti
	// SessionOptional is for tokens that need not be of a session. One whose session claim is
	// absent, or is a string that is no valid id, is of none.
	SessionOptional bool
	// RolesClaim is a claim, or a path, with the roles of the user, so that a token gives a [User].
	// "" reads none, and Claims.User is nil. ActiveClaim is true for an active user; "" means that
	// every user is active. ValidRole reports whether a name can be a role; RolesClaim needs it.
	RolesClaim, ActiveClaim string
	ValidRole               func(name string) bool
	Attributes              Attributes    // of the principal, from claims
	Issuers                 []Issuer      // with names that differ from each other and from Issuer
	Leeway                  time.Duration // for exp, nbf and iat; 0 to 5 minutes. For nbf and iat, at least 5 seconds
	RefusedUses             []string      // besides those of the function RefusedUses
	AcceptedUses            []string      // not refused, whatever the list says
	// Remember is the size in bytes of a cache of verified tokens. 0 disables the cache. It
	// stores claims, never decisions.
	Remember int
}

// An Issuer is one of several issuers of tokens. No key of one proves a token of another.
type Issuer struct {
	Name      string   // the iss of its tokens
	Keys      []Key    // as in Config
	Audiences []string // as in Config
	// UserClaim and SessionClaim are as in Config; "" means the Config's.
	UserClaim, SessionClaim string
	// RolesClaim and ActiveClaim are as in Config; "" means the Config's.
	RolesClaim, ActiveClaim string
	// NoRoles says that tokens of the issuer give no roles, whatever they claim.
	NoRoles bool
	// Attributes replace the Config's; nil means these.
	Attributes Attributes
	// KeysUnknown says that the keys are not known at the moment. Keys is empty then, and whether
	// a token of the issuer is valid cannot be said: [ErrKeysUnknown].
	KeysUnknown bool
}

// NewVerifier checks the configuration and returns a Verifier. The error joins a
// [*ConfigError] for each problem and contains no secret.
func NewVerifier(c Config) (*Verifier, error) {
	c.UserClaim = cmp.Or(c.UserClaim, "sub")
	c.SessionClaim = cmp.Or(c.SessionClaim, "jti")
	c.Issuers = slices.Clone(c.Issuers)
	for i := range c.Issuers {
		is := &c.Issuers[i]
		is.UserClaim, is.SessionClaim = cmp.Or(is.UserClaim, c.UserClaim), cmp.Or(is.SessionClaim, c.SessionClaim)
		is.RolesClaim, is.ActiveClaim = cmp.Or(is.RolesClaim, c.RolesClaim), cmp.Or(is.ActiveClaim, c.ActiveClaim)
	}
	if err := errors.Join(c.problems()...); err != nil {
		return nil, err
	}
	v := &Verifier{issuers: make(map[string]*issuer, len(c.Issuers)), leeway: c.Leeway, sessionOptional: c.SessionOptional, validRole: c.ValidRole, uses: newUses(c.RefusedUses, c.AcceptedUses)}
	for _, is := range c.Issuers {
		if is.Attributes == nil {
			is.Attributes = c.Attributes
		}
		v.issuers[is.Name] = is.compile()
	}
	if own := c.own(); len(own.Keys) > 0 {
		v.own = own.compile()
	}
	if c.Remember > 0 {
		v.known = &remembered{byHash: cache.New[tokenHash, verified](c.Remember)}
	}
	return v, nil
}

// own returns the issuer of the Config's own keys.
func (c Config) own() Issuer {
	return Issuer{Name: c.Issuer, Keys: c.Keys, Audiences: c.Audiences, UserClaim: c.UserClaim, SessionClaim: c.SessionClaim, RolesClaim: c.RolesClaim, ActiveClaim: c.ActiveClaim, Attributes: c.Attributes}
}

// compile converts an Issuer without problems to an issuer.
func (is Issuer) compile() *issuer {
	out := &issuer{
		name: is.Name, keys: make(map[string][]key, len(is.Keys)), audiences: slices.Clone(is.Audiences),
		userClaim: claimPath(is.UserClaim), sessionClaim: claimPath(is.SessionClaim), keysUnknown: is.KeysUnknown,
		noRoles: is.NoRoles, rolesClaim: claimPath(is.RolesClaim), activeClaim: claimPath(is.ActiveClaim),
		attributes: is.Attributes.compile(),
	}
	for _, k := range is.Keys {
		if k.ID == AnyKID {
			out.anyKID = append(out.anyKID, k.compile())
			continue
		}
		out.keys[k.ID] = append(out.keys[k.ID], k.compile())
	}
	return out
}

func (c Config) problems() []error {
	var found []error
	own := c.own()
	if len(c.Keys) > 0 || len(c.Issuers) == 0 {
		found = append(found, own.keyProblems("")...)
	}
	found = append(found, own.claimProblems("")...)
	if c.Remember < 0 {
		found = append(found, Misconfigured("", "remember is %d bytes; want 0 or more", c.Remember))
	}
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		found = append(found, Misconfigured("leeway", "is %v; want 0s to %v", c.Leeway, maxLeeway))
	}
	if c.RolesClaim != "" && c.ValidRole == nil {
		found = append(found, Misconfigured("", "the roles of tokens need a ValidRole"))
	}
	found = append(found, c.useProblems()...)
	for i, is := range c.Issuers {
		section := fmt.Sprintf("issuers[%d].", i)
		first := slices.IndexFunc(c.Issuers, func(other Issuer) bool { return other.Name == is.Name })
		switch {
		case is.Name == "":
			found = append(found, Misconfigured(section+"issuer", "is empty; want the iss of the issuer's tokens"))
		case first < i:
			found = append(found, Misconfigured(section+"issuer", "%q is also issuers[%d].issuer; want one entry for each issuer, with all of its keys", is.Name, first))
		case is.Name == c.Issuer && len(c.Keys) > 0:
			found = append(found, Misconfigured(section+"issuer", "%q is also the issuer of keys; want all of its keys in one place", is.Name))
		}
		if !is.KeysUnknown {
			found = append(found, is.keyProblems(section)...)
		}
		found = append(found, is.claimProblems(section)...)
	}
	return found
}

func (is Issuer) keyProblems(section string) []error {
	if len(is.Keys) == 0 {
		return []error{Misconfigured(section+"keys", "none is given; want at least one")}
	}
	at := func(i int) string {
		if is.Keys[i].Source != "" {
			return is.Keys[i].Source
		}
		return fmt.Sprintf("%skeys[%d]", section, i)
	}
	var found []error
	for i, k := range is.Keys {
		for _, problem := range k.problems() {
			found = append(found, Misconfigured(at(i), "%v", problem))
		}
		first := slices.IndexFunc(is.Keys, func(other Key) bool { return other.ID == k.ID })
		if k.ID != "" && k.ID != AnyKID && first < i {
			found = append(found, Misconfigured(at(i), "kid %q is also the kid of %s; want a different kid for each key", k.ID, at(first)))
		}
	}
	return found
}

func (is Issuer) claimProblems(section string) []error {
	var found []error
	report := func(field, format string, args ...any) {
		found = append(found, Misconfigured(section+field, format, args...))
	}
	if slices.Contains(is.Audiences, "") {
		report("audiences", "one is empty; want a value of the claim aud")
	}
	for _, claim := range []struct{ field, name string }{
		{"user_claim", is.UserClaim},
		{"session_claim", is.SessionClaim},
		{"roles_claim", is.RolesClaim},
		{"active_claim", is.ActiveClaim},
	} {
		if claim.name == "" {
			continue
		}
		for _, why := range wrongPath(claim.name) {
			report(claim.field, "%s", why)
		}
	}
	// A token with names that differ only in case is rejected.
	if fold(is.UserClaim) == fold(is.SessionClaim) {
		report("session_claim", "is %q, the same as user_claim; want two different claims", is.SessionClaim)
	}
	found = append(found, is.userClaimProblems(section)...)
	return append(found, is.Attributes.problems(section+"attributes")...)
}

// wrongPath returns what is wrong with a path of a claim.
func wrongPath(path string) (found []string) {
	if strings.TrimSpace(path) != path {
		found = append(found, fmt.Sprintf("%q has leading or trailing white space; want the name of a claim", path))
	}
	if slices.Contains(strings.Split(path, "."), "") {
		found = append(found, fmt.Sprintf("%q has no name before or after a dot; want a path such as account.id", path))
	}
	for _, read := range readNames {
		if path != read && fold(path) == fold(read) {
			found = append(found, fmt.Sprintf("%q differs from the claim %q only in case; want %q or another name", path, read, read))
		}
	}
	return found
}

// userClaimProblems checks that the claims that say something about a user have no other meaning.
func (is Issuer) userClaimProblems(section string) []error {
	var found []error
	if is.ActiveClaim != "" && is.RolesClaim == "" {
		found = append(found, Misconfigured(section+"active_claim", "is %q, and there is no roles_claim; want both", is.ActiveClaim))
	}
	others := append(slices.Clip(readNames), is.UserClaim, is.SessionClaim)
	for _, claim := range []struct{ field, name string }{{"roles_claim", is.RolesClaim}, {"active_claim", is.ActiveClaim}} {
		if claim.name != "" && slices.ContainsFunc(others, func(other string) bool { return fold(other) == fold(claim.name) }) {
			found = append(found, Misconfigured(section+claim.field, "is %q, a claim with another meaning; want a claim of its own", claim.name))
		}
		others = append(others, claim.name)
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
