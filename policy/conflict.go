package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"warder/policy/pattern"
	"warder/policy/strict"
)

// A conflict is a pair of routes that could both win one request: they have the same host and
// method, and the same path or two that are equally specific and match a common one.
type conflict struct {
	route, other *Route
	at           strict.String   // the path of the route
	host         string          // "" for any
	pattern      pattern.Pattern // of the route
	otherPattern pattern.Pattern
	method       string // "" for routes without a list of methods
}

// exampleTries bounds the search for an example. Each more specific route can win one of the
// tries. tieTries is the bound for two different paths, for which each try is a search.
const (
	exampleTries = 100
	tieTries     = 10
)

// maxTies bounds the conflicts between different paths that are reported: of n paths all pairs
// can tie.
const maxTies = 1000

// example returns a request that both routes of a conflict could win, so that no more specific
// route wins it. If it finds none, it returns one that both match.
func (p *Policy) example(c conflict) string {
	methods := absentMethods
	if c.method != "" {
		methods = []string{c.method}
	}
	tries := exampleTries
	if c.pattern.Key() != c.otherPattern.Key() {
		tries = tieTries
	}
	first, tried := pattern.Pattern{}, make([][]pattern.Segment, len(c.pattern.Segments()))
	for n := range tries {
		common, found := c.common(tried)
		if !found {
			break
		}
		if n == 0 {
			first = common
		}
		for _, tail := range []int{n + 1, 0} {
			path := common.Example(n, tail)
			parsed, err := pattern.ParsePath(path)
			if err != nil {
				continue
			}
			for _, host := range []string{pattern.ExampleHost(c.host, 0), pattern.ExampleHost(c.host, n)} {
				for _, method := range methods {
					if won := p.Match(method, host, parsed); won == c.other || won == c.route {
						return fmt.Sprintf("%s https://%s%s", method, host, path)
					}
				}
			}
		}
	}
	return fmt.Sprintf("%s https://%s%s", methods[0], pattern.ExampleHost(c.host, 0), first.Example(0, 1))
}

// common returns a pattern of paths that both patterns match, with a text for each segment in
// which they differ that was not tried before.
func (c conflict) common(tried [][]pattern.Segment) (common pattern.Pattern, found bool) {
	segments := make([]pattern.Segment, len(tried))
	for i, s := range c.pattern.Segments() {
		other := c.otherPattern.Segments()[i]
		if segments[i] = s; s.Key() == other.Key() {
			continue
		}
		text, found, err := pattern.FindText([]pattern.Segment{s, other}, tried[i], 0)
		if err != nil || !found {
			return common, false
		}
		segments[i] = pattern.Literal(text)
		tried[i] = append(tried[i], segments[i])
	}
	return pattern.New(segments, c.pattern.Rest()), true
}

// ties returns the conflicts between different patterns of one host, each pair of patterns
// once. Only patterns with mixed segments can be different and equally specific.
func (b *builder) ties(routes []*Route) []conflict {
	if len(b.mixedAt) == 0 {
		return nil
	}
	t := &tied{builder: b, routes: routes, children: map[nodeID][]literalChild{}, siblings: map[mixedID][]siblings{}, seen: map[tiedPair]bool{}}
	for s, child := range b.literal {
		t.children[s.from] = append(t.children[s.from], literalChild{s.text, child})
	}
	for _, children := range t.children {
		slices.SortFunc(children, func(a, b literalChild) int { return cmp.Compare(a.text, b.text) })
	}
	for id, lists := range b.mixed {
		for i := range lists {
			t.siblings[mixedID(id)] = append(t.siblings[mixedID(id)], siblingsOf(&lists[i]))
		}
	}
	t.walk(b.any, b.any)
	for _, name := range sortedKeys(b.wildcard) {
		t.host = "*." + name
		t.walk(b.wildcard[name], b.wildcard[name])
	}
	for _, name := range sortedKeys(b.exact) {
		t.host = name
		t.walk(b.exact[name], b.exact[name])
	}
	return t.found
}

// tied collects ties.
type tied struct {
	*builder
	routes   []*Route
	children map[nodeID][]literalChild
	siblings map[mixedID][]siblings // by node; the most literal characters first
	host     string
	seen     map[tiedPair]bool
	found    []conflict
}

// A literalChild is a child of a node by a literal segment.
type literalChild struct {
	text string
	node nodeID
}

type tiedPair struct {
	route, other *Route
	paths        string
}

// siblings are the children of a node by mixed segments with the same number of literal
// characters, in their order.
type siblings struct {
	literals int
	children []sibling
}

// A sibling is a child of a node by a mixed segment.
type sibling struct {
	mixedChild
	key   string // of the segment
	order string // see orderOf
}

func siblingsOf(m *mixed) siblings {
	s := siblings{literals: m.literals}
	for _, child := range m.all() {
		s.children = append(s.children, sibling{child, child.segment.Key(), orderOf(child.segment)})
	}
	slices.SortFunc(s.children, func(a, b sibling) int { return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.key, b.key)) })
	return s
}

// orderOf returns a text by which segments are sorted, so that those that may overlap stand
// together: their first literal, or noFirst and the last literal from its end.
func orderOf(s pattern.Segment) string {
	first, last := s.Ends()
	if first != "" {
		return first
	}
	reversed := []byte(noFirst + last)
	slices.Reverse(reversed[len(noFirst):])
	return string(reversed)
}

// noFirst comes after every literal, which is valid UTF-8.
const noFirst = "\xff"

// mayOverlap reports whether the order of two segments leaves open that they overlap.
func mayOverlap(a, b sibling) bool {
	if (a.order >= noFirst) != (b.order >= noFirst) {
		return true
	}
	return strings.HasPrefix(a.order, b.order) || strings.HasPrefix(b.order, a.order)
}

// walk compares the patterns below two nodes, whose segments so far are equally specific and
// match common texts. Below one node it compares those that take different ways from there.
func (t *tied) walk(n, m nodeID) {
	if n == 0 || m == 0 {
		return
	}
	a, b := t.nodes[n], t.nodes[m]
	if n != m {
		t.compare(a.end, b.end)
		t.compare(a.rest, b.rest)
	}
	for _, child := range t.children[n] {
		t.walk(child.node, t.literal[step{m, child.text}])
	}
	t.walk(a.param, b.param)
	for _, list := range t.siblings[a.mixed] {
		for _, other := range t.siblings[b.mixed] {
			if list.literals == other.literals {
				t.pairs(list.children, other.children, n == m)
			}
		}
	}
}

// pairs walks through the pairs of mixed segments that overlap. same says that the lists are
// those of one node.
func (t *tied) pairs(list, others []sibling, same bool) {
	for i, a := range list {
		if same {
			t.walk(a.node, a.node)
			others = list[i+1:]
		}
		for j := 0; j < len(others); j++ {
			b := others[j]
			switch {
			case a.key == b.key || mayOverlap(a, b) && a.segment.Overlap(b.segment):
				t.walk(a.node, b.node)
			case b.order > a.order && !mayOverlap(a, b):
				// So are all others up to those without a first literal.
				next, _ := slices.BinarySearchFunc(others, noFirst, func(n sibling, order string) int { return cmp.Compare(n.order, order) })
				if j = next - 1; b.order >= noFirst {
					j = len(others)
				}
			}
		}
	}
}

// compare notes the routes of two places that match the same method equally well.
func (t *tied) compare(a, b placeID) {
	if a == 0 || b == 0 {
		return
	}
	if t.places[a].absent != 0 && t.places[b].absent != 0 {
		t.add(a, b, t.places[a].absent, t.places[b].absent, "")
	}
	var both []string // methods
	for i := t.places[a].listed; i != 0; i = t.listings[i].next {
		if method := t.listings[i].method; t.listed(b, method) != 0 {
			both = append(both, t.methodNames[method])
		}
	}
	slices.Sort(both)
	for _, name := range both {
		method := t.methods[name]
		t.add(a, b, t.listed(a, method), t.listed(b, method), name)
	}
}

func (t *tied) add(a, b placeID, first, second routeID, method string) {
	route, other, p, q := t.routes[first-1], t.routes[second-1], t.patternOf(a), t.patternOf(b)
	pair := tiedPair{route, other, p.Key() + " " + q.Key()}
	if !t.seen[pair] && len(t.found) < maxTies {
		t.seen[pair] = true
		t.found = append(t.found, conflict{route: route, other: other, host: t.host, pattern: p, otherPattern: q, method: method})
	}
}

// placement is a route under one of its patterns.
type placement struct {
	route *Route
	key   string // of the pattern
}

// addTies adds the conflicts between different patterns. Two paths of one route may tie, unless
// its condition would have to read their parameters in one of two ways.
func (c *compiler) addTies() {
	for _, x := range c.builder.ties(c.policy.routes) {
		if x.route == x.other && x.route.Condition == nil {
			continue
		}
		at, otherAt := c.placed[placement{x.route, x.pattern.Key()}], c.placed[placement{x.other, x.otherPattern.Key()}]
		if before(at.At, otherAt.At) {
			at, x.route, x.other = otherAt, x.other, x.route
			x.pattern, x.otherPattern = x.otherPattern, x.pattern
		}
		x.at = at
		c.conflicts = append(c.conflicts, x)
	}
}

// before reports whether a position is before another one.
func before(a, b Position) bool {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column)) < 0
}

// conflictProblems returns the conflicts, whose messages name both routes. It is called after
// all routes have been added, since the example of a conflict must be a request that no other
// route wins.
func (c *compiler) conflictProblems() (problems Problems) {
	c.addTies()
	for _, x := range c.conflicts {
		example := c.policy.example(x)
		message := fmt.Sprintf("route %s and route %s (%s:%d) could both win %s; make one of them more specific, or remove the path from one",
			nameOfRoute(x.route), nameOfRoute(x.other), x.other.Position.File, x.other.Position.Line, example)
		if x.route == x.other {
			message = fmt.Sprintf("%s and %s of this route both match %s, and its condition would read their parameters in two ways; write a route for each",
				strict.Quote(x.pattern.String()), strict.Quote(x.otherPattern.String()), example)
		}
		problems = append(problems, Problem{Position: x.at.At, Field: x.at.Field, Message: message})
	}
	return problems
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
