package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

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

// ties returns the conflicts between different patterns of one host, each pair of patterns once.
func (m *matcher) ties() []conflict {
	t := &tied{seen: map[tiedPair]bool{}}
	t.walk(m.any, m.any)
	for _, name := range sortedKeys(m.wildcard) {
		t.host = "*." + name
		t.walk(m.wildcard[name], m.wildcard[name])
	}
	for _, name := range sortedKeys(m.exact) {
		t.host = name
		t.walk(m.exact[name], m.exact[name])
	}
	return t.found
}

// tied collects ties.
type tied struct {
	host  string
	seen  map[tiedPair]bool
	found []conflict
}

type tiedPair struct {
	route, other *Route
	paths        string
}

// walk compares the patterns below two nodes, whose segments so far are equally specific and
// match common texts. Below one node it compares those that take different ways from there.
func (t *tied) walk(n, m *node) {
	if n == nil || m == nil {
		return
	}
	if n != m {
		t.compare(n.end, m.end)
		t.compare(n.rest, m.rest)
	}
	for text, child := range n.literal {
		t.walk(child, m.literal[text])
	}
	t.walk(n.param, m.param)
	for i := range n.mixed {
		for j := range m.mixed {
			if n.mixed[i].literals == m.mixed[j].literals {
				t.siblings(n.mixed[i].all(), m.mixed[j].all(), n == m)
			}
		}
	}
}

// siblings walks through the pairs of mixed segments that overlap. same says that the lists are
// those of one node.
func (t *tied) siblings(list, others []mixedNode, same bool) {
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
				next, _ := slices.BinarySearchFunc(others, noFirst, func(n mixedNode, order string) int { return cmp.Compare(n.order, order) })
				if j = next - 1; b.order >= noFirst {
					j = len(others)
				}
			}
		}
	}
}

// compare notes the routes of two places that match the same method equally well.
func (t *tied) compare(a, b *methods) {
	if a == nil || b == nil {
		return
	}
	if a.absent != nil && b.absent != nil {
		t.add(a, b, a.absent, b.absent, "")
	}
	for _, method := range sortedKeys(a.listed) {
		if other := b.listed[method]; other != nil {
			t.add(a, b, a.listed[method], other, method)
		}
	}
}

func (t *tied) add(a, b *methods, route, other *Route, method string) {
	pair := tiedPair{route, other, a.pattern.Key() + " " + b.pattern.Key()}
	if !t.seen[pair] && len(t.found) < maxTies {
		t.seen[pair] = true
		t.found = append(t.found, conflict{route: route, other: other, host: t.host, pattern: a.pattern, otherPattern: b.pattern, method: method})
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
	for _, x := range c.policy.matcher.ties() {
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
