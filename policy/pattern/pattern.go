package pattern

import (
	"cmp"
	"errors"
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

// A Segment is one segment of a pattern: a literal, or a parameter, which matches any
// segment.
type Segment struct {
	Text  string // the decoded literal, or the name of the parameter
	Param bool
}

// New returns the pattern with these segments. If rest is true, it ends with **. It does
// not report [Pattern.Forms].
func New(segments []Segment, rest bool) Pattern { return Pattern{segments: segments, rest: rest} }

// Segments returns the segments of the pattern, without a final **. The caller must not
// change them.
func (p Pattern) Segments() []Segment { return p.segments }

// Rest reports whether the pattern ends with **, which matches any number of segments.
func (p Pattern) Rest() bool { return p.rest }

// Forms returns the ambiguous spellings that the literals of the pattern are written with.
func (p Pattern) Forms() Forms { return p.forms }

// Params returns the names of the parameters, from left to right.
func (p Pattern) Params() (names []string) {
	for _, s := range p.segments {
		if s.Param {
			names = append(names, s.Text)
		}
	}
	return names
}

// Key returns a text that two patterns have in common exactly if they match the same paths.
func (p Pattern) Key() string {
	return p.write("/{**}", func(s Segment) string { // no literal contains braces here, while ** may be one
		if s.Param {
			return "{}"
		}
		return escapeSegment(s.Text)
	})
}

// String returns the pattern as a policy would write it: [Parse] reads it as the same one.
func (p Pattern) String() string {
	path := p.write("/**", func(s Segment) string {
		if s.Param {
			return "{" + s.Text + "}"
		}
		literal := strings.ReplaceAll(escapeSegment(s.Text), "*", "%2A")
		if name, colon := strings.CutPrefix(literal, ":"); colon {
			return "%3A" + name
		}
		return literal
	})
	return cmp.Or(path, "/")
}

// Example returns the n-th example of a path that the pattern matches, with a number of
// segments in the place of **.
func (p Pattern) Example(n, rest int) string {
	path := p.write(strings.Repeat("/"+numbered("x", n), rest), func(s Segment) string {
		if s.Param {
			return numbered("x", n)
		}
		return escapeSegment(s.Text)
	})
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
	for n < len(p.segments) && n < len(path.segments) && (p.segments[n].Param || p.segments[n].Text == path.segments[n]) {
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
		if !s.Param && other.segments[i] != s {
			return false
		}
	}
	return true
}

// Compare orders patterns by how specific they are. They are compared segment by segment
// from the left: a literal comes first, then a parameter, then the end of the pattern,
// then **. Different literals are ordered by their text.
func (p Pattern) Compare(other Pattern) int {
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
		}
	}
}

// FirstDifference returns the first segment at which the patterns are of different kinds,
// so that one of them is more specific than the other. found is false if there is none.
func (p Pattern) FirstDifference(other Pattern) (segment int, found bool) {
	for i := 0; ; i++ {
		switch x, y := p.kindAt(i), other.kindAt(i); {
		case x != y:
			return i, true
		case x == kindEnd || x == kindRest:
			return i, false
		}
	}
}

// The kinds of what is at one place of a pattern, the most specific first.
const (
	kindLiteral = iota
	kindParam
	kindEnd
	kindRest
)

func (p Pattern) kindAt(i int) int {
	switch {
	case i < len(p.segments) && p.segments[i].Param:
		return kindParam
	case i < len(p.segments):
		return kindLiteral
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
	case text[0] != '/':
		return p, "does not begin with /; write " + strict.Quote("/"+text)
	case strings.Contains(text, "?"):
		return p, "has a query, which is ignored in matching; write the path alone"
	}
	names := map[string]bool{}
	rest := strings.TrimPrefix(text, "/")
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
		case s == "*":
			return p, "has a segment *; write {name} for one segment, or ** at the end for everything below"
		case strings.HasPrefix(s, ":"):
			return p, "has a segment " + strict.Quote(s) + "; write " + strict.Quote("{"+ParamNameLike(s[1:])+"}") + " for a parameter, or %3A for a literal colon at its beginning"
		case strings.ContainsAny(s, "{}"):
			name := strings.TrimSuffix(strings.TrimPrefix(s, "{"), "}")
			if len(s) != len(name)+2 || !ValidParam(name) {
				return p, wrongParam(s)
			}
			if names[name] {
				return p, "has the parameter {" + name + "} twice; give each its own name"
			}
			names[name] = true
			p.segments = append(p.segments, Segment{name, true})
			continue
		case strings.Contains(s, "*"):
			return p, "has a * inside the segment " + strict.Quote(s) + "; a segment is a literal or {name} as a whole (a literal * is written %2A)"
		}
		decoded, forms, err := parseSegment(s)
		if err != nil {
			return p, wrongLiteral(s, err)
		}
		p.forms |= forms
		p.segments = append(p.segments, Segment{decoded, false})
	}
	return p, ""
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

func wrongParam(s string) string {
	inner := strings.Trim(s, "{}")
	if name, kind, found := strings.Cut(inner, ":"); found && s[0] == '{' {
		if kind == "path" {
			return "has " + strict.Quote(s) + "; write ** as the last segment for everything below"
		}
		return "has " + strict.Quote(s) + "; parameters have no type here, write {" + ParamNameLike(name) + "}"
	}
	if s == "{}" {
		return "has a parameter without a name; write one such as {id}"
	}
	if s[0] == '{' && s[len(s)-1] == '}' && !strings.ContainsAny(inner, "{}") {
		return "has " + strict.Quote(s) + "; a parameter is a letter or _ and then letters, digits and _, as in {" + ParamNameLike(inner) + "}"
	}
	return "has a parameter inside the segment " + strict.Quote(s) + "; {name} stands for a whole segment"
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
