package policy

import (
	"cmp"
	"slices"
	"strings"

	"warder/policy/pattern"
)

// A matcher finds the route that wins a request. The host is looked up in maps, and the path
// in a tree of segments, so that the cost depends on the length of the host and of the path
// but not on the number of routes.
//
// Of the routes whose host, path and method match, the most specific one wins, whatever their
// order in the file:
//
//	host    api.example.com     API.Example.com:8443, api.example.com.   not a.api.example.com
//	        *.example.com       a.example.com, a.b.example.com           not example.com
//	        (any)               every host, also none
//	path    /assets             /assets, /assets/                        not /assets/7, /Assets
//	        /assets/{id}        /assets/7                                not /assets/, /assets/7/x
//	        /assets/{id}.json   /assets/7.json                           not /assets/.json, /assets/7.json.json
//	        /assets/**          /assets, /assets/, /assets/7/x           not /assetsx
//	method  GET (listed)        GET, and HEAD where no route lists it    not get
//	        (absent)            GET HEAD POST PUT PATCH DELETE OPTIONS   not TRACE
//
// Hosts are compared first (exact, the longest wildcard, any), then the path, segment by
// segment from the left (literal, more literal characters in a mixed segment, {name}, the end
// of the pattern, **), then the method (listed, GET for HEAD, absent).
type matcher struct {
	exact    map[string]*node
	wildcard map[string]*node // by the text after "*."
	any      *node
}

// A node is a node in the tree of one host: the patterns that begin with the segments that
// lead to it.
type node struct {
	literal map[string]*node
	mixed   []mixed // the most literal characters first
	param   *node
	end     *methods // patterns that end here
	rest    *methods // patterns that end with ** here
}

// methods are the routes of one host and path, by method.
type methods struct {
	pattern pattern.Pattern // of one of the routes; the others differ in names only
	listed  map[string]*Route
	absent  *Route
}

// absentMethods are the methods that a route without a list of methods matches.
var absentMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// Match returns the route that wins the request, or nil if none matches. The host is as sent;
// Match ignores its case, port and trailing dot. Nothing matches the zero Path or a host that
// [pattern.ValidHost] refuses.
func (p *Policy) Match(method, host string, path pattern.Path) *Route {
	if path.Raw() == "" {
		return nil
	}
	m := &p.matcher
	var buf [pattern.MaxHost]byte
	name, ok := pattern.CanonicalHost(host, &buf)
	if !ok {
		return nil
	}
	segments := path.Segments()
	if f := m.exact[string(name)].match(segments, method); f.route != nil {
		return f.route
	}
	// The dots are tried from the left, so that the longest wildcard comes first.
	for i, c := range name {
		if c != '.' || i == 0 || len(m.wildcard) == 0 {
			continue
		}
		if f := m.wildcard[string(name[i+1:])].match(segments, method); f.route != nil {
			return f.route
		}
	}
	return m.any.match(segments, method).route
}

// found is a route that matches a request, with its place in the tree. The zero found is none.
type found struct {
	route *Route
	at    *methods
	rank  methodRank
}

// A methodRank says how a route matches a method, the most specific way first.
type methodRank uint8

const (
	rankListed methodRank = iota
	rankGetForHead
	rankAbsent
)

// moreSpecific reports whether a route wins over another one that matches the same request.
func (f found) moreSpecific(than found) bool {
	return cmp.Or(f.at.pattern.CompareSpecific(than.at.pattern), cmp.Compare(f.rank, than.rank)) < 0
}

// match finds the route for the rest of a path. If a branch of the tree matches the path but
// not the method, the next less specific branch is tried.
func (n *node) match(segments []string, method string) found {
	if n == nil {
		return found{}
	}
	if len(segments) == 0 {
		if f := n.end.match(method); f.route != nil {
			return f
		}
		return n.rest.match(method)
	}
	if f := n.literal[segments[0]].match(segments[1:], method); f.route != nil {
		return f
	}
	for i := range n.mixed {
		if f := n.mixed[i].match(segments, method); f.route != nil {
			return f
		}
	}
	if f := n.param.match(segments[1:], method); f.route != nil {
		return f
	}
	return n.rest.match(method)
}

func (m *methods) match(method string) found {
	if m == nil {
		return found{}
	}
	if route := m.listed[method]; route != nil {
		return found{route, m, rankListed}
	}
	if method == "HEAD" {
		if route := m.listed["GET"]; route != nil {
			return found{route, m, rankGetForHead}
		}
	}
	if m.absent != nil && slices.Contains(absentMethods, method) {
		return found{m.absent, m, rankAbsent}
	}
	return found{}
}

// add adds a route under one host, one path and all of its methods. If another route has the
// same place, add returns it and the method; the method is "" for routes without a list.
func (m *matcher) add(route *Route, host string, p pattern.Pattern, listed []string) (other *Route, method string) {
	n := m.tree(host)
	for _, s := range p.Segments() {
		switch {
		case s.IsMixed():
			n = n.mixedChild(s)
			continue
		case !s.IsLiteral():
			n = child(&n.param)
			continue
		case n.literal == nil:
			n.literal = map[string]*node{}
		}
		next := n.literal[s.Text]
		n.literal[s.Text] = child(&next)
		n = next
	}
	at := &n.end
	if p.Rest() {
		at = &n.rest
	}
	if *at == nil {
		*at = &methods{pattern: p, listed: map[string]*Route{}}
	}
	if len(listed) == 0 {
		if other = (*at).absent; other != nil {
			return other, ""
		}
		(*at).absent = route
		return nil, ""
	}
	for _, method := range listed {
		if other = (*at).listed[method]; other != nil {
			return other, method
		}
		(*at).listed[method] = route
	}
	return nil, ""
}

// tree returns the root of the tree for a host pattern; "" is any host.
func (m *matcher) tree(host string) *node {
	if host == "" {
		return child(&m.any)
	}
	hosts := &m.exact
	if name, ok := strings.CutPrefix(host, "*."); ok {
		hosts, host = &m.wildcard, name
	}
	if *hosts == nil {
		*hosts = map[string]*node{}
	}
	n := (*hosts)[host]
	(*hosts)[host] = child(&n)
	return n
}

// child returns the node, which it creates if it does not exist.
func child(n **node) *node {
	if *n == nil {
		*n = new(node)
	}
	return *n
}
