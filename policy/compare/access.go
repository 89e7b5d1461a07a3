package compare

import (
	"net/netip"
	"slices"
	"strings"

	"warder/policy"
	"warder/policy/pattern"
)

// A Who is a kind of requests, distinguished by the credential that they carry.
type Who uint8

const (
	// WhoAnybody is every request, with or without credentials.
	WhoAnybody Who = iota
	// WhoNoCredential is requests without a credential of a kind that the route accepts.
	WhoNoCredential
	// WhoUsers is signed-in users with the roles of one of Sets.
	WhoUsers
	// WhoAPIKeys is API keys with the scopes of one of Sets.
	WhoAPIKeys
	// WhoBadToken and WhoBadKey are requests with an invalid token or API key, of a kind that
	// only the route of the other policy verifies.
	WhoBadToken
	WhoBadKey
	// WhoBoth is requests that carry both a token and an API key.
	WhoBoth
	// WhoPreflight is CORS preflights of Origins.
	WhoPreflight
	// WhoPasses is the requests that pass the route but do not pass a gate of the other
	// policy's route: its addresses, principals, path forms or condition.
	WhoPasses
)

// An Access is a set of requests to one route that gained or lost access.
type Access struct {
	Who Who
	// Sets are sets of roles or scopes, each of which suffices. An empty set stands for
	// everybody of the kind.
	Sets [][]string
	// Admin says that users with the admin role are included.
	Admin bool
	// Origins are the origins of the preflights.
	Origins []string

	// From, Through, Forms and When say what differs, for WhoPasses and WhoPreflight. At most
	// one of them is set.
	From    *Addresses
	Through *Peers
	Forms   pattern.Forms
	// When says that the conditions differ, so that there may be requests for which the
	// condition of the route is true and that of the other route is not.
	When bool
}

// Addresses are client addresses.
type Addresses struct {
	Prefixes []netip.Prefix
	// Unlisted says that these are all addresses that the lists of the other policy leave
	// out, and requests whose address is unknown.
	Unlisted bool
}

// Peers are mTLS principals, by their patterns.
type Peers struct {
	Patterns []string
	// Unlisted says that these are all principals that the list of the other policy leaves
	// out, and connections without a principal.
	Unlisted bool
}

// A side is how one policy decides a cell. Without a route nobody passes.
type side struct {
	route     *policy.Route
	adminRole string
}

// enforced returns the side with the rules of the route that are enforced. Of a route in
// shadow, only the forms of its paths are, and everybody passes.
func (s side) enforced() side {
	if s.route != nil && s.route.Shadow {
		s.route = &policy.Route{ID: s.route.ID, Public: true, Origins: s.route.Origins, PathAllows: s.route.PathAllows}
	}
	return s
}

// gains returns what gainsWith does for paths that may have every form, or only those of the
// cell's example.
func gains(from, to side, free bool) []Access {
	if free {
		return gainsWith(from, to, everyForm)
	}
	return gainsWith(from, to, 0)
}

// gainsWith returns the accesses that pass one side and do not pass the other, for the same
// requests. It is the one place where the fields of routes are compared. free are the forms
// that the paths may have, apart from those of the cell's example.
//
// A request passes a route if it passes each of its gates (address, peer, path form,
// credential, condition). Every access that is gained is therefore gained at one of them.
func gainsWith(from, to side, free pattern.Forms) []Access {
	switch {
	case to.route == nil:
		return nil
	case from.route == nil:
		return ways(to)
	}
	gained := gainedCredentials(from, to)
	if from.route.Condition != nil && (!from.route.Condition.SameAs(to.route.Condition) || asksOthers(from.route, to.route)) {
		gained = append(gained, Access{Who: WhoPasses, When: true})
	}
	return append(gained, gainedGates(from.route, to.route, free)...)
}

// asksOthers reports whether the same condition may now be asked about another principal:
// a credential that was ignored, so that the request was anonymous, is now verified.
func asksOthers(from, to *policy.Route) bool {
	return from.Anonymous && (from.User == nil && to.User != nil || from.APIKey == nil && to.APIKey != nil)
}

// gainedGates compares the gates other than credential and condition.
func gainedGates(from, to *policy.Route, free pattern.Forms) (gained []Access) {
	if a := addressesBeyond(from.ClientIPs, to.ClientIPs); a != nil {
		gained = append(gained, Access{Who: WhoPasses, From: a})
	}
	if p := peersBeyond(from.Principals, to.Principals); p != nil {
		gained = append(gained, Access{Who: WhoPasses, Through: p})
	}
	if f := to.PathAllows &^ from.PathAllows & free; f != 0 {
		gained = append(gained, Access{Who: WhoPasses, Forms: f})
	}
	return gained
}

// ways returns everybody who passes a route, by credential.
func ways(to side) (all []Access) {
	r := to.route
	if open(r) {
		return []Access{{Who: WhoAnybody}}
	}
	if r.Anonymous {
		all = append(all, Access{Who: WhoNoCredential})
	}
	if r.User != nil {
		sets, admin := to.roleSets()
		all = append(all, Access{Who: WhoUsers, Sets: sets, Admin: admin})
	}
	if r.APIKey != nil {
		all = append(all, Access{Who: WhoAPIKeys, Sets: scopeSets(r.APIKey)})
	}
	return all
}

// open reports whether the route verifies no credential and needs none.
func open(r *policy.Route) bool {
	return r.Public || r.Anonymous && r.User == nil && r.APIKey == nil
}

func gainedCredentials(from, to side) (gained []Access) {
	f, t := from.route, to.route
	switch {
	case open(f):
		return nil
	case open(t):
		return []Access{{Who: WhoAnybody}}
	}
	if t.Anonymous && !f.Anonymous {
		gained = append(gained, Access{Who: WhoNoCredential})
	}
	if t.User != nil {
		if a := gainedUsers(from, to); len(a.Sets) > 0 || a.Admin {
			gained = append(gained, a)
		}
	}
	if t.APIKey != nil {
		if a := gainedKeys(f, t); len(a.Sets) > 0 {
			gained = append(gained, a)
		}
	}
	// A credential that the route does not accept is ignored; one that it accepts must be valid.
	if f.Anonymous && f.User != nil && t.User == nil && (t.Anonymous || f.APIKey == nil) {
		gained = append(gained, Access{Who: WhoBadToken})
	}
	if f.Anonymous && f.APIKey != nil && t.APIKey == nil && (t.Anonymous || f.User == nil) {
		gained = append(gained, Access{Who: WhoBadKey})
	}
	if f.User != nil && f.APIKey != nil && (t.User == nil || t.APIKey == nil) {
		gained = append(gained, Access{Who: WhoBoth})
	}
	return gained
}

// gainedUsers compares the rules by the smallest sets of roles that pass them. Users with
// more roles pass too, so that the sets that the other side refuses are all that is gained.
func gainedUsers(from, to side) Access {
	a := Access{Who: WhoUsers}
	if from.route.User == nil && from.route.Anonymous {
		return a // tokens were ignored
	}
	sets, admin := to.roleSets()
	for _, set := range sets {
		if !from.takesRoles(set) {
			a.Sets = append(a.Sets, set)
		}
	}
	a.Admin = admin && !from.takesRoles([]string{to.adminRole})
	return a
}

func gainedKeys(from, to *policy.Route) Access {
	a := Access{Who: WhoAPIKeys}
	if from.APIKey == nil && from.Anonymous {
		return a // keys were ignored
	}
	for _, set := range scopeSets(to.APIKey) {
		if from.APIKey == nil || !containsSet(scopeSets(from.APIKey), set) {
			a.Sets = append(a.Sets, set)
		}
	}
	return a
}

// roleSets returns the smallest sets of roles with which a user passes. admin says that the
// admin role passes too; the sets are then those without it.
func (s side) roleSets() (sets [][]string, admin bool) {
	u := s.route.User
	sets = leastSets(u.AllRoles, u.Roles)
	if s.adminRole == "" || containsSet(sets, nil) {
		return sets, false
	}
	sets = slices.DeleteFunc(sets, func(set []string) bool { return slices.Contains(set, s.adminRole) })
	return sets, true
}

func (s side) takesRoles(held []string) bool {
	if s.route.User == nil {
		return false
	}
	sets, admin := s.roleSets()
	return admin && slices.Contains(held, s.adminRole) || containsSet(sets, held)
}

func scopeSets(k *policy.APIKeyRule) [][]string { return leastSets(k.Scopes, k.AnyScopes) }

// leastSets returns the smallest sets that contain all names of one list and at least one of
// the other.
func leastSets(all, anyOf []string) [][]string {
	base := slices.Sorted(slices.Values(all))
	if len(anyOf) == 0 || slices.ContainsFunc(anyOf, func(name string) bool { return slices.Contains(all, name) }) {
		return [][]string{base}
	}
	var sets [][]string
	for _, name := range slices.Sorted(slices.Values(anyOf)) {
		sets = append(sets, append([]string{name}, base...))
	}
	return sets
}

// containsSet reports whether held contains one of the sets.
func containsSet(sets [][]string, held []string) bool {
	return slices.ContainsFunc(sets, func(set []string) bool {
		return !slices.ContainsFunc(set, func(name string) bool { return !slices.Contains(held, name) })
	})
}

// addressesBeyond returns the addresses of one set that the other lacks, or nil if there are
// none. A nil set contains every address.
func addressesBeyond(from, to *policy.IPSet) *Addresses {
	switch {
	case from == nil:
		return nil
	case to == nil:
		return &Addresses{Prefixes: subtract(everywhere(), from.Prefixes()), Unlisted: true}
	}
	if rest := subtract(to.Prefixes(), from.Prefixes()); len(rest) > 0 {
		return &Addresses{Prefixes: rest}
	}
	return nil
}

func everywhere() []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
}

// subtract returns the networks that make up a without b, sorted.
func subtract(a, b []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for i, p := range a {
		twice := slices.ContainsFunc(a[:i], func(q netip.Prefix) bool { return covered(p, q) }) ||
			slices.ContainsFunc(a[i+1:], func(q netip.Prefix) bool { return covered(p, q) && p != q })
		if !twice {
			out = append(out, without(p, b)...)
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}

// without halves a network until each part is either completely inside or outside of b, and
// returns the parts outside.
func without(p netip.Prefix, b []netip.Prefix) []netip.Prefix {
	var inside []netip.Prefix
	for _, q := range b {
		if covered(p, q) {
			return nil
		}
		if q.Overlaps(p) {
			inside = append(inside, q)
		}
	}
	if len(inside) == 0 {
		return []netip.Prefix{p}
	}
	low := netip.PrefixFrom(p.Addr(), p.Bits()+1)
	upper := p.Addr().AsSlice()
	upper[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	start, _ := netip.AddrFromSlice(upper)
	return append(without(low, inside), without(netip.PrefixFrom(start, p.Bits()+1), inside)...)
}

// covered reports whether q contains all of p.
func covered(p, q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Overlaps(p) }

// peersBeyond returns the principals of one list that the other lacks, or nil if there are
// none. A nil list contains every principal.
func peersBeyond(from, to *policy.PrincipalSet) *Peers {
	switch {
	case from == nil:
		return nil
	case to == nil:
		return &Peers{Unlisted: true}
	}
	var patterns []string
	for _, p := range to.Patterns() {
		if !slices.Contains(from.Patterns(), p) && (strings.HasSuffix(p, "*") || !from.Contains(p)) {
			patterns = append(patterns, p)
		}
	}
	if len(patterns) == 0 {
		return nil
	}
	slices.Sort(patterns)
	return &Peers{Patterns: patterns}
}

// allOrigins returns the origins of both routes, sorted.
func allOrigins(routes ...*policy.Route) []string {
	var all []string
	for _, r := range routes {
		if r != nil && r.Origins != nil {
			all = append(all, r.Origins.Origins()...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
