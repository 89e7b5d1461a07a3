package policy

import (
	"slices"

	"warder/policy/pattern"
)

// mixed are the children of a node by mixed segments with the same number of literal
// characters. They are looked up by the literal at their beginning, or by that at their end,
// so that only those are matched that hold it.
type mixed struct {
	literals int
	byFirst  affixes
	byLast   affixes
	others   []mixedChild
}

// affixes are mixed segments by a literal at one of their ends.
type affixes struct {
	lengths  []int // of the literals, each once
	segments map[string][]mixedChild
}

// A mixedChild is a child of a node by a mixed segment.
type mixedChild struct {
	segment pattern.Segment
	node    nodeID
}

// matchMixed finds the most specific route below the segments that match. They are equally
// specific, so that all of them have to be looked at.
func (m *matcher) matchMixed(children *mixed, segments []string, method methodID) (best found) {
	text := segments[0]
	for _, n := range children.byFirst.lengths {
		if n < len(text) {
			best = m.bestOf(best, children.byFirst.segments[text[:n]], segments, method)
		}
	}
	for _, n := range children.byLast.lengths {
		if n < len(text) {
			best = m.bestOf(best, children.byLast.segments[text[len(text)-n:]], segments, method)
		}
	}
	return m.bestOf(best, children.others, segments, method)
}

func (m *matcher) bestOf(best found, children []mixedChild, segments []string, method methodID) found {
	for i := range children {
		if !children[i].segment.Matches(segments[0]) {
			continue
		}
		if f := m.match(children[i].node, segments[1:], method); f.route != 0 && (best.route == 0 || m.moreSpecific(f, best)) {
			best = f
		}
	}
	return best
}

// all returns all children, in no order.
func (m *mixed) all() (all []mixedChild) {
	for _, a := range []affixes{m.byFirst, m.byLast} {
		for _, children := range a.segments {
			all = append(all, children...)
		}
	}
	return append(all, m.others...)
}

// add adds a child.
func (m *mixed) add(child mixedChild) {
	switch first, last := child.segment.Ends(); {
	case first != "":
		m.byFirst.add(first, child)
	case last != "":
		m.byLast.add(last, child)
	default:
		m.others = append(m.others, child)
	}
}

func (a *affixes) add(literal string, child mixedChild) {
	if a.segments == nil {
		a.segments = map[string][]mixedChild{}
	}
	children, known := a.segments[literal]
	if !known && !slices.Contains(a.lengths, len(literal)) {
		a.lengths = append(a.lengths, len(literal))
	}
	a.segments[literal] = append(children, child)
}
