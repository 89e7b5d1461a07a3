package policy

import (
	"net/netip"
	"slices"

	"warder/policy/condition"
	"warder/policy/pattern"
	"warder/policy/strict"
)

// A Policy is a compiled set of routes. It is immutable, so that any number of requests may use
// it while another policy replaces it.
type Policy struct {
	adminRole string
	routes    []*Route
	byID      map[string]*Route
	hash      string
	warnings  []Problem
	matcher   matcher
	denials   *Denials
	// table makes the compiled table at its first call. Only people ask for it, and it is as
	// large as the rest of the policy.
	table func() []Entry
}

// Denials returns how denials of requests that no route matches are written, or nil.
func (p *Policy) Denials() *Denials { return p.denials }

// AdminRole returns the role that passes every role check, or "" if there is none.
func (p *Policy) AdminRole() string { return p.adminRole }

// Routes returns the routes in the order of the files. The caller must not change them.
func (p *Policy) Routes() []*Route { return p.routes }

// Route returns the route with an id, or nil if there is none. It serves proxies that choose
// the route of a request themselves.
func (p *Policy) Route(id string) *Route { return p.byID[id] }

// Hash returns the SHA-256 of the names and contents of the policy's files, in hexadecimal.
func (p *Policy) Hash() string { return p.hash }

// Warnings returns warnings about what is valid but probably not meant, sorted by position.
func (p *Policy) Warnings() []Problem { return p.warnings }

// A Route is one compiled route of the policy. Either Public is set, or at least one of User,
// APIKey and Anonymous.
type Route struct {
	ID       string
	Position Position

	// Methods are the listed methods. If it is nil, the route matches the usual ones.
	Methods []string

	// Public allows every request. Credentials are not verified.
	Public bool
	// User, if not nil, allows signed-in users, who present a bearer token.
	User *UserRule
	// APIKey, if not nil, allows API keys.
	APIKey *APIKeyRule
	// Anonymous allows requests without a credential.
	Anonymous bool

	// TokenQuery allows the token to be in a query parameter, and APIKeyQuery the API key, if
	// the configuration names a parameter for it.
	TokenQuery, APIKeyQuery bool

	// ClientIPs, if not nil, are the client addresses that the route allows.
	ClientIPs *IPSet
	// Principals, if not nil, are the mTLS principals of the peers that the route allows.
	Principals *PrincipalSet
	// Origins, if not nil, are the origins of the browser applications that may send
	// preflights and read denials.
	Origins *OriginSet
	// Denials, if not nil, are how denials are written.
	Denials *Denials
	// Condition, if not nil, must be true for the request and the verified principal.
	Condition *condition.Condition
	// PathAllows are the ambiguous spellings of a path that the route accepts.
	PathAllows pattern.Forms
	// Shadow says that decisions are logged and counted, but denials are not enforced.
	Shadow bool

	written written
}

// Takes reports whether the route matches a method: it is listed, or it is HEAD and GET is
// listed, or no method is listed and it is one of the usual ones.
func (r *Route) Takes(method string) bool {
	if r.Methods == nil {
		return slices.Contains(absentMethods, method)
	}
	return r.lists(method) || method == "HEAD" && r.lists("GET")
}

// lists reports whether the route lists the method.
func (r *Route) lists(method string) bool { return slices.Contains(r.Methods, method) }

// A UserRule says which signed-in users the route allows. The zero UserRule allows all.
type UserRule struct {
	Roles    []string // at least one of these, if there are any
	AllRoles []string // and all of these
}

// An APIKeyRule says which API keys the route allows. The zero APIKeyRule allows all.
type APIKeyRule struct {
	Scopes    []string // all of these
	AnyScopes []string // and at least one of these, if there are any
}

// An IPSet is the union of the ip_lists and networks that a route names. An empty set contains
// no address. Contains must not be called on nil.
type IPSet struct {
	names     []string
	prefixes  []netip.Prefix
	everybody bool // one of the lists contains every address, which has its own warning
}

// Contains reports whether one of the lists contains an address. None contains the zero Addr,
// an address with a zone, or an IPv4-mapped IPv6 address.
func (s *IPSet) Contains(addr netip.Addr) bool {
	return slices.ContainsFunc(s.prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// Names returns the ip_lists and networks that the route names.
func (s *IPSet) Names() []string { return s.names }

// Prefixes returns the networks of the set.
func (s *IPSet) Prefixes() []netip.Prefix { return s.prefixes }

// The problems of a policy, with their places. Problems is the error of [Load] and [Parse].
type (
	Position = strict.Position
	Problem  = strict.Problem
	Problems = strict.Problems
)
