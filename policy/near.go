package policy

import (
	"cmp"
	"slices"
	"strings"

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
	// Alike says how the path of the request can be changed so that the entry matches it. It is
	// AlikeNot if the entry matches it as it is, and for paths that have less in common.
	Alike Alike
}

// Alike is one slip by which a path differs from one that a pattern matches.
type Alike uint8

const (
	AlikeNot     Alike = iota
	AlikeCase          // capitals and small letters
	AlikeSegment       // the spelling of one segment
	AlikeLength        // segments that the request has too many or too few
)

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
// it but for one slip, and those that match the longest beginning of it, with at least one
// literal segment. It returns at most limit routes; more is the number of the others.
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
	for _, e := range p.table() {
		n := Near{Entry: e, TakesHost: pattern.HostMatches(e.Host, string(name)), TakesMethod: e.takesMethod(method)}
		n.Segment, n.TakesPath = e.Pattern.Prefix(path)
		if e.Route == winner {
			if won == nil && n.closeness() == 0 {
				won = &n
			}
			continue
		}
		if !n.TakesPath {
			n.Alike = alike(e.Pattern, path.Segments())
		}
		if !n.TakesPath && n.Alike == AlikeNot && !hasLiteral(e.Pattern.Segments()[:n.Segment]) {
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
		if hasLiteral(n.Pattern.Segments()[:n.Segment]) {
			longest = max(longest, n.Segment)
		}
	}
	for _, r := range p.routes {
		n, near := best[r]
		if !near || taken != n.TakesPath || !taken && n.Alike == AlikeNot && n.Segment < longest {
			continue
		}
		if n.closeness() == 0 && won != nil {
			n.LostBy, n.Segment = lostBy(won.Entry, n.Entry)
		}
		found = append(found, n)
	}
	slices.SortStableFunc(found, func(a, b Near) int {
		return cmp.Or(cmp.Compare(a.slip(), b.slip()), cmp.Compare(a.closeness(), b.closeness()), pattern.CompareHosts(a.Host, b.Host), a.Pattern.Compare(b.Pattern))
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
	if n.slip() != than.slip() {
		return n.slip() < than.slip()
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

// slip orders entries by how their path differs from that of the request, the closest first.
func (n Near) slip() int {
	if n.Alike == AlikeNot && !n.TakesPath {
		return int(AlikeLength) + 1
	}
	return int(n.Alike)
}

// alike returns the slip by which a path differs from those that a pattern matches. At least
// one literal must be as in the path, so that a pattern of parameters is like no path.
func alike(p pattern.Pattern, path []string) Alike {
	segments := p.Segments()
	switch {
	case matchesBut(segments, p.Rest(), path, -1):
		return AlikeCase
	case slices.ContainsFunc(upTo(len(segments)), func(i int) bool {
		return i < len(path) && misspelt(segments[i], path[i]) && matchesBut(segments, p.Rest(), path, i)
	}):
		return AlikeSegment
	case matchesLonger(segments, p.Rest(), path):
		return AlikeLength
	}
	return AlikeNot
}

// matchesLonger reports whether the segments match a path without one of its segments or
// without the first ones, or whether the path is matched without one of the segments or without
// the first ones.
func matchesLonger(segments []pattern.Segment, rest bool, path []string) bool {
	for i := range path {
		if matchesBut(segments, rest, slices.Delete(slices.Clone(path), i, i+1), -1) || matchesBut(segments, rest, path[i+1:], -1) {
			return true
		}
	}
	for i := range segments {
		if matchesBut(slices.Delete(slices.Clone(segments), i, i+1), rest, path, -1) || matchesBut(segments[i+1:], rest, path, -1) {
			return true
		}
	}
	return false
}

// matchesBut reports whether the segments match a path, except for one of them, and in any case
// of letters. One literal at least must match.
func matchesBut(segments []pattern.Segment, rest bool, path []string, but int) bool {
	if len(segments) > len(path) || !rest && len(segments) < len(path) {
		return false
	}
	literal := false
	for i, s := range segments {
		switch {
		case i == but:
		case !s.MatchesFold(path[i]):
			return false
		case !s.IsParam():
			literal = true
		}
	}
	return literal
}

// misspelt reports whether a text resembles a literal.
func misspelt(s pattern.Segment, text string) bool {
	if !s.IsLiteral() {
		return false
	}
	a, b := strings.ToLower(s.Text), strings.ToLower(text)
	plain := strings.NewReplacer("-", "", "_", "", ".", "").Replace
	return plain(a) == plain(b) || isSlip(a, b) || isSlip(plain(a), plain(b))
}

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}
