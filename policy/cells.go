package policy

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

// ErrTooManyCells is what two policies are refused with whose patterns cut the requests
// into more cells than can be compared.
var ErrTooManyCells = errors.New("the paths of the two policies overlap in too many ways to compare")

// maxCells bounds the work: n patterns with a literal each at another place overlap in 2ⁿ ways.
const maxCells = 1 << 17

// A cell is a set of hosts and paths that no pattern of the tables tells apart: what is
// true of its sample is true of all of it.
type cell struct {
	host     string           // the narrowest pattern that its hosts match
	segments []patternSegment // a parameter stands for all that no literal there is
	below    bool             // and every path below
	sample   sample
}

// A sample is one request of a cell, but for the method.
type sample struct {
	host string
	path Path
}

// free reports whether paths of the cell have a segment that is not given.
func (c cell) free() bool {
	return c.below || slices.ContainsFunc(c.segments, func(s patternSegment) bool { return s.param })
}

// A cutter cuts all requests into cells.
type cutter struct {
	literals map[string]bool
	cells    []cell
}

// cut returns the cells in which a path of the tables matches.
func cut(tables ...[]Entry) ([]cell, error) {
	entries := slices.Concat(tables...)
	c := &cutter{literals: map[string]bool{}}
	hosts := map[string]bool{}
	for _, e := range entries {
		hosts[e.Host] = true
		for _, s := range e.pattern.segments {
			if !s.param {
				c.literals[s.text] = true
			}
		}
	}
	for _, host := range slices.SortedFunc(maps.Keys(hosts), compareHosts) {
		var patterns []pattern
		seen := map[string]bool{}
		for _, e := range entries {
			if key := e.pattern.key(); coversHost(e.Host, host) && !seen[key] {
				seen[key] = true
				patterns = append(patterns, e.pattern)
			}
		}
		if err := c.walk(cell{host: host, sample: sample{host: sampleHost(host, hosts)}}, patterns); err != nil {
			return nil, err
		}
	}
	return c.cells, nil
}

// sampleHost returns a host that matches the pattern and none that is narrower.
func sampleHost(pattern string, all map[string]bool) string {
	for n := 0; ; n++ {
		host := exampleHost(pattern, n)
		narrower := false
		for other := range all {
			narrower = narrower || coversHost(other, host) && !coversHost(other, pattern)
		}
		if !narrower {
			return host
		}
	}
}

// walk cuts the paths that begin as the cell's. The patterns are those that such paths
// may still match.
func (c *cutter) walk(at cell, patterns []pattern) error {
	depth := len(at.segments)
	var longer, rests []pattern
	ended := false
	for _, p := range patterns {
		switch {
		case len(p.segments) > depth:
			longer = append(longer, p)
		case p.rest:
			rests = append(rests, p)
		default:
			ended = true
		}
	}
	at.below = !ended && len(longer) == 0 && len(rests) > 0
	if ended || len(rests) > 0 {
		if err := c.add(at); err != nil {
			return err
		}
	}
	if at.below || len(longer) == 0 && len(rests) == 0 {
		return nil
	}
	literals := map[string]bool{}
	for _, p := range longer {
		if s := p.segments[depth]; !s.param {
			literals[s.text] = true
		}
	}
	for _, text := range slices.Sorted(maps.Keys(literals)) {
		if err := c.walk(at.then(patternSegment{text, false}), append(fitting(longer, depth, text), rests...)); err != nil {
			return err
		}
	}
	return c.walk(at.then(patternSegment{c.fresh(), true}), append(fitting(longer, depth, ""), rests...))
}

// then returns the cell that is a segment longer.
func (c cell) then(s patternSegment) cell {
	c.segments = append(slices.Clone(c.segments), s)
	return c
}

// fitting returns the patterns that take a segment: this literal, or with "" what is none.
func fitting(patterns []pattern, depth int, text string) (fit []pattern) {
	for _, p := range patterns {
		if s := p.segments[depth]; s.param || text != "" && s.text == text {
			fit = append(fit, p)
		}
	}
	return fit
}

// fresh returns a segment that is no literal of any pattern.
func (c *cutter) fresh() string {
	n := 0
	for c.literals[nth("x", n)] {
		n++
	}
	return nth("x", n)
}

// add makes the sample of a cell and keeps it.
func (c *cutter) add(at cell) error {
	if len(c.cells) >= maxCells {
		return ErrTooManyCells
	}
	path, err := ParsePath(pattern{segments: at.segments}.sample())
	if err != nil {
		return nil //nolint:nilerr // a path without a canonical form is no request's
	}
	at.sample.path = path
	c.cells = append(c.cells, at)
	return nil
}

// sample writes the path that a cell is looked at by: its parameters hold their value.
func (p pattern) sample() string {
	var b strings.Builder
	for _, s := range p.segments {
		b.WriteByte('/')
		b.WriteString(escapeSegment(s.text))
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}
