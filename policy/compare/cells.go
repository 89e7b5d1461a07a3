package compare

import (
	"errors"
	"maps"
	"slices"
	"strconv"

	"warder/policy"
	"warder/policy/pattern"
)

// ErrTooManyCells is returned for policies whose patterns divide the requests into more cells
// than can be compared.
var ErrTooManyCells = errors.New("the paths of the two policies overlap in too many ways to compare")

// maxCells bounds the work: n patterns that each have a literal at another place overlap in
// 2ⁿ ways.
const maxCells = 1 << 17

// A cell is a set of hosts and paths that no pattern of the tables tells apart, so that a
// policy decides all of its requests like its sample.
type cell struct {
	host     string            // the narrowest pattern that matches its hosts
	segments []pattern.Segment // a parameter stands for all segments that are no literal of a pattern
	below    bool              // paths below belong to the cell too
	sample   sample
}

// A sample is one request of a cell, without its method.
type sample struct {
	host string
	path pattern.Path
}

// free reports whether the paths of the cell have a segment that is not a literal.
func (c cell) free() bool {
	return c.below || slices.ContainsFunc(c.segments, func(s pattern.Segment) bool { return s.Param })
}

// A cutter divides all requests into cells.
type cutter struct {
	literals map[string]bool
	cells    []cell
}

// cut returns the cells that a path of the tables matches. If no pattern under the host of a
// cell matches it, its requests are decided as under the next wider host; such cells are left
// out unless allHosts is true.
func cut(allHosts bool, tables ...[]policy.Entry) ([]cell, error) {
	entries := slices.Concat(tables...)
	c := &cutter{literals: map[string]bool{}}
	hosts := map[string]hostPatterns{}
	for _, e := range entries {
		if hosts[e.Host] == nil {
			hosts[e.Host] = hostPatterns{}
		}
		hosts[e.Host][e.Pattern.Key()] = e.Pattern
		for _, s := range e.Pattern.Segments() {
			if !s.Param {
				c.literals[s.Text] = true
			}
		}
	}
	for _, host := range slices.SortedFunc(maps.Keys(hosts), pattern.CompareHosts) {
		all := hostPatterns{}
		for _, wide := range hostsAround(host) {
			maps.Copy(all, hosts[wide])
		}
		patterns := slices.Collect(maps.Values(all))
		own := patterns
		if !allHosts {
			own = slices.Collect(maps.Values(hosts[host]))
		}
		if err := c.walk(cell{host: host, sample: sample{host: sampleHost(host, hosts)}}, patterns, own); err != nil {
			return nil, err
		}
	}
	return c.cells, nil
}

// hostPatterns are the patterns under one host, by their keys.
type hostPatterns map[string]pattern.Pattern

// hostsAround returns all host patterns that cover this one in the sense of
// [pattern.HostCovers]. They are few, however many hosts a policy has.
func hostsAround(host string) []string {
	around := []string{host}
	if host != "" {
		around = append(around, "")
	}
	for i := range len(host) {
		if wide := "*" + host[i:]; host[i] == '.' && wide != host {
			around = append(around, wide)
		}
	}
	return around
}

// sampleHost returns a host that the pattern matches, and no narrower one.
func sampleHost(wide string, all map[string]hostPatterns) string {
	for n := 0; ; n++ {
		host := pattern.ExampleHost(wide, n)
		narrower := slices.ContainsFunc(hostsAround(host), func(other string) bool {
			return all[other] != nil && !pattern.HostCovers(other, wide)
		})
		if !narrower {
			return host
		}
	}
}

// walk divides the paths that begin like those of a cell. patterns are those that may still
// match such paths. Only cells that one of the own patterns matches are kept.
func (c *cutter) walk(at cell, patterns, own []pattern.Pattern) error {
	depth := len(at.segments)
	longer, rests, ended := split(patterns, depth)
	ownLonger, ownRests, ownEnded := split(own, depth)
	at.below = !ended && len(longer) == 0 && len(rests) > 0
	if ownEnded || len(ownRests) > 0 {
		if err := c.add(at); err != nil {
			return err
		}
	}
	if at.below {
		return nil
	}
	literals := map[string]bool{}
	for _, p := range longer {
		if s := p.Segments()[depth]; !s.Param {
			literals[s.Text] = true
		}
	}
	next := func(s pattern.Segment, literal string) error {
		own := append(fitting(ownLonger, depth, literal), ownRests...)
		if len(own) == 0 {
			return nil
		}
		return c.walk(at.then(s), append(fitting(longer, depth, literal), rests...), own)
	}
	for _, text := range slices.Sorted(maps.Keys(literals)) {
		if err := next(pattern.Segment{Text: text}, text); err != nil {
			return err
		}
	}
	return next(pattern.Segment{Text: c.fresh(), Param: true}, "")
}

// split returns the patterns that have another segment at a depth, those that match
// everything from there, and whether one ends there.
func split(patterns []pattern.Pattern, depth int) (longer, rests []pattern.Pattern, ended bool) {
	for _, p := range patterns {
		switch {
		case len(p.Segments()) > depth:
			longer = append(longer, p)
		case p.Rest():
			rests = append(rests, p)
		default:
			ended = true
		}
	}
	return longer, rests, ended
}

// then returns the cell with one more segment.
func (c cell) then(s pattern.Segment) cell {
	c.segments = append(slices.Clone(c.segments), s)
	return c
}

// fitting returns the patterns that match a literal at a depth, or, for "", a segment that is
// no literal of any pattern.
func fitting(patterns []pattern.Pattern, depth int, text string) (fit []pattern.Pattern) {
	for _, p := range patterns {
		if s := p.Segments()[depth]; s.Param || text != "" && s.Text == text {
			fit = append(fit, p)
		}
	}
	return fit
}

// fresh returns a segment that is no literal of any pattern.
func (c *cutter) fresh() string {
	text := "x"
	for n := 1; c.literals[text]; n++ {
		text = "x" + strconv.Itoa(n)
	}
	return text
}

// add keeps a cell, with a sample of it.
func (c *cutter) add(at cell) error {
	if len(c.cells) >= maxCells {
		return ErrTooManyCells
	}
	literals := slices.Clone(at.segments)
	for i := range literals {
		literals[i].Param = false
	}
	path, err := pattern.ParsePath(pattern.New(literals, false).String())
	if err != nil {
		return nil //nolint:nilerr // no request has a path without a canonical form
	}
	at.sample.path = path
	c.cells = append(c.cells, at)
	return nil
}
