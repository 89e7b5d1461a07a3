package pattern

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"

	"warder/policy/strict"
)

// A Pattern is a path of a policy, compiled. The zero Pattern is that of "/".
type Pattern struct {
	segments []Segment
	rest     bool
	forms    Forms
}

// New returns the pattern with these segments. If rest is true, it ends with **. It does
// not report [Pattern.Forms].
func New(segments []Segment, rest bool) Pattern { return Pattern{segments: segments, rest: rest} }

// Segments returns the segments of the pattern, without a final **. The caller must not
// change them.
func (p Pattern) Segments() []Segment { return p.segments }

// Rest reports whether the pattern ends with **, which matches any number of segments.
func (p Pattern) Rest() bool { return p.rest }

// HasMixed reports whether one of the segments is mixed.
func (p Pattern) HasMixed() bool { return slices.ContainsFunc(p.segments, Segment.IsMixed) }

// Forms returns the ambiguous spellings that the literals of the pattern are written with.
func (p Pattern) Forms() Forms { return p.forms }

// Params returns the names of the parameters, from left to right.
func (p Pattern) Params() (names []string) {
	for _, s := range p.segments {
		names = append(names, s.names()...)
	}
	return names
}

// Param returns the text that a parameter takes in a path that the pattern matches.
func (p Pattern) Param(name string, path Path) (value string, found bool) {
	for i, s := range p.segments {
		if i == len(path.segments) {
			break
		}
		if value, found = s.value(name, path.segments[i]); found {
			return value, true
		}
	}
	return "", false
}

// Key returns a text that two patterns have in common exactly if they match the same paths.
func (p Pattern) Key() string {
	return p.write("/{**}", Segment.Key) // no literal contains braces here, while ** may be one
}

// String returns the pattern as a policy would write it: [Parse] reads it as the same one.
func (p Pattern) String() string { return cmp.Or(p.write("/**", Segment.String), "/") }

// Example returns the n-th example of a path that the pattern matches, with a number of
// segments in the place of **.
func (p Pattern) Example(n, rest int) string {
	path := p.write(strings.Repeat("/"+numbered("x", n), rest), func(s Segment) string { return escapeSegment(s.example(n)) })
	return cmp.Or(path, "/")
}

// write writes the segments one after the other, and rest in the place of **.
func (p Pattern) write(rest string, segment func(Segment) string) string {
	var b strings.Builder
	for _, s := range p.segments {
		b.WriteByte('/')
		b.WriteString(segment(s))
	}
	if p.rest {
		b.WriteString(rest)
	}
	return b.String()
}

func numbered(word string, n int) string {
	if n == 0 {
		return word
	}
	return word + strconv.Itoa(n)
}

// Matches reports whether the pattern matches a path. No pattern matches the zero Path.
func (p Pattern) Matches(path Path) bool {
	_, whole := p.Prefix(path)
	return whole
}

// Prefix returns how many segments of the path, from the left, the pattern matches, and
// whether it matches the whole path.
func (p Pattern) Prefix(path Path) (n int, whole bool) {
	for n < len(p.segments) && n < len(path.segments) && p.segments[n].Matches(path.segments[n]) {
		n++
	}
	return n, path.raw != "" && n == len(p.segments) && (p.rest || n == len(path.segments))
}

// Covers reports whether the pattern matches every path that the other one matches.
func (p Pattern) Covers(other Pattern) bool {
	if len(p.segments) > len(other.segments) || !p.rest && (other.rest || len(p.segments) != len(other.segments)) {
		return false
	}
	for i, s := range p.segments {
		if !s.covers(other.segments[i]) {
			return false
		}
	}
	return true
}

// Compare orders patterns by how specific they are. They are compared segment by segment
// from the left: a literal comes first, then more literal characters in a mixed segment, then
// a parameter, then the end of the pattern, then **. Different literals are ordered by their
// text. It returns 0 for patterns that match the same paths only: equally specific ones are
// ordered by the text of their mixed segments.
func (p Pattern) Compare(other Pattern) int {
	if c := p.CompareSpecific(other); c != 0 {
		return c
	}
	return slices.CompareFunc(p.segments, other.segments, func(s, t Segment) int {
		if !s.IsMixed() {
			return 0
		}
		return cmp.Compare(s.Key(), t.Key())
	})
}

// CompareSpecific orders patterns like [Pattern.Compare], except that it returns 0 for patterns
// that are equally specific. Those have mixed segments with the same number of literal
// characters in the same places.
func (p Pattern) CompareSpecific(other Pattern) int {
	for i := 0; ; i++ {
		x, y := p.kindAt(i), other.kindAt(i)
		switch {
		case x != y:
			return cmp.Compare(x, y)
		case x == kindEnd || x == kindRest:
			return 0
		case x == kindLiteral:
			if c := cmp.Compare(p.segments[i].Text, other.segments[i].Text); c != 0 {
				return c
			}
		case x == kindMixed:
			if c := p.segments[i].Compare(other.segments[i]); c != 0 {
				return c
			}
		}
	}
}

// FirstDifference returns the first segment at which one of the patterns is more specific than
// the other, apart from the text of literals. found is false if there is none.
func (p Pattern) FirstDifference(other Pattern) (segment int, found bool) {
	for i := 0; ; i++ {
		switch x, y := p.kindAt(i), other.kindAt(i); {
		case x != y:
			return i, true
		case x == kindEnd || x == kindRest:
			return i, false
		case x == kindMixed && p.segments[i].Compare(other.segments[i]) != 0:
			return i, true
		}
	}
}

// The kinds of what is at one place of a pattern, the most specific first.
const (
	kindLiteral = iota
	kindMixed
	kindParam
	kindEnd
	kindRest
)

func (p Pattern) kindAt(i int) int {
	switch {
	case i < len(p.segments):
		return p.segments[i].kind()
	case p.rest:
		return kindRest
	}
	return kindEnd
}

// Parse compiles a path of a policy. wrong says what is wrong with it and what would be
// right; it is "" for a valid path.
func Parse(text string) (p Pattern, wrong string) {
	switch {
	case text == "":
		return p, "is empty; write a path such as /api/v1/assets"
	case foreignPath(text) != "":
		return p, foreignPath(text)
	case strings.HasSuffix(text, "?") && strings.Count(text, "?") == 1 && len(text) > 2:
		return p, "ends with ?, which makes what is before it optional in other products; write two paths, with it and without it"
	case strings.Contains(text, "?") && strings.Contains(outsideBraces(text), "?"):
		return p, "has a query, which is ignored in matching; write the path alone"
	}
	names := map[string]bool{}
	rest := strings.TrimPrefix(text, "/")
	if rest != "" {
		p.segments = make([]Segment, 0, strings.Count(rest, "/")+1)
	}
	for more := rest != ""; more; {
		var s string
		s, rest, more = strings.Cut(rest, "/")
		switch {
		case s == "" && !more && len(p.segments) > 0:
			continue // a trailing slash does not make another path
		case s == "**" && more && rest != "":
			return p, "has ** before its end, where it would stand for any number of segments; write {name} for one segment, and ** last"
		case s == "**" && more:
			return p, "has a slash after **, which already matches everything below; write " + strict.Quote(strings.TrimSuffix(text, "/"))
		case s == "**":
			p.rest = true
			continue
		}
		segment, forms, wrong := parsePattern(s)
		if wrong != "" {
			return p, wrong
		}
		for _, param := range segment.rest {
			if names[param.name] {
				return p, "has the parameter {" + param.name + "} twice; give each its own name"
			}
			names[param.name] = true
		}
		p.forms |= forms
		p.segments = append(p.segments, segment)
	}
	return p, ""
}

// maxMixed bounds a mixed segment, in bytes as it is written.
const maxMixed = 256

// parsePattern reads one segment of a pattern. wrong is as for [Parse].
func parsePattern(s string) (segment Segment, forms Forms, wrong string) {
	if wrong := foreign(s); wrong != "" {
		return segment, 0, wrong
	}
	return readSegment(s)
}

// readSegment reads a segment that holds no words of other products.
func readSegment(s string) (segment Segment, forms Forms, wrong string) {
	if !strings.ContainsAny(s, "{}") {
		decoded, forms, err := parseSegment(s)
		if err != nil {
			return segment, 0, wrongLiteral(s, err)
		}
		return Literal(decoded), forms, ""
	}
	if len(s) > maxMixed {
		return segment, 0, "has a segment of literals and parameters with more than " + strconv.Itoa(maxMixed) + " bytes; write it shorter"
	}
	before, rest, more := strings.Cut(s, "{")
	segment.Text, forms, wrong = parseLiteral(s, before)
	for more && wrong == "" {
		var name, then string
		var closed bool
		var found Forms
		name, rest, closed = strings.Cut(rest, "}")
		if !closed || !ValidParam(name) {
			return segment, 0, wrongParam(s, name, closed)
		}
		then, rest, more = strings.Cut(rest, "{")
		if more && then == "" {
			return segment, 0, "has two parameters side by side in " + strict.Quote(s) + ", and nothing says where the first one ends; put a literal between them, as in {a}-{b}"
		}
		then, found, wrong = parseLiteral(s, then)
		forms |= found
		segment.rest = append(segment.rest, param{name, then})
	}
	if wrong == "" {
		// Where a parameter touches a literal, no part is empty or a dot.
		if err := checkParts(segment.example(0)); err != nil {
			wrong = wrongLiteral(s, err)
		}
	}
	return segment, forms, wrong
}

// parseLiteral decodes a literal of a mixed segment.
func parseLiteral(segment, s string) (decoded string, forms Forms, wrong string) {
	if strings.Contains(s, "}") {
		return "", 0, "has a } without a { before it in " + strict.Quote(segment) + "; a parameter is written {name}, and a literal } as %7D"
	}
	decoded, forms, err := decode(s)
	if err != nil {
		return "", 0, wrongLiteral(s, err)
	}
	return decoded, forms, ""
}

// WrongPath says what is wrong with a path of a policy that has no path_allows. It returns ""
// for a valid path.
func WrongPath(path string) string {
	p, wrong := Parse(path)
	if wrong == "" && p.forms != 0 {
		return "contains what a route refuses without path_allows: [" + p.forms.String() + "]"
	}
	return wrong
}

// PathKey returns the [Pattern.Key] of a path of a policy.
func PathKey(path string) string {
	p, _ := Parse(path)
	return p.Key()
}

func wrongLiteral(s string, err error) string {
	switch {
	case errors.Is(err, errEmptySegment):
		return "has an empty segment (//, or one that is empty before a ;); write each slash once"
	case errors.Is(err, errDotSegment):
		return "has a . or .. segment; write the path that it leads to"
	case errors.Is(err, errRawByte):
		return "has " + strict.Quote(s) + ", which contains a byte that a path must percent-encode; write " + strict.Quote(escapeSegment(s))
	case errors.Is(err, errBackslash):
		return "has a backslash, which no route accepts; write / between segments"
	case errors.Is(err, errBadEscape):
		return "has a % that no two hexadecimal digits follow; write %25 for a percent sign"
	case errors.Is(err, errControl):
		return "has an encoded control character, which no route accepts; leave it out"
	}
	return "is not UTF-8 when decoded; write the UTF-8 bytes of the name percent-encoded"
}

// ValidParam reports whether name is a letter or an underscore, followed by letters, digits
// and underscores.
func ValidParam(name string) bool {
	for i := range len(name) {
		c := name[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || i > 0 && '0' <= c && c <= '9' {
			continue
		}
		return false
	}
	return name != ""
}

// ParamNameLike returns a valid parameter name that resembles s, for use in a message.
func ParamNameLike(s string) string {
	name := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '_' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, s)
	if !ValidParam(name) {
		return "name"
	}
	return name
}
