package compare

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"warder/policy"
	"warder/policy/pattern"
)

// A Diff is what two policies decide differently. It is exact: all requests are divided into
// cells that neither policy tells apart, and each cell is compared.
type Diff struct {
	// Changes are requests that gained or lost access, in the order of the new policy.
	Changes []Change
	// Moved are requests that another route now decides in the same way.
	Moved []Change
	// GoneIDs are ids of routes that no longer exist. A proxy that chooses a route by one of
	// them is denied.
	GoneIDs []string
	// OtherIDs are ids of routes that now let other requests pass, although no change says
	// so. They matter only to a proxy that chooses routes by id.
	OtherIDs []string
}

// A Change is a set of requests that gained or lost access because another route decides
// them, or because the same route has other rules.
type Change struct {
	Old, New *policy.Route // nil: no route matches them, so that nobody passes
	// OldRefuses and NewRefuses say that the route matches the requests, but refuses an
	// ambiguous form that all of their paths have.
	OldRefuses, NewRefuses bool
	// OldAdmin and NewAdmin are the admin roles of the policies.
	OldAdmin, NewAdmin string

	Places       []Place
	Gained, Lost []Access
}

// A Place is the hosts, methods and paths of one change.
type Place struct {
	Host    string // "" for any
	Methods []string
	Path    string // as a policy would write it
	// Partly: some of the requests that the place matches are not part of the change.
	Partly  bool
	Example Example

	pattern     pattern.Pattern
	exampleHost string // the host pattern that the example's host was made for
}

// An Example is a request of a place.
type Example struct{ Method, Host, Path string }

const methodOptions = "OPTIONS"

// A passage is the pair of routes that decide a request before and after.
type passage struct {
	old, new               *policy.Route
	oldRefuses, newRefuses bool // the route refuses a form that the path must have
	// free are the forms that only one of the routes accepts and that some of the paths have,
	// apart from those that all of them have.
	free pattern.Forms
	// origin is that of CORS preflights for the request; "" for the request itself.
	origin string
}

// Policies says which requests gain or lose access when one policy replaces another.
func Policies(before, after *policy.Policy) (Diff, error) {
	tables := [2][]policy.Entry{before.Table(), after.Table()}
	cells, err := cut(false, tables[0], tables[1])
	if err != nil {
		return Diff{}, err
	}
	c := &comparison{before: before, after: after, methods: methodsOf(tables[0], tables[1])}
	for i, table := range tables {
		c.entries[i] = map[*policy.Route][]policy.Entry{}
		for _, e := range table {
			c.entries[i][e.Route] = append(c.entries[i][e.Route], e)
		}
	}
	c.collect(cells)
	return c.diff(), nil
}

// methodsOf returns all methods that the tables distinguish.
func methodsOf(tables ...[]policy.Entry) []string {
	methods := policy.UsualMethods()
	for _, e := range slices.Concat(tables...) {
		for _, m := range e.Methods {
			if !slices.Contains(methods, m) {
				methods = append(methods, m)
			}
		}
	}
	return methods
}

// A comparison collects the passages of all cells.
type comparison struct {
	before, after *policy.Policy
	entries       [2]map[*policy.Route][]policy.Entry
	methods       []string

	cells  []decided
	groups map[passage]map[string]*Place
	order  []passage // of groups
}

// decided is a cell with the passage of each method.
type decided struct {
	cell
	passages []passage
}

func (c *comparison) collect(cells []cell) {
	c.groups = map[passage]map[string]*Place{}
	for _, at := range cells {
		d := decided{at, make([]passage, len(c.methods))}
		for i, method := range c.methods {
			d.passages[i] = passageOf(at, winner(c.before, method, at), winner(c.after, method, at))
			c.put(d.passages[i], method, at)
			c.preflights(d.passages[i], method, at)
		}
		c.cells = append(c.cells, d)
	}
}

// winner returns the route that decides the requests of a cell.
func winner(p *policy.Policy, method string, at cell) *policy.Route {
	return p.Match(method, at.sample.host, at.sample.path)
}

func passageOf(at cell, before, after *policy.Route) passage {
	p := passage{old: before, new: after}
	if before == nil && after == nil {
		return p
	}
	forms := at.sample.path.Forms()
	p.oldRefuses = before != nil && forms&^before.PathAllows != 0
	p.newRefuses = after != nil && forms&^after.PathAllows != 0
	if before != nil && after != nil {
		p.free = at.free() & (before.PathAllows ^ after.PathAllows)
	}
	return p
}

// preflights notes the CORS preflights for a method that another route decides than the
// method itself, or that pass in one of the policies only.
func (c *comparison) preflights(p passage, method string, at cell) {
	for _, origin := range allOrigins(p.old, p.new) {
		before, after := preflightRoute(c.before, origin, method, at), preflightRoute(c.after, origin, method, at)
		if (before == nil) == (after == nil) && before == p.old && after == p.new {
			continue // the change of the request itself covers its preflights
		}
		own := passageOf(at, before, after)
		own.origin = origin
		c.put(own, method, at)
	}
}

// preflightRoute returns the route whose addresses and principals a preflight has to pass, or
// nil if it does not pass at all.
func preflightRoute(p *policy.Policy, origin, method string, at cell) *policy.Route {
	if r := p.Preflight(origin, method, at.sample.host, at.sample.path); r != nil {
		return r
	}
	if r := winner(p, methodOptions, at); r != nil && (r.Public || r.Anonymous || r.Shadow) {
		return r // as for any request without a credential
	}
	return nil
}

// put adds one method of a cell to the place that the cell belongs to.
func (c *comparison) put(p passage, method string, at cell) {
	if p.old == nil && p.new == nil {
		return
	}
	host, both, path := c.place(p, method, at)
	key := host + "\x00" + both.Key()
	places := c.groups[p]
	if places == nil {
		places = map[string]*Place{}
		c.groups[p] = places
		c.order = append(c.order, p)
	}
	place := places[key]
	if place == nil {
		place = &Place{Host: host, Path: path, pattern: both}
		places[key] = place
	}
	if place.Example == (Example{}) || place.exampleHost != host && at.host == host {
		place.Example, place.exampleHost = Example{method, at.sample.host, at.sample.path.Raw()}, at.host
	}
	if !slices.Contains(place.Methods, method) {
		place.Methods = append(place.Methods, method)
	}
}

// place returns the host pattern and the path pattern that both of the winning entries match,
// in which the policies would write the cell.
func (c *comparison) place(p passage, method string, at cell) (host string, both pattern.Pattern, path string) {
	first := true
	for i, r := range []*policy.Route{p.old, p.new} {
		e, found := entryOf(c.entries[i][r], method, p.origin != "", at)
		switch {
		case !found:
		case first:
			host, both, first = e.Host, e.Pattern, false
		default:
			if pattern.CompareHosts(e.Host, host) < 0 {
				host = e.Host
			}
			both = intersection(e.Pattern, both)
		}
	}
	return host, both, both.String()
}

// entryOf returns the entry of a route that matches the requests of a cell.
func entryOf(entries []policy.Entry, method string, preflight bool, at cell) (policy.Entry, bool) {
	for _, e := range entries {
		if e.Takes(method, at.sample.host, at.sample.path) || preflight && e.Takes(methodOptions, at.sample.host, at.sample.path) {
			return e, true
		}
	}
	return policy.Entry{}, false
}

// intersection returns a pattern that matches the paths that both patterns match. Both must
// match some path. Where two mixed segments overlap, it has the more specific one, which may
// match more than the other.
func intersection(p, q pattern.Pattern) pattern.Pattern {
	if len(p.Segments()) < len(q.Segments()) {
		p, q = q, p
	}
	both := slices.Clone(p.Segments())
	for i, s := range q.Segments() {
		if s.Compare(both[i]) < 0 {
			both[i] = s
		}
	}
	return pattern.New(both, p.Rest() && q.Rest())
}

// diff returns the changes that the passages amount to.
func (c *comparison) diff() (d Diff) {
	preflights := map[string]int{} // the index in d.Changes, by key
	for _, p := range c.order {
		change := c.change(p)
		moved := len(change.Gained)+len(change.Lost) == 0
		if moved && (p.origin != "" || p.old == nil || p.new == nil || p.old.ID == p.new.ID) {
			continue
		}
		for _, place := range c.groups[p] {
			place.Partly = c.partly(p, place)
			slices.SortFunc(place.Methods, func(a, b string) int {
				return cmp.Compare(slices.Index(c.methods, a), slices.Index(c.methods, b))
			})
			change.Places = append(change.Places, *place)
		}
		slices.SortFunc(change.Places, comparePlaces)
		switch {
		case moved:
			d.Moved = append(d.Moved, change)
			continue
		case p.origin != "":
			key := change.key()
			if i, same := preflights[key]; same {
				d.Changes[i].addOrigin(p.origin)
				continue
			}
			preflights[key] = len(d.Changes)
		}
		d.Changes = append(d.Changes, change)
	}
	slices.SortStableFunc(d.Changes, compareChanges)
	slices.SortStableFunc(d.Moved, compareChanges)
	c.compareIDs(&d)
	return d
}

// compareIDs compares the routes by id, as a proxy that chooses them by id uses them.
func (c *comparison) compareIDs(d *Diff) {
	for _, before := range c.before.Routes() {
		after := c.after.Route(before.ID)
		if after == nil {
			d.GoneIDs = append(d.GoneIDs, before.ID)
			continue
		}
		known := slices.ContainsFunc(d.Changes, func(change Change) bool { return change.Old == before && change.New == after })
		from, to := side{before, c.before.AdminRole()}.enforced(), side{after, c.after.AdminRole()}.enforced()
		other := len(gains(from, to, true))+len(gains(to, from, true)) > 0 ||
			slices.ContainsFunc(c.methods, func(m string) bool { return before.Takes(m) != after.Takes(m) })
		if other && !known {
			d.OtherIDs = append(d.OtherIDs, before.ID)
		}
	}
}

// key returns a text that changes of preflights have in common if they differ only in their
// origins.
func (change Change) key() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%p %p %v %v %d %d", change.Old, change.New, change.OldRefuses, change.NewRefuses, len(change.Gained), len(change.Lost))
	for _, place := range change.Places {
		fmt.Fprintf(&b, "\n%s %s %q", place.Host, place.pattern.Key(), place.Methods)
	}
	return b.String()
}

func (change Change) addOrigin(origin string) {
	for _, list := range [][]Access{change.Gained, change.Lost} {
		for i := range list {
			list[i].Origins = append(list[i].Origins, origin)
		}
	}
}

func (c *comparison) change(p passage) Change {
	change := Change{Old: p.old, New: p.new, OldRefuses: p.oldRefuses, NewRefuses: p.newRefuses, OldAdmin: c.before.AdminRole(), NewAdmin: c.after.AdminRole()}
	before, after := side{p.old, change.OldAdmin}.enforced(), side{p.new, change.NewAdmin}.enforced()
	if p.oldRefuses {
		before.route = nil
	}
	if p.newRefuses {
		after.route = nil
	}
	if p.origin == "" {
		change.Gained, change.Lost = gainsWith(before, after, p.free), gainsWith(after, before, p.free)
		return change
	}
	change.Gained, change.Lost = gainedPreflights(p, before, after), gainedPreflights(p, after, before)
	return change
}

// gainedPreflights compares everything but credentials, which a preflight does not carry.
func gainedPreflights(p passage, from, to side) []Access {
	switch {
	case to.route == nil:
		return nil
	case from.route == nil:
		return []Access{{Who: WhoPreflight, Origins: []string{p.origin}}}
	}
	gained := gainedGates(from.route, to.route, p.free)
	for i := range gained {
		gained[i].Who, gained[i].Origins = WhoPreflight, []string{p.origin}
	}
	return gained
}

// partly reports whether some of the requests that a place matches have another passage.
func (c *comparison) partly(p passage, place *Place) bool {
	for _, d := range c.cells {
		if !pattern.HostCovers(place.Host, d.host) || !d.takenBy(place.pattern) {
			continue
		}
		for i, method := range c.methods {
			if slices.Contains(place.Methods, method) && p.origin == "" && d.passages[i] != p {
				return true
			}
		}
	}
	return false
}

func comparePlaces(a, b Place) int {
	return cmp.Or(pattern.CompareHosts(a.Host, b.Host), a.pattern.Compare(b.pattern), slices.Compare(a.Methods, b.Methods))
}

func compareChanges(a, b Change) int {
	return cmp.Or(comparePlaces(a.Places[0], b.Places[0]), cmp.Compare(idOf(a.Old), idOf(b.Old)), cmp.Compare(idOf(a.New), idOf(b.New)))
}

func idOf(r *policy.Route) string {
	if r == nil {
		return ""
	}
	return r.ID
}
