package policy

import (
	"cmp"
	"slices"

	"warder/policy/pattern"
)

// A Near is an entry that did not win a request, and came close.
type Near struct {
	Entry
	// TakesHost, TakesPath and TakesMethod say what of the request the entry is
	// for. One that takes all three lost to an entry that is more specific in LostBy.
	TakesHost, TakesPath, TakesMethod bool
	LostBy                            Part
	// Segment counts the segments of the path, from the left, that fit: for an entry
	// that does not take the path, and for one that lost by it those on which it is as
	// specific as the winner.
	Segment int
}

// A Part is what of two entries decides which is the more specific one.
type Part uint8

const (
	PartNone Part = iota
	PartHost
	PartPath
	PartMethod
)

// Near returns the routes that came close to a request, each by its best entry: those that
// take the request but are less specific than the one that won, then those that take
// its path but not its method or host. When no route takes the path, it returns those that share
// the longest beginning with it, at least one literal segment. At most limit of them are
// returned; more says how many there are beside them.
func (p *Policy) Near(method, host string, path pattern.Path, limit int) (found []Near, more int) {
	if path.Raw() == "" {
		return nil, 0
	}
	var buf [pattern.MaxHost]byte
	name, ok := pattern.CanonicalHost(host, &buf)
	if !ok {
		return nil, 0
	}
	winner := p.Match(method, host, path)
	best := map[*Route]Near{}
	var won *Near
	for _, e := range p.table {
		n := Near{Entry: e, TakesHost: pattern.HostMatches(e.Host, string(name)), TakesMethod: e.takesMethod(method)}
		n.Segment, n.TakesPath = e.Pattern.Prefix(path)
		if e.Route == winner {
			if won == nil && n.closeness() == 0 {
				won = &n
			}
			continue
		}
		if !n.TakesPath && !hasLiteral(e.Pattern.Segments()[:n.Segment]) {
			continue
		}
		// The table is sorted: of two that are as close the first is the better one.
		if before, seen := best[e.Route]; !seen || n.closer(before) {
			best[e.Route] = n
		}
	}
	taken, longest := won != nil, 0
	for _, n := range best {
		taken = taken || n.TakesPath
		longest = max(longest, n.Segment)
	}
	for _, r := range p.routes {
		n, near := best[r]
		if !near || taken != n.TakesPath || !taken && n.Segment < longest {
			continue
		}
		if n.closeness() == 0 && won != nil {
			n.LostBy, n.Segment = lostBy(won.Entry, n.Entry)
		}
		found = append(found, n)
	}
	slices.SortStableFunc(found, func(a, b Near) int {
		return cmp.Or(cmp.Compare(a.closeness(), b.closeness()), pattern.CompareHosts(a.Host, b.Host), a.Pattern.Compare(b.Pattern))
	})
	if len(found) > limit {
		return found[:limit], len(found) - limit
	}
	return found, 0
}

// closeness is 0 for an entry that takes the request, and more the less it does.
func (n Near) closeness() int {
	miss := 0
	if !n.TakesPath {
		miss += 4
	}
	if !n.TakesHost {
		miss += 2
	}
	if !n.TakesMethod {
		miss++
	}
	return miss
}

func (n Near) closer(than Near) bool {
	if n.TakesPath != than.TakesPath {
		return n.TakesPath
	}
	if !n.TakesPath && n.Segment != than.Segment {
		return n.Segment > than.Segment
	}
	return n.closeness() < than.closeness()
}

// lostBy says in what the winner is the more specific one, and after how many segments.
func lostBy(winner, loser Entry) (Part, int) {
	if pattern.CompareHosts(winner.Host, loser.Host) != 0 {
		return PartHost, 0
	}
	if segment, found := winner.Pattern.FirstDifference(loser.Pattern); found {
		return PartPath, segment
	}
	return PartMethod, len(winner.Pattern.Segments())
}

// hasLiteral reports whether one of the segments is a literal.
func hasLiteral(segments []pattern.Segment) bool {
	return slices.ContainsFunc(segments, func(s pattern.Segment) bool { return !s.Param })
}
