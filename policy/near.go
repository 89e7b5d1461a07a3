package policy

import (
	"cmp"
	"slices"

	"warder/policy/pattern"
)

// A Near is an entry that nearly matched a request, or matched it and did not win.
type Near struct {
	Entry
	// TakesHost, TakesPath and TakesMethod say which parts of the request the entry matches.
	// If it matches all of them, another entry won, whose part LostBy is more specific.
	TakesHost, TakesPath, TakesMethod bool
	LostBy                            Part
	// Segment is a number of segments of the path, from the left. If the entry does not match
	// the path, it matches these segments. If it lost by its path, it is as specific as the
	// winner on them.
	Segment int
}

// A Part is the part of two entries that decides which of them is more specific.
type Part uint8

const (
	PartNone Part = iota
	PartHost
	PartPath
	PartMethod
)

// Near returns the routes that came close to winning a request, each with its best entry:
// first those that match it but are less specific than the winner, then those that match its
// path but not its method or host. If no route matches the path, it returns those that match
// the longest beginning of it, with at least one literal segment. It returns at most limit
// routes; more is the number of the others.
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
		// The table is sorted, so that the first of two equally close entries is the better one.
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

// closeness is 0 for an entry that matches the request, and greater for one that matches less
// of it.
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

// lostBy returns the part in which the winner is more specific, and for a path the number of
// segments before it.
func lostBy(winner, loser Entry) (Part, int) {
	if pattern.CompareHosts(winner.Host, loser.Host) != 0 {
		return PartHost, 0
	}
	if segment, found := winner.Pattern.FirstDifference(loser.Pattern); found {
		return PartPath, segment
	}
	return PartMethod, len(winner.Pattern.Segments())
}

// hasLiteral reports whether one of the segments holds a literal.
func hasLiteral(segments []pattern.Segment) bool {
	return slices.ContainsFunc(segments, func(s pattern.Segment) bool { return !s.IsParam() })
}
