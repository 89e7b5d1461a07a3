package policy

import (
	"cmp"

	"warder/policy/pattern"
)

// A matcher finds the route that wins a request. The host is looked up in maps, and the path
// in a tree of segments, so that the cost depends on the length of the host and of the path
// but not on the number of routes.
//
// The parts of the tree refer to each other by their index in a few slices, and not by
// pointers: the collector looks at every pointer of a policy in each of its runs, so that a
// large policy of many small objects would slow down the checks. A [builder] makes a matcher.
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
	exact    map[string]nodeID
	wildcard map[string]nodeID // by the text after "*."
	any      nodeID

	nodes   []node
	literal map[step]nodeID // children by a literal segment, of all nodes
	mixed   [][]mixed       // children by mixed segments, by node; the most literal characters first

	places   []place
	listings []listing
	patterns []pattern.Pattern // of the places below a mixed segment
	methods  map[string]methodID
}

// The indexes into the slices of a matcher, and into the routes of the policy. The first
// element of each slice is not used, so that 0 stands for none.
type (
	nodeID    uint32
	mixedID   uint32
	placeID   uint32
	listingID uint32
	patternID uint32
	routeID   uint32
)

// A node is a node in the tree of one host: the patterns that begin with the segments that
// lead to it.
type node struct {
	literals bool // it has children by a literal
	mixed    mixedID
	param    nodeID
	end      placeID // patterns that end here
	rest     placeID // patterns that end with ** here
}

// A step leads from a node to its child by a literal segment.
type step struct {
	from nodeID
	text string
}

// A place has the routes of one host and path, by method.
type place struct {
	listed  listingID // the first one
	absent  routeID   // the route that lists no methods
	pattern patternID // of one of the routes; the others differ in names only
}

// A listing is a route with one of the methods that it lists.
type listing struct {
	method methodID
	route  routeID
	next   listingID // of the same place
}

// A methodID is the number of a method that some route matches, or 0 for any other method.
type methodID uint32

// absentMethods are the methods that a route without a list of methods matches. Their numbers
// are the first ones, in this order.
var absentMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

const (
	methodGet  methodID = 1
	methodHead methodID = 2
)

// Match returns the route that wins the request, or nil if none matches. The host is as sent;
// Match ignores its case, port and trailing dot. Nothing matches the zero Path or a host that
// [pattern.ValidHost] refuses.
func (p *Policy) Match(method, host string, path pattern.Path) *Route {
	if path.Raw() == "" {
		return nil
	}
	var buf [pattern.MaxHost]byte
	name, ok := pattern.CanonicalHost(host, &buf)
	if !ok {
		return nil
	}
	return p.route(p.matcher.find(p.matcher.methods[method], name, path.Segments()).route)
}

// route returns the route with a number, or nil for none.
func (p *Policy) route(id routeID) *Route {
	if id == 0 {
		return nil
	}
	return p.routes[id-1]
}

// find finds the route that wins a request to a host in canonical form.
func (m *matcher) find(method methodID, host []byte, segments []string) found {
	if method == 0 {
		return found{}
	}
	if f := m.match(m.exact[string(host)], segments, method); f.route != 0 {
		return f
	}
	// The dots are tried from the left, so that the longest wildcard comes first.
	for i, c := range host {
		if c != '.' || i == 0 || len(m.wildcard) == 0 {
			continue
		}
		if f := m.match(m.wildcard[string(host[i+1:])], segments, method); f.route != 0 {
			return f
		}
	}
	return m.match(m.any, segments, method)
}

// found is a route that matches a request, with its place in the tree. The zero found is none.
type found struct {
	route routeID
	at    placeID
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
// Both are below a mixed segment.
func (m *matcher) moreSpecific(f, than found) bool {
	return cmp.Or(m.patternOf(f.at).CompareSpecific(m.patternOf(than.at)), cmp.Compare(f.rank, than.rank)) < 0
}

// patternOf returns the pattern of a place below a mixed segment.
func (m *matcher) patternOf(at placeID) pattern.Pattern { return m.patterns[m.places[at].pattern] }

// match finds the route for the rest of a path below a node. If a branch of the tree matches
// the path but not the method, the next less specific branch is tried.
func (m *matcher) match(id nodeID, segments []string, method methodID) found {
	if id == 0 {
		return found{}
	}
	n := &m.nodes[id]
	if len(segments) == 0 {
		if f := m.routeAt(n.end, method); f.route != 0 {
			return f
		}
		return m.routeAt(n.rest, method)
	}
	if n.literals {
		if f := m.match(m.literal[step{id, segments[0]}], segments[1:], method); f.route != 0 {
			return f
		}
	}
	for i := range m.mixed[n.mixed] {
		if f := m.matchMixed(&m.mixed[n.mixed][i], segments, method); f.route != 0 {
			return f
		}
	}
	if f := m.match(n.param, segments[1:], method); f.route != 0 {
		return f
	}
	return m.routeAt(n.rest, method)
}

// routeAt finds the route of a place that matches a method.
func (m *matcher) routeAt(id placeID, method methodID) found {
	if id == 0 {
		return found{}
	}
	if route := m.listed(id, method); route != 0 {
		return found{route, id, rankListed}
	}
	if method == methodHead {
		if route := m.listed(id, methodGet); route != 0 {
			return found{route, id, rankGetForHead}
		}
	}
	if absent := m.places[id].absent; absent != 0 && int(method) <= len(absentMethods) {
		return found{absent, id, rankAbsent}
	}
	return found{}
}

// listed returns the route of a place that lists a method.
func (m *matcher) listed(id placeID, method methodID) routeID {
	for i := m.places[id].listed; i != 0; i = m.listings[i].next {
		if m.listings[i].method == method {
			return m.listings[i].route
		}
	}
	return 0
}
