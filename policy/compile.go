package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"

	"warder/policy/condition"
	"warder/policy/pattern"
	"warder/policy/strict"
)

// defaultAdminRole is the admin role of a policy that does not set one.
const defaultAdminRole = "ADMIN"

// Parse compiles the files into one policy. Routes and ip_lists are those of all files; hosts,
// client_ips and cors are defaults for the routes of their own file. The error is of type
// [Problems], with all problems of all files. env looks up the ${VAR} of ip_lists.
func Parse(files []File, env func(string) (string, bool)) (*Policy, error) {
	c := &compiler{
		policy:  &Policy{adminRole: defaultAdminRole, byID: map[string]*Route{}, hash: hashOf(files)},
		builder: newBuilder(),
		env:     env,
		lists:   map[string]*ipList{},
		fields:  map[*Route]string{},
		placed:  map[placement]strict.String{},
		shared:  newShared(),
	}
	if len(files) == 0 {
		return nil, Problems{{Message: "no file is given; give at least one policy file"}}
	}
	contents := make([]fileContent, len(files))
	for i, f := range files {
		v, found := strict.Parse(f, fileLimits)
		c.problems = append(c.problems, found...)
		r := &strict.Reader{Lines: strict.Lines(f.Data), NoPlaces: true}
		switch other := OtherFile("a policy", v.Keys()); {
		case v.Kind == strict.Broken:
		case v.Kind == strict.Null:
			r.Fail(strict.Position{File: f.Name}, "", "is empty; a policy has a version and routes")
		case other != "":
			r.Fail(v.At, "", "%s", other)
		default:
			r.Read("", v, &contents[i])
		}
		c.problems = append(c.problems, r.Problems...)
	}
	for _, content := range contents {
		c.setAdminRole(content)
		c.addLists(content)
	}
	for i := range contents {
		c.setDenials(&contents[i])
	}
	c.addRoutes(contents)
	c.checkDefaults(contents)
	c.policy.matcher = c.builder.matcher
	if err := append(c.withIDs(c.problems), c.conflictProblems()...).Err(); err != nil {
		return nil, err
	}
	c.warn()
	c.policy.warnings = c.withIDs(c.policy.warnings)
	c.policy.table = sync.OnceValue(c.policy.sortedTable)
	return c.policy, nil
}

// A compiler compiles files into a policy.
type compiler struct {
	policy    *Policy
	builder   *builder
	env       func(string) (string, bool)
	lists     map[string]*ipList
	fields    map[*Route]string // as in routes[0]
	admin     *adminRole
	conflicts []conflict
	placed    map[placement]strict.String // the paths with mixed segments
	problems  Problems
	shared    *shared
	// denialFiles is the number of files with denials.
	denialFiles int

	conditions condition.Compiler
}

type ipList struct {
	name strict.String
	set  IPSet
	used bool
}

func (c *compiler) fail(at Position, field, format string, args ...any) {
	c.problems = append(c.problems, strict.Problem{Position: at, Field: field, Message: fmt.Sprintf(format, args...)})
}

func (c *compiler) setAdminRole(content fileContent) {
	switch role := content.AdminRole; {
	case role == nil:
	case c.admin != nil:
		c.fail(role.At, role.Field, "is already set at %s; set it in one file", c.admin.At)
	default:
		c.admin = role
		c.policy.adminRole = role.Text
	}
}

// setDenials compiles the denials of a file. Those of the only file that has some are for
// requests that no route matches, too.
func (c *compiler) setDenials(content *fileContent) {
	content.denials = c.denials(content.Denials)
	switch {
	case content.denials == nil:
	case c.denialFiles == 0:
		c.policy.denials = content.denials
	default:
		c.policy.denials = nil
	}
	if content.denials != nil {
		c.denialFiles++
	}
}

func (c *compiler) addLists(content fileContent) {
	for _, l := range content.IPLists {
		if first := c.lists[l.name.Text]; first != nil {
			c.fail(l.name.At, l.name.Field, "is already at %s; keep one of the two", first.name.At)
			continue
		}
		r := new(strict.Reader)
		set := IPSet{names: []string{l.name.Text}, prefixes: prefixes(r, l, c.env)}
		c.problems = append(c.problems, r.Problems...)
		c.lists[l.name.Text] = &ipList{name: l.name, set: set}
	}
}

// checkDefaults checks the defaults of the files, which routes may not use.
func (c *compiler) checkDefaults(contents []fileContent) {
	for _, content := range contents {
		if content.Hosts != nil {
			c.hosts(content.Hosts)
		}
		if content.ClientIPs != nil {
			c.ipSet(content.ClientIPs)
		}
	}
}

// addRoutes compiles the routes of all files. The routes and their paths are one block each,
// so that the collector has few objects to look at.
func (c *compiler) addRoutes(contents []fileContent) {
	routes, paths := 0, 0
	for _, content := range contents {
		routes += len(content.Routes)
		for _, e := range content.Routes {
			paths += len(e.Match.Paths)
		}
	}
	block, room := make([]Route, routes), make([]string, paths)
	c.policy.routes = make([]*Route, 0, routes)
	for _, content := range contents {
		defaults := routeDefaults{origins: c.shared.originSet(content.CORS), denials: content.denials, ips: content.ClientIPs, hosts: content.Hosts}
		for i := range content.Routes {
			e := &content.Routes[i]
			n := len(e.Match.Paths)
			c.addRoute(&block[0], room[:0:n], e, defaults)
			block, room = block[1:], room[n:]
		}
	}
}

// routeDefaults are what routes have that say nothing else.
type routeDefaults struct {
	origins    *OriginSet
	denials    *Denials
	ips, hosts []strict.String
}

// addRoute compiles a route. paths has room for its paths.
func (c *compiler) addRoute(route *Route, paths []string, e *routeEntry, defaults routeDefaults) {
	id := c.shared.keep(e.ID.Text)
	switch first := c.policy.byID[id]; {
	case first == nil:
		c.policy.byID[id] = route
	case id != "": // a missing one was reported already
		c.fail(e.ID.At, e.ID.Field, "%s is also the id of the route at %s; give each route its own", strict.Quote(id), first.Position)
	}
	*route = Route{
		ID: id, Position: e.at, Public: bool(e.Public), Principals: c.shared.principalSet(e.Principals),
		Origins: c.shared.originSet(e.CORS), PathAllows: formsOf(e.PathAllows), Shadow: bool(e.Shadow),
		TokenQuery: bool(e.TokenQuery), APIKeyQuery: bool(e.APIKeyQuery),
		Methods: c.shared.list(texts(e.Match.Methods)), Denials: c.denials(e.Denials),
	}
	if e.Allow != nil {
		route.User, route.APIKey, route.Anonymous = c.shared.userRule(e.Allow.user), c.shared.apiKeyRule(e.Allow.apiKey), e.Allow.anonymous
	}
	if route.Origins == nil {
		route.Origins = defaults.origins
	}
	if route.Denials == nil {
		route.Denials = defaults.denials
	}
	ips := e.ClientIPs
	if ips == nil {
		ips = defaults.ips
	}
	if ips != nil {
		route.ClientIPs = c.ipSet(ips)
	}
	hosts := e.Match.Hosts
	if hosts == nil {
		hosts = defaults.hosts
	}
	for _, path := range e.Match.Paths {
		paths = append(paths, c.shared.keep(path.Text))
	}
	route.written = written{c.shared.list(c.hosts(hosts)), paths}
	c.policy.routes = append(c.policy.routes, route)
	c.fields[route] = e.field
	placed := c.place(route, e.Match.Paths)
	if e.When != nil && e.When.Field != "" { // given, and read without a problem
		compiled, problems := c.conditions.Compile(e.When, placed)
		c.problems = append(c.problems, problems...)
		route.Condition = compiled
	}
}

// ipSet returns the union of the lists and networks that a route names, or nil for any address.
// Routes that name the same ones share it, unless there is something wrong with it.
func (c *compiler) ipSet(names []strict.String) *IPSet {
	if len(names) == 1 && names[0].Text == "any" {
		return nil
	}
	key := keyOf(texts(names))
	if set, known := c.shared.ips[key]; known {
		return set
	}
	before := len(c.problems)
	set := c.newIPSet(names)
	if len(c.problems) == before {
		c.shared.ips[key] = set
	}
	return set
}

func (c *compiler) newIPSet(names []strict.String) *IPSet {
	set := new(IPSet)
	for _, n := range names {
		l, known := c.lists[n.Text]
		switch {
		case known:
			l.used = true
			set.names = append(set.names, n.Text)
			set.prefixes = append(set.prefixes, l.set.prefixes...)
			set.everybody = set.everybody || everyAddress(l.set.prefixes) != ""
		case n.Text == "any":
			c.fail(n.At, n.Field, `"any" already includes every address; write [any] alone, or leave it out`)
		case n.Text == "*":
			c.fail(n.At, n.Field, `"*" means any host; write [any] for any address`)
		case isVariable(n.Text):
			c.fail(n.At, n.Field, "%s is a variable; put it under ip_lists, under a name, and write that here", strict.Quote(n.Text))
		case looksLikeNetwork(n.Text):
			prefix, wrong := parseNetwork(n.Text)
			if wrong != "" {
				c.fail(n.At, n.Field, "%s %s", strict.Quote(n.Text), wrong)
				continue
			}
			set.names = append(set.names, n.Text)
			set.prefixes = append(set.prefixes, prefix)
		default:
			c.fail(n.At, n.Field, "there is no ip_list %s; %s", strict.Quote(n.Text), c.knownLists(n.Text))
		}
	}
	return set
}

// looksLikeNetwork reports whether s is a network or an address and not the name of a list.
// Such names of lists are refused.
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
		return "the policy has none, so define it under ip_lists"
	}
	return strict.DidYouMean(word, names)
}

// hosts returns the host patterns of a route, or one empty text for any host.
func (c *compiler) hosts(hosts []strict.String) []string {
	if len(hosts) == 0 || len(hosts) == 1 && hosts[0].Text == "*" {
		return []string{""}
	}
	var names []string
	for _, h := range hosts {
		if h.Text == "*" {
			c.fail(h.At, h.Field, `"*" already includes every host; write ["*"] alone, or leave it out`)
			continue
		}
		if h.Text == "any" {
			c.fail(h.At, h.Field, `"any" means any address; write ["*"] for any host`)
			continue
		}
		if wrong := pattern.WrongHost(h.Text); wrong != "" {
			c.fail(h.At, h.Field, "%s %s", strict.Quote(h.Text), wrong)
			continue
		}
		names = append(names, h.Text)
	}
	return names
}

// place adds the last route to the matcher under each of its hosts and paths. It returns the
// valid paths.
func (c *compiler) place(route *Route, paths []strict.String) (placed []pattern.Pattern) {
	number := routeID(len(c.policy.routes)) //nolint:gosec // see push
	seen := map[string]bool{}
	for i, path := range paths {
		p, wrong := pattern.Parse(route.written.paths[i])
		if wrong != "" {
			c.fail(path.At, path.Field, "%s", "the path "+wrong)
			continue
		}
		if missing := p.Forms() &^ route.PathAllows; missing != 0 {
			c.fail(path.At, path.Field, "the path contains what the route refuses in a request; add path_allows: [%s]", missing)
			continue
		}
		if len(paths) > 1 {
			if seen[p.Key()] {
				c.fail(path.At, path.Field, "%s matches what another path of this route matches; write it once", strict.Quote(path.Text))
				continue
			}
			seen[p.Key()] = true
		}
		placed = append(placed, p)
		if p.HasMixed() {
			c.placed[placement{route, p.Key()}] = path
		}
		for _, host := range route.written.hosts {
			if other, method := c.builder.add(number, host, p, route.Methods); other != 0 {
				c.conflicts = append(c.conflicts, conflict{route: route, other: c.policy.routes[other-1], at: path, host: host, pattern: p, otherPattern: p, method: method})
				break
			}
		}
	}
	return placed
}

// nameOfRoute returns the id of a route, which may be missing.
func nameOfRoute(r *Route) string {
	if r.ID == "" {
		return "without an id"
	}
	return r.ID
}

// warn collects the warnings.
func (c *compiler) warn() {
	var found Problems
	for _, l := range c.lists {
		if !l.used {
			found = append(found, Problem{Position: l.name.At, Field: l.name.Field, Message: "no route uses this list; name it in client_ips, or remove it"})
		}
		if which := everyAddress(l.set.prefixes); which != "" {
			found = append(found, Problem{Position: l.name.At, Field: l.name.Field, Message: "holds every " + which + " address, so it excludes nobody; list the intended networks, or write client_ips: [any] on the routes"})
		}
	}
	c.policy.warnings = append(found, c.lint()...).Sorted()
}

// UsesClientIPs reports whether any route restricts client addresses.
func (p *Policy) UsesClientIPs() bool {
	return slices.ContainsFunc(p.routes, func(r *Route) bool { return r.ClientIPs != nil })
}

// ClientIPRoutes returns the routes that restrict client addresses.
func (p *Policy) ClientIPRoutes() []*Route {
	var routes []*Route
	for _, r := range p.routes {
		if r.ClientIPs != nil {
			routes = append(routes, r)
		}
	}
	return routes
}

// hashOf hashes names and contents, each after its length, so that different files are never
// the same text.
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
