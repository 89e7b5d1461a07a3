package policy

import (
	"fmt"
	"slices"
	"strings"

	"warder/policy/pattern"
	"warder/policy/strict"
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
//	        /assets/**          /assets, /assets/, /assets/7/x           not /assetsx
//	method  GET (listed)        GET, and HEAD where no route lists it    not get
//	        (absent)            GET HEAD POST PUT PATCH DELETE OPTIONS   not TRACE
//
// Hosts are compared first (exact, the longest wildcard, any), then the path, segment by
// segment from the left (literal, {name}, the end of the pattern, **), then the method
// (listed, GET for HEAD, absent).
type matcher struct {
	exact    map[string]*node
	wildcard map[string]*node // by the text after "*."
	any      *node
}

// A node is a node in the tree of one host: the patterns that begin with the segments that
// lead to it.
type node struct {
	literal map[string]*node
	param   *node
	end     *methods // patterns that end here
	rest    *methods // patterns that end with ** here
}

// methods are the routes of one host and path, by method.
type methods struct {
	listed map[string]*Route
	absent *Route
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
	if route := m.exact[string(name)].match(segments, method); route != nil {
		return route
	}
	// The dots are tried from the left, so that the longest wildcard comes first.
	for i, c := range name {
		if c != '.' || i == 0 || len(m.wildcard) == 0 {
			continue
		}
		if route := m.wildcard[string(name[i+1:])].match(segments, method); route != nil {
			return route
		}
	}
	return m.any.match(segments, method)
}

// match finds the route for the rest of a path. If a branch of the tree matches the path but
// not the method, the next less specific branch is tried.
func (n *node) match(segments []string, method string) *Route {
	if n == nil {
		return nil
	}
	if len(segments) == 0 {
		if route := n.end.match(method); route != nil {
			return route
		}
		return n.rest.match(method)
	}
	if route := n.literal[segments[0]].match(segments[1:], method); route != nil {
		return route
	}
	if route := n.param.match(segments[1:], method); route != nil {
		return route
	}
	return n.rest.match(method)
}

func (m *methods) match(method string) *Route {
	if m == nil {
		return nil
	}
	if route := m.listed[method]; route != nil {
		return route
	}
	if method == "HEAD" {
		if route := m.listed["GET"]; route != nil {
			return route
		}
	}
	if m.absent != nil && slices.Contains(absentMethods, method) {
		return m.absent
	}
	return nil
}

// add adds a route under one host, one path and all of its methods. If another route has the
// same place, add returns it and the method; the method is "" for routes without a list.
func (m *matcher) add(route *Route, host string, p pattern.Pattern, listed []string) (other *Route, method string) {
	n := m.tree(host)
	for _, s := range p.Segments() {
		if s.Param {
			n = child(&n.param)
			continue
		}
		if n.literal == nil {
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
		*at = &methods{listed: map[string]*Route{}}
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

// A conflict is a pair of routes with the same host, path and method.
type conflict struct {
	route, other *Route
	at           strict.String
	host         string // "" for any
	pattern      pattern.Pattern
	method       string // "" for routes without a list of methods
}

// exampleTries bounds the search for an example. Each more specific route can win one of the
// tries.
const exampleTries = 100

// example returns a request that both routes of a conflict could win, so that no more specific
// route wins it. If it finds none, it returns one that both match.
func (p *Policy) example(c conflict) string {
	methods := absentMethods
	if c.method != "" {
		methods = []string{c.method}
	}
	for n := range exampleTries {
		for _, tail := range []int{n + 1, 0} {
			path := c.pattern.Example(n, tail)
			parsed, err := pattern.ParsePath(path)
			if err != nil {
				continue
			}
			for _, host := range []string{pattern.ExampleHost(c.host, 0), pattern.ExampleHost(c.host, n)} {
				for _, method := range methods {
					if p.Match(method, host, parsed) == c.other {
						return fmt.Sprintf("%s https://%s%s", method, host, path)
					}
				}
			}
		}
	}
	return fmt.Sprintf("%s https://%s%s", methods[0], pattern.ExampleHost(c.host, 0), c.pattern.Example(0, 1))
}
