package policy

import (
	"net/netip"
	"slices"

	"warder/policy/condition"
	"warder/policy/pattern"
	"warder/policy/strict"
)

// A Policy is a compiled set of routes. It is immutable, so that any number of
// requests may read it while another one is swapped in beside it.
type Policy struct {
	adminRole string
	routes    []*Route
	byID      map[string]*Route
	hash      string
	warnings  []Problem
	matcher   matcher
	table     []Entry
}

// AdminRole returns the role that passes every role check, or "" when none does.
func (p *Policy) AdminRole() string { return p.adminRole }

// Routes returns the routes in the order of the files. The caller must not
// change them.
func (p *Policy) Routes() []*Route { return p.routes }

// Route returns the route of that id, or nil when there is none: for a proxy that
// chooses by itself which route a request is for.
func (p *Policy) Route(id string) *Route { return p.byID[id] }

// Hash returns the hex SHA-256 of the policy's files: the same bytes, the same hash.
func (p *Policy) Hash() string { return p.hash }

// Warnings returns what is allowed but probably not meant, sorted by position.
func (p *Policy) Warnings() []Problem { return p.warnings }

// A Route is one entry of the policy, ready to be looked at by a request.
// Exactly one of Public and the three ways in (User, APIKey, Anonymous) is set.
type Route struct {
	ID       string
	Position Position

	// Methods are those that the route lists; nil when it takes the default ones.
	Methods []string

	// Public: no credential is needed and none is looked at.
	Public bool
	// User, when not nil, accepts a bearer token that proves a signed-in user.
	User *UserRule
	// APIKey, when not nil, accepts an API key.
	APIKey *APIKeyRule
	// Anonymous lets a request without any credential through.
	Anonymous bool

	// ClientIPs, when not nil, lists who may come at all.
	ClientIPs *IPSet
	// Principals, when not nil, lists whose connections may come at all, by the
	// name in the client certificate.
	Principals *PrincipalSet
	// Origins, when not nil, lists the browser applications that may send
	// preflights and read denials.
	Origins *OriginSet
	// Condition, when not nil, must be true of the request and of who was proven.
	Condition *condition.Condition
	// PathAllows are the ambiguous spellings that this route accepts in a path.
	PathAllows pattern.Forms
	// Shadow: what the route decides is to be logged and counted, and a denial is not
	// to be enforced.
	Shadow bool

	written written
}

// Takes reports whether requests of the method can be for the route, wherever they
// go: it is listed, or GET stands for HEAD, or nothing is listed and it is one of the
// default ones.
func (r *Route) Takes(method string) bool {
	if r.Methods == nil {
		return slices.Contains(absentMethods, method)
	}
	return r.lists(method) || method == "HEAD" && r.lists("GET")
}

// lists reports whether the method stands in the route's own list.
func (r *Route) lists(method string) bool { return slices.Contains(r.Methods, method) }

// A UserRule says which signed-in users may pass. The zero rule means any.
type UserRule struct {
	Roles    []string // at least one of these, when not empty
	AllRoles []string // and every one of these
}

// An APIKeyRule says which API keys may pass. The zero rule means any valid key.
type APIKeyRule struct {
	Scopes    []string // every one of these
	AnyScopes []string // and at least one of these, when not empty
}

// An IPSet is the union of the ip_lists and networks that a route names. The nil set is
// never asked; an empty one contains nobody.
type IPSet struct {
	names     []string
	prefixes  []netip.Prefix
	everybody bool // one of the lists holds every address, and has a warning of its own
}

// Contains reports whether addr is in one of the lists. The zero Addr, an
// address with a zone and a 4-in-6 address that was not unmapped are in none.
func (s *IPSet) Contains(addr netip.Addr) bool {
	return slices.ContainsFunc(s.prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// Names returns the ip_lists that make up the set.
func (s *IPSet) Names() []string { return s.names }

// Prefixes returns the networks of the set.
func (s *IPSet) Prefixes() []netip.Prefix { return s.prefixes }

// What is wrong with a policy, by place: Problems is the error that [Load] and [Parse] return.
type (
	Position = strict.Position
	Problem  = strict.Problem
	Problems = strict.Problems
)
