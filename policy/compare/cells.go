package compare

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

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
	host     string // the narrowest pattern that matches its hosts
	segments []class
	below    bool // paths below belong to the cell too
	sample   sample
}

// A class is a set of texts of one segment that no pattern tells apart: one literal, or the
// texts that are no literal of a pattern and that the same mixed segments match.
type class struct {
	text    string // one of them
	literal bool   // the only one
	in, out []pattern.Segment
	forms   pattern.Forms // that some of them have, and text has not
}

// takes reports whether a segment of a pattern matches the texts of the class.
func (c class) takes(s pattern.Segment) bool { return s.Matches(c.text) }

// holds reports whether a text belongs to the class.
func (c class) holds(text string) bool {
	if c.literal {
		return text == c.text
	}
	return !slices.ContainsFunc(c.in, func(s pattern.Segment) bool { return !s.Matches(text) }) &&
		!slices.ContainsFunc(c.out, func(s pattern.Segment) bool { return s.Matches(text) })
}

// A sample is one request of a cell, without its method.
type sample struct {
	host string
	path pattern.Path
}

// free returns the forms that some paths of the cell have and its sample has not.
func (c cell) free() (forms pattern.Forms) {
	if c.below {
		return everyForm
	}
	for _, s := range c.segments {
		forms |= s.forms
	}
	return forms
}

const everyForm = pattern.EncodedSlash | pattern.EncodedPercent | pattern.Semicolon

// takenBy reports whether a pattern matches the paths of the cell. Its segments must be those of
// patterns that the cells were cut by.
func (c cell) takenBy(p pattern.Pattern) bool {
	segments := p.Segments()
	if len(segments) > len(c.segments) || !p.Rest() && (c.below || len(segments) < len(c.segments)) {
		return false
	}
	for i, s := range segments {
		if !c.segments[i].takes(s) {
			return false
		}
	}
	return true
}

// A cutter divides all requests into cells.
type cutter struct {
	literals map[string]bool
	overlaps map[[2]string]bool // of mixed segments, by their keys
	cells    []cell
}

// cut returns the cells that a path of the tables matches. If no pattern under the host of a
// cell matches it, its requests are decided as under the next wider host; such cells are left
// out unless allHosts is true.
func cut(allHosts bool, tables ...[]policy.Entry) ([]cell, error) {
	entries := slices.Concat(tables...)
	c := &cutter{literals: map[string]bool{}, overlaps: map[[2]string]bool{}}
	hosts := map[string]hostPatterns{}
	for _, e := range entries {
		if hosts[e.Host] == nil {
			hosts[e.Host] = hostPatterns{}
		}
		hosts[e.Host][e.Pattern.Key()] = e.Pattern
		for _, s := range e.Pattern.Segments() {
			if s.IsLiteral() {
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
	classes, err := c.classes(longer, depth)
	if err != nil {
		return err
	}
	for _, next := range classes {
		own := append(fitting(ownLonger, depth, next), ownRests...)
		if len(own) == 0 {
			continue
		}
		if err := c.walk(at.then(next), append(fitting(longer, depth, next), rests...), own); err != nil {
			return err
		}
	}
	return nil
}

// classes divides the texts at a depth: first the literals, then what is left by the mixed
// segments that match it.
func (c *cutter) classes(patterns []pattern.Pattern, depth int) (all []class, err error) {
	literals, mixed := map[string]pattern.Segment{}, map[string]pattern.Segment{}
	for _, p := range patterns {
		switch s := p.Segments()[depth]; {
		case s.IsLiteral():
			literals[s.Text] = s
		case s.IsMixed():
			mixed[s.Key()] = s
		}
	}
	var texts []pattern.Segment
	for _, text := range slices.Sorted(maps.Keys(literals)) {
		all = append(all, class{text: text, literal: true})
		texts = append(texts, literals[text])
	}
	other := class{out: texts}
	rest := []class{}
	for _, key := range slices.Sorted(maps.Keys(mixed)) {
		for i, known := range rest {
			inside, found, err := c.narrow(known, mixed[key])
			if err != nil {
				return nil, err
			}
			if !found {
				rest[i].out = append(slices.Clone(known.out), mixed[key])
				continue
			}
			rest = append(rest, inside)
			known.out = append(slices.Clone(known.out), mixed[key])
			if rest[i], found, err = known.sampled(); err != nil {
				return nil, err
			} else if !found {
				rest[i].in = nil // all of it is inside
			}
		}
		rest = slices.DeleteFunc(rest, func(c class) bool { return c.in == nil })
		alone, found, err := class{in: []pattern.Segment{mixed[key]}, out: other.out}.sampled()
		if err != nil {
			return nil, err
		}
		if found {
			rest = append(rest, alone)
		}
		other.out = append(slices.Clone(other.out), mixed[key])
	}
	for i := range rest {
		if rest[i].forms, err = rest[i].otherForms(); err != nil {
			return nil, err
		}
	}
	other.text = c.fresh(other.out)
	if other.forms, err = other.otherForms(); err != nil {
		return nil, err
	}
	return append(append(all, rest...), other), nil
}

// narrow returns the texts of a class that one more mixed segment matches.
func (c *cutter) narrow(known class, s pattern.Segment) (inside class, found bool, err error) {
	for _, in := range known.in {
		pair := [2]string{in.Key(), s.Key()}
		overlap, asked := c.overlaps[pair]
		if !asked {
			overlap = in.Overlap(s)
			c.overlaps[pair] = overlap
		}
		if !overlap {
			return inside, false, nil
		}
	}
	inside = class{in: append(slices.Clone(known.in), s), out: known.out}
	return inside.sampled()
}

// sampled returns the class with a text of it. found is false if it is empty.
func (c class) sampled() (with class, found bool, err error) {
	c.text, found, err = pattern.FindText(c.in, c.meeting(), 0)
	if err != nil {
		return c, false, ErrTooManyCells
	}
	return c, found, nil
}

// otherForms returns the forms that the text of the class has not and others have.
func (c class) otherForms() (forms pattern.Forms, err error) {
	var out []pattern.Segment
	for _, s := range c.meeting() {
		if s.IsMixed() || strings.ContainsAny(s.Text, "/%;") {
			out = append(out, s)
		}
	}
	if len(c.in)+len(out) == 0 {
		return everyForm, nil
	}
	for form := pattern.Forms(1); form&everyForm != 0; form <<= 1 {
		_, found, err := pattern.FindText(c.in, out, form)
		if err != nil {
			return 0, ErrTooManyCells
		}
		if found {
			forms |= form
		}
	}
	return forms, nil
}

// meeting returns those of the segments outside of the class that match a text that all segments
// of the class may match.
func (c class) meeting() []pattern.Segment {
	var out []pattern.Segment
	for _, s := range c.out {
		if !slices.ContainsFunc(c.in, func(in pattern.Segment) bool { return !in.Overlap(s) }) {
			out = append(out, s)
		}
	}
	return out
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
func (c cell) then(s class) cell {
	c.segments = append(slices.Clone(c.segments), s)
	return c
}

// fitting returns the patterns that match the texts of a class at a depth.
func fitting(patterns []pattern.Pattern, depth int, at class) (fit []pattern.Pattern) {
	for _, p := range patterns {
		if at.takes(p.Segments()[depth]) {
			fit = append(fit, p)
		}
	}
	return fit
}

// fresh returns a text that is no literal of any pattern, and that none of the segments match.
func (c *cutter) fresh(out []pattern.Segment) string {
	text := "x"
	for n := 1; c.literals[text] || slices.ContainsFunc(out, func(s pattern.Segment) bool { return s.Matches(text) }); n++ {
		if text = "x" + strconv.Itoa(n); n > len(out)+len(c.literals) {
			text, _, _ = pattern.FindText(nil, out, 0) // a character that no segment holds
			break
		}
	}
	return text
}

// add keeps a cell, with a sample of it.
func (c *cutter) add(at cell) error {
	if len(c.cells) >= maxCells {
		return ErrTooManyCells
	}
	literals := make([]pattern.Segment, len(at.segments))
	for i, s := range at.segments {
		literals[i] = pattern.Literal(s.text)
	}
	path, err := pattern.ParsePath(pattern.New(literals, false).String())
	if err != nil {
		return nil //nolint:nilerr // no request has a path without a canonical form
	}
	at.sample.path = path
	c.cells = append(c.cells, at)
	return nil
}
