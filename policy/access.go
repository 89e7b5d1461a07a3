package policy

import (
	"maps"
	"net/netip"
	"slices"

	"warder/policy/pattern"
)

// A Who is a kind of requests, by the credential that they carry.
type Who uint8

const (
	// WhoAnybody is every request, whatever it carries.
	WhoAnybody Who = iota
	// WhoNoCredential is requests without any credential that the route looks at.
	WhoNoCredential
	// WhoUsers is signed-in users with the roles of one of Sets.
	WhoUsers
	// WhoAPIKeys is API keys with the scopes of one of Sets.
	WhoAPIKeys
	// WhoBadToken and WhoBadKey are requests with a token or an API key that the other
	// policy's route looks at and refuses.
	WhoBadToken
	WhoBadKey
	// WhoBoth is requests that carry a token and an API key at once.
	WhoBoth
	// WhoPreflight is CORS preflights of Origins.
	WhoPreflight
	// WhoPasses is all that the route lets pass, from where the other one does not.
	WhoPasses
)

// An Access is a set of requests to one route that gained or lost access.
type Access struct {
	Who Who
	// Sets are of roles or scopes: each of them is enough. An empty one is anybody of the kind.
	Sets [][]string
	// Admin: those with the admin role are among the users.
	Admin bool
	// Origins are those of preflights.
	Origins []string

	// From, Through, Forms and When say what is new, with WhoPasses: one of them.
	From    *Addresses
	Through *Peers
	Forms   pattern.Forms
	// When: those for whom the route's condition is true and the other route's is not, when
	// there are any.
	When bool
}

// Addresses are client addresses.
type Addresses struct {
	Prefixes []netip.Prefix
	// Unlisted: all that the other policy's lists leave out, requests whose address is not
	// known among them.
	Unlisted bool
}

// Peers are principals by their patterns.
type Peers struct {
	Patterns []string
	// Unlisted: all that the other policy's list leaves out, connections without a principal
	// among them.
	Unlisted bool
}

// A side is one policy's answer for a cell. Without a route nobody passes.
type side struct {
	route     *Route
	adminRole string
}

// enforced returns a side with what of the route is enforced. In shadow only the forms of a
// path are, and everybody passes.
func (s side) enforced() side {
	if s.route != nil && s.route.Shadow {
		s.route = &Route{ID: s.route.ID, Public: true, Origins: s.route.Origins, PathAllows: s.route.PathAllows}
	}
	return s
}

// gains returns what passes to and does not pass from, where both are for the same
// requests. This is the one place where the fields of routes are compared.
//
// A request passes a route when it passes each of its gates (address, peer, path
// form, credential), so that what is gained is what one of the gates gained.
func gains(from, to side, free bool) []Access {
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

// asksOthers reports whether one condition may be asked about somebody else: who passed
// as nobody, whatever they carried, is looked at now.
func asksOthers(from, to *Route) bool {
	return from.Anonymous && (from.User == nil && to.User != nil || from.APIKey == nil && to.APIKey != nil)
}

// gainedGates compares all but the credential.
func gainedGates(from, to *Route, free bool) (gained []Access) {
	if a := addressesBeyond(from.ClientIPs, to.ClientIPs); a != nil {
		gained = append(gained, Access{Who: WhoPasses, From: a})
	}
	if p := peersBeyond(from.Principals, to.Principals); p != nil {
		gained = append(gained, Access{Who: WhoPasses, Through: p})
	}
	if f := to.PathAllows &^ from.PathAllows; f != 0 && free {
		gained = append(gained, Access{Who: WhoPasses, Forms: f})
	}
	return gained
}

// ways returns all who pass a route, by their credential.
func ways(to side) (all []Access) {
	r := to.route
	if r.open() {
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

// open reports whether no credential is looked at and none is needed.
func (r *Route) open() bool {
	return r.Public || r.Anonymous && r.User == nil && r.APIKey == nil
}

func gainedCredentials(from, to side) (gained []Access) {
	f, t := from.route, to.route
	switch {
	case f.open():
		return nil
	case t.open():
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
	// What is not looked at does no harm, and what is looked at must be good.
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

// gainedUsers compares the rules by the least sets of roles that pass them: who holds
// more roles passes too, so that a set that is refused shows all that is gained.
func gainedUsers(from, to side) Access {
	a := Access{Who: WhoUsers}
	if from.route.User == nil && from.route.Anonymous {
		return a // no token was looked at
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

func gainedKeys(from, to *Route) Access {
	a := Access{Who: WhoAPIKeys}
	if from.APIKey == nil && from.Anonymous {
		return a // no key was looked at
	}
	for _, set := range scopeSets(to.APIKey) {
		if from.APIKey == nil || !containsSet(scopeSets(from.APIKey), set) {
			a.Sets = append(a.Sets, set)
		}
	}
	return a
}

// roleSets returns the least sets of roles that a user passes with. The admin role, where
// it makes a difference, is told apart.
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

func scopeSets(k *APIKeyRule) [][]string { return leastSets(k.Scopes, k.AnyScopes) }

// leastSets returns the sets that are enough where all of the one list and any of the
// other are wanted.
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

// containsSet reports whether one of the sets is part of what is held.
func containsSet(sets [][]string, held []string) bool {
	return slices.ContainsFunc(sets, func(set []string) bool {
		return !slices.ContainsFunc(set, func(name string) bool { return !slices.Contains(held, name) })
	})
}

// addressesBeyond returns what the one set has and the other has not; nil for nothing.
func addressesBeyond(from, to *IPSet) *Addresses {
	switch {
	case from == nil:
		return nil
	case to == nil:
		return &Addresses{Prefixes: subtract(everywhere(), from.prefixes), Unlisted: true}
	}
	if rest := subtract(to.prefixes, from.prefixes); len(rest) > 0 {
		return &Addresses{Prefixes: rest}
	}
	return nil
}

func everywhere() []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
}

// subtract returns the networks that make up what is in a and not in b, sorted.
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

// without cuts a network in halves until each is in b as a whole or not at all.
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

// covered reports whether all of p is in q.
func covered(p, q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Overlaps(p) }

// peersBeyond returns what the one list has and the other has not; nil for nothing.
func peersBeyond(from, to *PrincipalSet) *Peers {
	switch {
	case from == nil:
		return nil
	case to == nil:
		return &Peers{Unlisted: true}
	}
	var patterns []string
	for name := range to.exact {
		if !from.Contains(name) {
			patterns = append(patterns, name)
		}
	}
	for before := range to.below {
		if _, same := from.below[before]; !same {
			patterns = append(patterns, before+"*")
		}
	}
	if len(patterns) == 0 {
		return nil
	}
	slices.Sort(patterns)
	return &Peers{Patterns: patterns}
}

// allOrigins returns the origins of both routes, sorted.
func allOrigins(routes ...*Route) []string {
	all := map[string]struct{}{}
	for _, r := range routes {
		if r != nil && r.Origins != nil {
			maps.Copy(all, r.Origins.listed)
		}
	}
	return slices.Sorted(maps.Keys(all))
}
