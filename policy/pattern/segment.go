package pattern

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Segment is one segment of a pattern. It is one of three kinds:
//
//	literal    json           the text json alone
//	parameter  {id}           any text
//	mixed      {id}.json      literals with parameters between them
//
// In a mixed segment each parameter takes at least one character and ends at the first
// occurrence of the literal after it, counted from its second character. Nothing is tried a
// second time: if the last literal occurs before the end of the segment, the segment does not
// match.
//
//	{id}.json  a.json (id is a), ..json (.), .json.json (.json)   not .json, a.json.json
//	{a}-{b}    a-b-c (a is a, b is b-c), --b (-, b)               not -b, a-
//
// The zero Segment is the literal of an empty text, which matches no segment of a path.
type Segment struct {
	Text string  // the decoded literal before the first parameter; all of a literal segment
	rest []param // the parameters, from left to right
}

// A param is a parameter and the literal after it, which is empty at the end of a segment.
type param struct{ name, then string }

// Literal returns the segment that matches a decoded text alone.
func Literal(text string) Segment { return Segment{Text: text} }

// Param returns the segment that matches any text.
func Param(name string) Segment { return Segment{rest: []param{{name: name}}} }

// IsLiteral reports whether the segment is a literal.
func (s Segment) IsLiteral() bool { return len(s.rest) == 0 }

// IsParam reports whether the segment is a parameter as a whole.
func (s Segment) IsParam() bool { return len(s.rest) == 1 && s.Text == "" && s.rest[0].then == "" }

// IsMixed reports whether the segment holds literals and parameters.
func (s Segment) IsMixed() bool { return len(s.rest) > 0 && !s.IsParam() }

// Literals returns the number of literal characters of the segment. Of two mixed segments the
// one with more of them is more specific.
func (s Segment) Literals() int {
	n := utf8.RuneCountInString(s.Text)
	for _, p := range s.rest {
		n += utf8.RuneCountInString(p.then)
	}
	return n
}

// Ends returns the literals at the beginning and at the end of the segment, which may be empty.
func (s Segment) Ends() (first, last string) {
	if len(s.rest) == 0 {
		return s.Text, s.Text
	}
	return s.Text, s.rest[len(s.rest)-1].then
}

// Matches reports whether the segment matches a decoded segment of a path. It takes time linear
// in the length of the text, and allocates nothing.
func (s Segment) Matches(text string) bool {
	if len(s.rest) == 0 {
		return s.Text == text
	}
	text, ok := strings.CutPrefix(text, s.Text)
	for i := 0; ok && i < len(s.rest); i++ {
		_, text, ok = s.cut(i, text)
	}
	return ok
}

// MatchesFold reports whether the segment matches a text in any case of letters. It serves
// messages, and no decision.
func (s Segment) MatchesFold(text string) bool {
	lower := Segment{Text: strings.ToLower(s.Text), rest: slices.Clone(s.rest)}
	for i, p := range lower.rest {
		lower.rest[i].then = strings.ToLower(p.then)
	}
	return lower.Matches(strings.ToLower(text))
}

// value returns the text that the parameter takes in a decoded segment that matches.
func (s Segment) value(name, text string) (value string, found bool) {
	text, ok := strings.CutPrefix(text, s.Text)
	for i := 0; ok && i < len(s.rest); i++ {
		value, text, ok = s.cut(i, text)
		if ok && s.rest[i].name == name {
			return value, true
		}
	}
	return "", false
}

// cut cuts the value of the i-th parameter and the literal after it off a text.
func (s Segment) cut(i int, text string) (value, after string, ok bool) {
	then := s.rest[i].then
	switch last := i == len(s.rest)-1; {
	case text == "":
		return "", "", false
	case then == "":
		return text, "", true
	case last && len(text) > len(then) && strings.HasSuffix(text, then):
		end := len(text) - len(then)
		return text[:end], "", strings.Index(text[1:], then) == end-1
	case last:
		return "", "", false
	}
	// A literal begins where a character does, so that an index of at least one byte leaves
	// the parameter at least one character.
	at := strings.Index(text[1:], then)
	if at < 0 {
		return "", "", false
	}
	return text[:1+at], text[1+at+len(then):], true
}

// write writes the segment with its literals and the names of its parameters.
func (s Segment) write(b *strings.Builder, literal, name func(string) string) {
	b.WriteString(literal(s.Text))
	for _, p := range s.rest {
		b.WriteString(name(p.name))
		b.WriteString(literal(p.then))
	}
}

// String returns the segment as a policy would write it.
func (s Segment) String() string {
	var b strings.Builder
	s.write(&b, writeLiteral, func(name string) string { return "{" + name + "}" })
	text := b.String()
	if name, colon := strings.CutPrefix(text, ":"); colon {
		return "%3A" + name
	}
	return text
}

// writeLiteral writes a literal so that it is not taken for a word of another product.
func writeLiteral(s string) string {
	s = strings.NewReplacer("*", "%2A", ".+", ".%2B", ")+", ")%2B").Replace(escapeSegment(s))
	if before, dollar := strings.CutSuffix(s, "$"); dollar {
		return before + "%24"
	}
	return s
}

// Key returns a text that two segments have in common exactly if they match the same texts.
func (s Segment) Key() string {
	var b strings.Builder
	s.write(&b, escapeSegment, func(string) string { return "{}" })
	return b.String()
}

// example returns the n-th example of a decoded text that the segment matches.
func (s Segment) example(n int) string {
	filled := func(value string) string {
		var b strings.Builder
		s.write(&b, func(literal string) string { return literal }, func(string) string { return value })
		return b.String()
	}
	if text := filled(numbered("x", n)); s.Matches(text) && checkParts(text) == nil {
		return text
	}
	return filled(strings.Repeat(string(freshRune([]Segment{s})), n+1))
}

// kind returns the kind of the segment, as one of the constants of [Pattern.Compare].
func (s Segment) kind() int {
	switch {
	case s.IsLiteral():
		return kindLiteral
	case s.IsParam():
		return kindParam
	}
	return kindMixed
}

// Compare orders segments by how specific they are: a literal, more literal characters in a
// mixed segment, a parameter.
func (s Segment) Compare(other Segment) int {
	if c := cmp.Compare(s.kind(), other.kind()); c != 0 || !s.IsMixed() {
		return c
	}
	return cmp.Compare(other.Literals(), s.Literals())
}

// Overlap reports whether there is a decoded segment of a path that both segments match.
func (s Segment) Overlap(other Segment) bool {
	switch {
	case s.IsLiteral():
		return other.Matches(s.Text)
	case other.IsLiteral():
		return s.Matches(other.Text)
	case s.IsParam() || other.IsParam():
		return true
	}
	first, last := s.Ends()
	otherFirst, otherLast := other.Ends()
	if !strings.HasPrefix(first, otherFirst) && !strings.HasPrefix(otherFirst, first) ||
		!strings.HasSuffix(last, otherLast) && !strings.HasSuffix(otherLast, last) {
		return false
	}
	_, found, err := FindText([]Segment{s, other}, nil, 0)
	return found || err != nil
}

// covers reports whether the segment matches every text that the other one matches.
func (s Segment) covers(other Segment) bool {
	switch {
	case s.IsParam():
		return true
	case other.IsLiteral():
		return s.Matches(other.Text)
	case s.IsLiteral() || other.IsParam():
		return false
	}
	// The text with one character that no literal holds for each parameter is a quick test.
	if !s.Matches(other.example(0)) {
		return false
	}
	_, found, err := FindText([]Segment{other}, []Segment{s}, 0)
	return !found && err == nil
}

// Typical returns a text that the segment matches, in which a character that no literal of the
// segments holds stands for each parameter. So of the others only those match it that match
// most of what the segment does.
func (s Segment) Typical(others []Segment) string {
	var b strings.Builder
	value := string(freshRune(append(slices.Clone(others), s)))
	s.write(&b, func(literal string) string { return literal }, func(string) string { return value })
	return b.String()
}

// freshRune returns a character that no literal of the segments holds.
func freshRune(segments []Segment) rune {
	held := map[rune]bool{'.': true, '/': true, ';': true, '%': true}
	for _, s := range segments {
		for _, r := range s.Text {
			held[r] = true
		}
		for _, p := range s.rest {
			for _, r := range p.then {
				held[r] = true
			}
		}
	}
	for _, r := range "xyzabcdefghijklmnopqrstuvw0123456789" {
		if !held[r] {
			return r
		}
	}
	r := 'à'
	for held[r] {
		r++
	}
	return r
}

// names returns the names of the parameters of the segment.
func (s Segment) names() (names []string) {
	for _, p := range s.rest {
		names = append(names, p.name)
	}
	return slices.Clip(names)
}
