package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
)

// defaultAdminRole is the admin role of a policy that names none.
const defaultAdminRole = "ADMIN"

// Parse compiles the files as one policy: routes and lists together, each file's
// hosts and client_ips the defaults of its own routes. The error is [Problems],
// everything that is wrong with any of the files.
func Parse(files []File, env func(string) (string, bool)) (*Policy, error) {
	c := &compiler{
		policy: &Policy{adminRole: defaultAdminRole, byID: map[string]*Route{}, hash: hashOf(files)},
		env:    env,
		lists:  map[string]*ipList{},
		ids:    map[string]routeEntry{},
	}
	if len(files) == 0 {
		return nil, Problems{{Message: "no file is given; a policy is at least one"}}
	}
	contents := make([]fileContent, len(files))
	for i, f := range files {
		v, found := parseYAML(f)
		c.problems = append(c.problems, found...)
		if v.kind == broken {
			continue
		}
		r := &fileReader{file: f.Name, lines: linesOf(f.Data)}
		contents[i] = r.content(v)
		c.problems = append(c.problems, r.problems...)
	}
	for _, content := range contents {
		c.setAdminRole(content)
		c.addLists(content)
	}
	for _, content := range contents {
		for _, e := range content.routes {
			c.addRoute(content, e)
		}
	}
	c.reportConflicts()
	c.checkDefaults(contents)
	ids := idsByField(contents)
	if err := c.problems.withIDs(ids).err(); err != nil {
		return nil, err
	}
	c.policy.table = c.policy.sortedTable()
	c.warn()
	c.policy.warnings = Problems(c.policy.warnings).withIDs(ids)
	return c.policy, nil
}

// idsByField returns the ids of the routes, by the file and the field that a problem with
// a route begins with.
func idsByField(contents []fileContent) map[[2]string]string {
	ids := map[[2]string]string{}
	for _, content := range contents {
		for _, e := range content.routes {
			ids[[2]string{e.at.File, e.field}] = e.id.text
		}
	}
	return ids
}

// A compiler gathers the files into a policy.
type compiler struct {
	policy    *Policy
	env       func(string) (string, bool)
	lists     map[string]*ipList
	ids       map[string]routeEntry
	admin     *stringAt
	conflicts []conflict
	problems  Problems

	conditions *cel.Env // made with the first when
}

type ipList struct {
	name stringAt
	set  IPSet
	used bool
}

func (c *compiler) fail(at Position, field, format string, args ...any) {
	c.problems = append(c.problems, Problem{at, field, fmt.Sprintf(format, args...)})
}

func (c *compiler) setAdminRole(content fileContent) {
	switch role := content.adminRole; {
	case role == nil:
	case c.admin != nil:
		c.fail(role.at, role.field, "is set at %s already; set it in one file", c.admin.at)
	default:
		c.admin = role
		c.policy.adminRole = role.text
	}
}

func (c *compiler) addLists(content fileContent) {
	for _, l := range content.lists {
		if first := c.lists[l.name.text]; first != nil {
			c.fail(l.name.at, l.name.field, "stands at %s already; keep one of the two", first.name.at)
			continue
		}
		r := &fileReader{file: l.name.at.File}
		set := IPSet{names: []string{l.name.text}, prefixes: r.prefixes(l, c.env)}
		c.problems = append(c.problems, r.problems...)
		c.lists[l.name.text] = &ipList{name: l.name, set: set}
	}
}

// checkDefaults looks at defaults that no route made use of: they are checked all
// the same.
func (c *compiler) checkDefaults(contents []fileContent) {
	for _, content := range contents {
		if content.hosts != nil {
			c.hosts(content.hosts)
		}
		if content.clientIPs != nil {
			c.ipSet(content.clientIPs)
		}
	}
}

func (c *compiler) addRoute(content fileContent, e routeEntry) {
	switch first, taken := c.ids[e.id.text]; {
	case e.id.text == "": // reported already
	case taken:
		c.fail(e.id.at, e.id.field, "%s is the id of the route at %s too; give each route its own", quote(e.id.text), first.at)
	default:
		c.ids[e.id.text] = e
	}
	route := &Route{ID: e.id.text, Position: e.at, Public: e.public, Principals: e.principals, Origins: e.origins, PathAllows: e.allows, Shadow: e.shadow}
	if e.allow != nil {
		route.User, route.APIKey, route.Anonymous = e.allow.user, e.allow.apiKey, e.allow.anonymous
	}
	if route.Origins == nil {
		route.Origins = content.origins
	}
	ips := e.clientIPs
	if ips == nil {
		ips = content.clientIPs
	}
	if ips != nil {
		route.ClientIPs = c.ipSet(ips)
	}
	hosts := e.match.hosts
	if hosts == nil {
		hosts = content.hosts
	}
	names := c.hosts(hosts)
	route.written = writtenOf(e, names)
	c.condition(route, e, c.place(route, e, names))
	c.policy.routes = append(c.policy.routes, route)
	c.policy.byID[route.ID] = route
}

// ipSet joins the lists that a route names and the networks that stand beside them;
// nil means any address.
func (c *compiler) ipSet(names []stringAt) *IPSet {
	if len(names) == 1 && names[0].text == "any" {
		return nil
	}
	set := new(IPSet)
	for _, n := range names {
		l, known := c.lists[n.text]
		switch {
		case known:
			l.used = true
			set.names = append(set.names, n.text)
			set.prefixes = append(set.prefixes, l.set.prefixes...)
			set.everybody = set.everybody || everyAddress(l.set.prefixes) != ""
		case n.text == "any":
			c.fail(n.at, n.field, `"any" is every address already; write [any] alone, or leave it out`)
		case n.text == "*":
			c.fail(n.at, n.field, `"*" is the word for any host; write [any] for any address`)
		case isVariable(n.text):
			c.fail(n.at, n.field, "%s is a variable; put it under ip_lists, under a name, and write that here", quote(n.text))
		case looksLikeNetwork(n.text):
			prefix, wrong := parseNetwork(n.text)
			if wrong != "" {
				c.fail(n.at, n.field, "%s %s", quote(n.text), wrong)
				continue
			}
			set.names = append(set.names, n.text)
			set.prefixes = append(set.prefixes, prefix)
		default:
			c.fail(n.at, n.field, "there is no ip_list %s; %s", quote(n.text), c.knownLists(n.text))
		}
	}
	return set
}

// looksLikeNetwork tells a network or an address from the name of a list. No list has a
// name that looks like one.
func looksLikeNetwork(s string) bool {
	return strings.ContainsAny(s, "/:") || strings.Contains(s, ".") && strings.Trim(s, "0123456789.") == ""
}

func (c *compiler) knownLists(word string) string {
	names := make([]string, 0, len(c.lists))
	for name := range c.lists {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(names) == 0 {
		return "there is none at all, so define it under ip_lists"
	}
	return didYouMean(word, names)
}

// hosts returns the host patterns of a route: one empty text for any host.
func (c *compiler) hosts(hosts []stringAt) []string {
	if len(hosts) == 0 || len(hosts) == 1 && hosts[0].text == "*" {
		return []string{""}
	}
	var names []string
	for _, h := range hosts {
		if h.text == "*" {
			c.fail(h.at, h.field, `"*" is every host already; write ["*"] alone, or leave it out`)
			continue
		}
		if h.text == "any" {
			c.fail(h.at, h.field, `"any" is the word for any address; write ["*"] for any host`)
			continue
		}
		if wrong := checkHost(h.text); wrong != "" {
			c.fail(h.at, h.field, "%s %s", quote(h.text), wrong)
			continue
		}
		names = append(names, h.text)
	}
	return names
}

// place puts a route into the matcher under each of its hosts and paths. It returns the
// paths that have nothing wrong with them.
func (c *compiler) place(route *Route, e routeEntry, hosts []string) (placed []placedPattern) {
	for _, m := range e.match.methods {
		route.Methods = append(route.Methods, m.text)
	}
	seen := map[string]bool{}
	for _, path := range e.match.paths {
		p, wrong := parsePattern(path.text)
		if wrong != "" {
			c.fail(path.at, path.field, "%s", "the path "+wrong)
			continue
		}
		if missing := p.forms &^ route.PathAllows; missing != 0 {
			c.fail(path.at, path.field, "the path is written with what the route refuses in a request; add path_allows: [%s]", missing)
			continue
		}
		if seen[p.key()] {
			c.fail(path.at, path.field, "%s matches what another path of this route matches; write it once", quote(path.text))
			continue
		}
		seen[p.key()] = true
		placed = append(placed, placedPattern{p, path.text})
		for _, host := range hosts {
			if other, method := c.policy.matcher.add(route, host, p, route.Methods); other != nil {
				c.conflicts = append(c.conflicts, conflict{route, other, path, host, p, method})
				break
			}
		}
	}
	return placed
}

// reportConflicts comes when all routes are in place: the example of a conflict is
// a request that none of the others wins.
func (c *compiler) reportConflicts() {
	for _, x := range c.conflicts {
		c.fail(x.at.at, x.at.field, "route %s and route %s (%s:%d) could both win %s; make one of them more specific, or take the path out of one",
			nameOfRoute(x.route), nameOfRoute(x.other), x.other.Position.File, x.other.Position.Line, c.policy.example(x))
	}
}

// nameOfRoute names a route whose id may be what is wrong with it.
func nameOfRoute(r *Route) string {
	if r.ID == "" {
		return "without an id"
	}
	return r.ID
}

// warn notes what is allowed but probably not meant.
func (c *compiler) warn() {
	var found Problems
	for _, l := range c.lists {
		if !l.used {
			found = append(found, Problem{l.name.at, l.name.field, "no route uses this list; name it in client_ips, or take it out"})
		}
		if which := everyAddress(l.set.prefixes); which != "" {
			found = append(found, Problem{l.name.at, l.name.field, "holds every " + which + " address, so that it keeps nobody out; list the networks that are meant, or write client_ips: [any] on the routes"})
		}
	}
	c.policy.warnings = append(found, c.lint()...).sorted()
}

// UsesClientIPs reports whether any route lists who may come by address.
func (p *Policy) UsesClientIPs() bool {
	return slices.ContainsFunc(p.routes, func(r *Route) bool { return r.ClientIPs != nil })
}

// ClientIPRoutes returns the routes that list who may come by address.
func (p *Policy) ClientIPRoutes() []*Route {
	var routes []*Route
	for _, r := range p.routes {
		if r.ClientIPs != nil {
			routes = append(routes, r)
		}
	}
	return routes
}

// hashOf hashes names and contents, each with its length before it, so that no
// two sets of files run together to one text.
func hashOf(files []File) string {
	h := sha256.New()
	for _, f := range files {
		for _, part := range [][]byte{[]byte(f.Name), f.Data} {
			var size [8]byte
			binary.BigEndian.PutUint64(size[:], uint64(len(part)))
			_, _ = h.Write(size[:])
			_, _ = h.Write(part)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
