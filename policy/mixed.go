package policy

import (
	"cmp"
	"slices"
	"strings"

	"warder/policy/pattern"
)

// mixed are the children of a node by mixed segments with the same number of literal
// characters. They are looked up by the literal at their beginning, or by that at their end,
// so that only those are matched that hold it.
type mixed struct {
	literals int
	byFirst  affixes
	byLast   affixes
	others   []mixedNode
}

// affixes are mixed segments by a literal at one of their ends.
type affixes struct {
	lengths  []int // of the literals, each once
	segments map[string][]mixedNode
}

// A mixedNode is a child of a node by a mixed segment.
type mixedNode struct {
	segment pattern.Segment
	key     string // of the segment
	order   string // see orderOf
	*node
}

// match finds the most specific route below the segments that match. They are equally
// specific, so that all of them have to be looked at.
func (m *mixed) match(segments []string, method string) (best found) {
	text := segments[0]
	for _, n := range m.byFirst.lengths {
		if n < len(text) {
			best = bestOf(best, m.byFirst.segments[text[:n]], segments, method)
		}
	}
	for _, n := range m.byLast.lengths {
		if n < len(text) {
			best = bestOf(best, m.byLast.segments[text[len(text)-n:]], segments, method)
		}
	}
	return bestOf(best, m.others, segments, method)
}

func bestOf(best found, nodes []mixedNode, segments []string, method string) found {
	for i := range nodes {
		if !nodes[i].segment.Matches(segments[0]) {
			continue
		}
		if f := nodes[i].match(segments[1:], method); f.route != nil && (best.route == nil || f.moreSpecific(best)) {
			best = f
		}
	}
	return best
}

// all returns all children, in their order.
func (m *mixed) all() (all []mixedNode) {
	for _, a := range []affixes{m.byFirst, m.byLast} {
		for _, nodes := range a.segments {
			all = append(all, nodes...)
		}
	}
	all = append(all, m.others...)
	slices.SortFunc(all, func(a, b mixedNode) int { return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.key, b.key)) })
	return all
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
func mayOverlap(a, b mixedNode) bool {
	if (a.order >= noFirst) != (b.order >= noFirst) {
		return true
	}
	return strings.HasPrefix(a.order, b.order) || strings.HasPrefix(b.order, a.order)
}

// mixedChild returns the child of a node by a mixed segment, which it creates if it does not
// exist.
func (n *node) mixedChild(s pattern.Segment) *node {
	literals := s.Literals()
	i, exists := slices.BinarySearchFunc(n.mixed, literals, func(m mixed, literals int) int { return cmp.Compare(literals, m.literals) })
	if !exists {
		n.mixed = slices.Insert(n.mixed, i, mixed{literals: literals})
	}
	m := &n.mixed[i]
	switch first, last := s.Ends(); {
	case first != "":
		return m.byFirst.child(first, s)
	case last != "":
		return m.byLast.child(last, s)
	}
	return childOf(&m.others, s)
}

func (a *affixes) child(literal string, s pattern.Segment) *node {
	if !slices.Contains(a.lengths, len(literal)) {
		a.lengths = append(a.lengths, len(literal))
	}
	if a.segments == nil {
		a.segments = map[string][]mixedNode{}
	}
	nodes := a.segments[literal]
	n := childOf(&nodes, s)
	a.segments[literal] = nodes
	return n
}

func childOf(nodes *[]mixedNode, s pattern.Segment) *node {
	key := s.Key()
	for _, n := range *nodes {
		if n.key == key {
			return n.node
		}
	}
	*nodes = append(*nodes, mixedNode{s, key, orderOf(s), new(node)})
	return (*nodes)[len(*nodes)-1].node
}

// childByMixed returns the child by a mixed segment, or nil if there is none.
func (n *node) childByMixed(s pattern.Segment) *node {
	i := slices.IndexFunc(n.mixed, func(m mixed) bool { return m.literals == s.Literals() })
	if i < 0 {
		return nil
	}
	nodes := n.mixed[i].others
	switch first, last := s.Ends(); {
	case first != "":
		nodes = n.mixed[i].byFirst.segments[first]
	case last != "":
		nodes = n.mixed[i].byLast.segments[last]
	}
	key := s.Key()
	if i = slices.IndexFunc(nodes, func(n mixedNode) bool { return n.key == key }); i < 0 {
		return nil
	}
	return nodes[i].node
}
