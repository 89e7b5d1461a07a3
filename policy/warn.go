package policy

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"warder/policy/pattern"
	"warder/policy/strict"
)

// A linter looks for what is valid but probably not meant. In doubt it does not warn, since
// people stop reading warnings that are wrong.
type linter struct {
	*builder
	policy *Policy
	fields map[*Route]string // as in routes[0]
	admin  *adminRole        // nil if no file sets it
	table  []Entry
	found  Problems
	// said are the pairs of routes with a warning. One warning about a mistake is enough.
	said map[[2]*Route]bool
}

func (c *compiler) lint() Problems {
	l := &linter{builder: c.builder, policy: c.policy, fields: c.fields, admin: c.admin, table: c.policy.sortedTable(), said: map[[2]*Route]bool{}}
	l.unreachable()
	l.publicUnderProtected()
	l.publicBesideList()
	l.unusedAdminRole()
	l.everyAddress()
	l.cutSegments()
	l.shadowed()
	for _, what := range []struct {
		name string
		of   func(*Route) []string
	}{{"role", rolesOf}, {"scope", scopesOf}} {
		l.misspelled(what.name, what.of)
		l.foreignNames(what.name, what.of)
	}
	return l.found
}

func rolesOf(r *Route) []string {
	if r.User == nil {
		return nil
	}
	return slices.Concat(r.User.Roles, r.User.AllRoles)
}

func scopesOf(r *Route) []string {
	if r.APIKey == nil {
		return nil
	}
	return slices.Concat(r.APIKey.Scopes, r.APIKey.AnyScopes)
}

// foreignNames finds names that are words of other products for everybody, patterns or
// expressions. A directory may hold such names all the same.
func (l *linter) foreignNames(what string, names func(*Route) []string) {
	known := map[string]string{} // what is wrong with each name
	for _, r := range l.policy.routes {
		for _, name := range names(r) {
			wrong, seen := known[name]
			if !seen {
				wrong = foreignName(what, name)
				known[name] = wrong
			}
			if wrong != "" && name != l.policy.adminRole {
				l.warn(r, "allow", "%s", wrong)
			}
		}
	}
}

// warn adds a warning about a key of a route, at the position of the route.
func (l *linter) warn(r *Route, key, format string, args ...any) {
	l.found = append(l.found, Problem{Position: r.Position, Field: strict.Join(l.fields[r], key), Message: fmt.Sprintf(format, args...)})
}

func at(r *Route) string { return fmt.Sprintf("%s (%s:%d)", r.ID, r.Position.File, r.Position.Line) }

// unreachable finds routes that win no request. That can happen if other routes list all of
// its methods, or match everything below its **. Literal segments and hosts can never match
// everything that a parameter or a wildcard matches.
func (l *linter) unreachable() {
	reached := map[*Route]bool{}
	for _, e := range l.table {
		n := l.nodes[l.nodeFor(e.Host, e.Pattern)]
		for _, name := range e.allMethods() {
			method := l.methods[name]
			end, rest := l.routeAt(n.end, method).route, l.routeAt(n.rest, method).route
			if l.policy.route(end) == e.Route && !e.Pattern.Rest() ||
				l.policy.route(rest) == e.Route && e.Pattern.Rest() && (end == 0 || !l.takesAll(n.param, method)) {
				reached[e.Route] = true
			}
		}
	}
	for _, r := range l.policy.routes {
		if !reached[r] {
			l.warn(r, "match", "no request can reach this route: others match all of its methods and paths; remove it, or one of them")
		}
	}
}

// takesAll reports whether routes at or below a node match every path at or below it.
func (m *matcher) takesAll(id nodeID, method methodID) bool {
	if id == 0 {
		return false
	}
	n := m.nodes[id]
	return m.routeAt(n.rest, method).route != 0 || m.routeAt(n.end, method).route != 0 && m.takesAll(n.param, method)
}

func (e Entry) allMethods() []string {
	if len(e.Methods) == 0 {
		return absentMethods
	}
	if slices.Contains(e.Methods, "GET") {
		return append([]string{"HEAD"}, e.Methods...)
	}
	return e.Methods
}

// publicUnderProtected finds public routes below the path of a protected one. A single public
// page below paths for signed-in users is common, such as a login page. It warns if the
// protected route requires roles, scopes or an address, if the public path ends with **, or if
// a path is public on one host and protected on all others.
func (l *linter) publicUnderProtected() {
	var closed []*Entry
	for i, q := range l.table {
		if !q.Route.Public && !q.Route.Anonymous && len(q.Pattern.Segments()) > 0 {
			closed = append(closed, &l.table[i])
		}
	}
	for _, p := range l.table {
		if !p.Route.Public {
			continue
		}
		for _, q := range closed {
			q := *q
			if !q.Pattern.Covers(p.Pattern) || !sharesMethod(p, q) {
				continue
			}
			otherHost := p.Host != q.Host
			if otherHost && !pattern.HostCovers(q.Host, p.Host) || l.said[[2]*Route{p.Route, q.Route}] {
				continue
			}
			switch {
			case otherHost:
				l.say(p, q)
				l.warn(p.Route, "public", "is public on %s, while route %s protects %s on %s; a client chooses its Host, so give it allow, or make sure that Envoy separates the hosts",
					p.Host, at(q.Route), q.Path, hostName(q.Host))
			case q.Pattern.Rest() && (p.Pattern.Rest() || isNarrow(q.Route)):
				l.say(p, q)
				l.warn(p.Route, "public", "%s is public under %s, which route %s protects; give it allow, or move it elsewhere", p.Path, q.Path, at(q.Route))
			default:
				continue
			}
			break // one warning for each entry, about the most specific route that it opens
		}
	}
}

func (l *linter) say(p, q Entry) { l.said[[2]*Route{p.Route, q.Route}] = true }

// isNarrow reports whether a route requires more than a signed-in user or an API key.
func isNarrow(r *Route) bool {
	switch {
	case r.ClientIPs != nil:
		return true
	case r.User != nil && len(r.User.Roles)+len(r.User.AllRoles) == 0:
		return false
	case r.APIKey != nil && len(r.APIKey.Scopes)+len(r.APIKey.AnyScopes) == 0:
		return false
	}
	return true
}

// publicBesideList finds paths that are public on one host and restricted to some addresses on
// another.
func (l *linter) publicBesideList() {
	if !l.policy.UsesClientIPs() {
		return
	}
	listed := map[string][]Entry{} // by their paths
	for _, q := range l.table {
		if q.Route.ClientIPs != nil {
			listed[q.Pattern.Key()] = append(listed[q.Pattern.Key()], q)
		}
	}
	for _, p := range l.table {
		if !p.Route.Public || p.Route.ClientIPs != nil || len(p.Pattern.Segments()) == 0 { // the roots of two sites
			continue
		}
		for _, q := range listed[p.Pattern.Key()] {
			pair := [2]*Route{p.Route, q.Route}
			if p.Host == q.Host || l.said[pair] || !sharesMethod(p, q) {
				continue
			}
			l.said[pair] = true
			l.warn(q.Route, "client_ips", "%s is open to %s only on %s, and to everybody on %s by route %s; a client chooses its Host, so list the addresses there too, or make sure that Envoy separates the hosts",
				q.Path, strings.Join(q.Route.ClientIPs.Names(), ", "), hostName(q.Host), hostName(p.Host), at(p.Route))
		}
	}
}

func hostName(host string) string {
	if host == "" {
		return "any host"
	}
	return host
}

func sharesMethod(p, q Entry) bool {
	return slices.ContainsFunc(p.allMethods(), q.takesMethod)
}

// everyAddress finds routes whose lists and networks together contain every address. A single
// list that does has its own warning.
func (l *linter) everyAddress() {
	for _, r := range l.policy.routes {
		if r.ClientIPs == nil || r.ClientIPs.everybody {
			continue
		}
		if which := everyAddress(r.ClientIPs.prefixes); which != "" {
			l.warn(r, "client_ips", "hold every %s address together, so they exclude nobody; list the intended networks, or write [any]", which)
		}
	}
}

// cutSegments finds routes that accept a semicolon, with a literal behind a parameter. An
// application that cuts a segment at the semicolon does not see that literal: it reads
// /a/x;.json, which matches /a/{id}.json, as /a/x. A pattern that holds a semicolon is for an
// application that does not cut.
func (l *linter) cutSegments() {
	warned := map[*Route]bool{} // once is enough for all patterns of a route
	for _, e := range l.table {
		if e.Route.PathAllows&pattern.Semicolon == 0 || strings.Contains(e.Pattern.String(), "%3B") || warned[e.Route] {
			continue
		}
		for _, s := range e.Pattern.Segments() {
			if s.IsMixed() && s.Literals() > pattern.Literal(s.Text).Literals() {
				warned[e.Route] = true
				l.warn(e.Route, "path_allows", "with a semicolon in it, %s also matches paths that an application may cut at the semicolon and read as another route's; leave semicolon out, or write a parameter for the whole segment", strict.Quote(e.Pattern.String()))
				break
			}
		}
	}
}

// unusedAdminRole finds an admin_role in a policy whose routes require no roles.
func (l *linter) unusedAdminRole() {
	if l.admin == nil || l.admin.Text == "" {
		return
	}
	for _, r := range l.policy.routes {
		if r.User != nil && len(r.User.Roles)+len(r.User.AllRoles) > 0 {
			return
		}
	}
	l.found = append(l.found, Problem{Position: l.admin.At, Field: l.admin.Field, Message: "no route requires a role, so this one has no effect; remove it, or require roles"})
}

// shadowed warns about each route in shadow, so that none is forgotten.
func (l *linter) shadowed() {
	for _, r := range l.policy.routes {
		if r.Shadow {
			l.warn(r, "shadow", "no denial of this route is enforced, so that everybody passes; remove it when the application no longer checks requests itself")
		}
	}
}

// misspelled finds names that are used once and resemble a name that is used more often.
func (l *linter) misspelled(what string, names func(*Route) []string) {
	uses := map[string][]*Route{}
	for _, r := range l.policy.routes {
		for _, name := range names(r) {
			uses[name] = append(uses[name], r)
		}
	}
	if what == "role" && l.policy.adminRole != "" {
		uses[l.policy.adminRole] = append(uses[l.policy.adminRole], nil, nil) // never a misspelling, however rarely it is used
	}
	var known []string
	for name, routes := range uses {
		if len(routes) > 1 {
			known = append(known, name)
		}
	}
	slices.Sort(known)
	for name, routes := range uses {
		if len(routes) != 1 {
			continue
		}
		for _, other := range known {
			if looksLike(name, other) {
				l.warn(routes[0], "allow", "the %s %s is used here only, and looks like %s, which is used elsewhere; correct it if it is misspelled", what, strict.Quote(name), strict.Quote(other))
				break
			}
		}
	}
}

// looksLike reports whether a name is probably a misspelling of the other. They must differ in
// one part of at least four letters only, by one letter, or by two if the part is long. A
// difference in digits is not a misspelling.
func looksLike(name, other string) bool {
	if strings.EqualFold(name, other) {
		return true // names are compared exactly
	}
	x, y := nameParts(name), nameParts(other)
	if len(x) != len(y) {
		return false
	}
	slip := false
	for i := range x {
		if x[i] == y[i] {
			continue
		}
		if slip || !isSlip(x[i], y[i]) {
			return false
		}
		slip = true
	}
	return slip
}

func nameParts(name string) []string {
	return strings.FieldsFunc(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

const (
	shortestSlip = 4 // letters; shorter words resemble many others
	longWord     = 8
)

func isSlip(a, b string) bool {
	if len(a) < shortestSlip || len(b) < shortestSlip || strings.ContainsFunc(a+b, func(r rune) bool { return !unicode.IsLetter(r) }) {
		return false
	}
	distance := strict.EditDistance(a, b)
	return distance == 1 || distance == 2 && (min(len(a), len(b)) >= longWord || swapped(a, b))
}

// swapped reports whether a and b differ only by the order of two adjacent letters.
func swapped(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) - 1 {
		if a[i] != b[i] {
			return a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
		}
	}
	return false
}
