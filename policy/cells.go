package policy

import (
	"errors"
	"maps"
	"slices"
	"strconv"

	"warder/policy/pattern"
)

// ErrTooManyCells is what two policies are refused with whose patterns cut the requests
// into more cells than can be compared.
var ErrTooManyCells = errors.New("the paths of the two policies overlap in too many ways to compare")

// maxCells bounds the work: n patterns with a literal each at another place overlap in 2ⁿ ways.
const maxCells = 1 << 17

// A cell is a set of hosts and paths that no pattern of the tables tells apart: what is
// true of its sample is true of all of it.
type cell struct {
	host     string            // the narrowest pattern that its hosts match
	segments []pattern.Segment // a parameter stands for all that no literal there is
	below    bool              // and every path below
	sample   sample
}

// A sample is one request of a cell, but for the method.
type sample struct {
	host string
	path pattern.Path
}

// free reports whether paths of the cell have a segment that is not given.
func (c cell) free() bool {
	return c.below || slices.ContainsFunc(c.segments, func(s pattern.Segment) bool { return s.Param })
}

// A cutter cuts all requests into cells.
type cutter struct {
	literals map[string]bool
	cells    []cell
}

// cut returns the cells in which a path of the tables matches. Where no pattern of its
// own host takes a cell, requests are decided as on the next wider host: such cells are
// left out unless all hosts are wanted.
func cut(allHosts bool, tables ...[]Entry) ([]cell, error) {
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

// hostPatterns are the patterns under one host, by their key.
type hostPatterns map[string]pattern.Pattern

// hostsAround returns all host patterns that match every host that this one matches,
// the way [pattern.HostCovers] tells them; there are few, however many hosts a policy has.
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

// sampleHost returns a host that matches the pattern and none that is narrower.
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

// walk cuts the paths that begin as the cell's. The patterns are those that such paths
// may still match; of the cells, those are kept that one of its own patterns takes.
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

// split tells apart the patterns that go on at a depth, those that take all from there,
// and whether one ends there.
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

// then returns the cell that is a segment longer.
func (c cell) then(s pattern.Segment) cell {
	c.segments = append(slices.Clone(c.segments), s)
	return c
}

// fitting returns the patterns that take a segment: this literal, or with "" what is none.
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

// add makes the sample of a cell and keeps it.
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
		return nil //nolint:nilerr // a path without a canonical form is no request's
	}
	at.sample.path = path
	c.cells = append(c.cells, at)
	return nil
}
