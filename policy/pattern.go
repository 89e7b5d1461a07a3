package policy

import (
	"errors"
	"strings"

	"warder/policy/strict"
)

// A pattern is a path of the policy, compiled.
type pattern struct {
	segments []patternSegment
	rest     bool  // ends with **
	forms    Forms // that its literals are written with
}

type patternSegment struct {
	text  string // decoded, or the name of the parameter
	param bool
}

// key is the same for patterns that match the same paths.
func (p pattern) key() string {
	var b strings.Builder
	for _, s := range p.segments {
		b.WriteByte('/')
		if s.param {
			b.WriteString("{}")
		} else {
			b.WriteString(escapeSegment(s.text))
		}
	}
	if p.rest {
		b.WriteString("/{**}") // no literal has braces here, while ** may be one
	}
	return b.String()
}

// String writes the pattern as a policy would.
func (p pattern) String() string {
	var b strings.Builder
	for _, s := range p.segments {
		b.WriteByte('/')
		if s.param {
			b.WriteString("{" + s.text + "}")
		} else {
			b.WriteString(escapeSegment(s.text))
		}
	}
	if p.rest {
		b.WriteString("/**")
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

// parsePattern compiles a path of the policy. wrong says what is wrong with it and
// what would be right; "" when nothing is.
func parsePattern(text string) (p pattern, wrong string) {
	switch {
	case text == "":
		return p, "is empty; write a path such as /api/v1/assets"
	case text[0] != '/':
		return p, "does not begin with /; write " + strict.Quote("/"+text)
	case strings.Contains(text, "?"):
		return p, "has a query, which takes no part in matching; write the path alone"
	}
	names := map[string]bool{}
	rest := strings.TrimPrefix(text, "/")
	for more := rest != ""; more; {
		var s string
		s, rest, more = strings.Cut(rest, "/")
		switch {
		case s == "" && !more && len(p.segments) > 0:
			continue // one trailing slash makes no other route
		case s == "**" && more && rest != "":
			return p, "has ** before its end, where it would stand for any number of segments; write {name} for one segment, and ** last"
		case s == "**" && more:
			return p, "has a slash after **, which stands for everything below already; write " + strict.Quote(strings.TrimSuffix(text, "/"))
		case s == "**":
			p.rest = true
			continue
		case s == "*":
			return p, "has a segment *; write {name} for one segment, or ** at the end for everything below"
		case strings.HasPrefix(s, ":"):
			return p, "has a segment " + strict.Quote(s) + "; write " + strict.Quote("{"+nameOf(s[1:])+"}") + " for a parameter, or %3A for a literal colon at its beginning"
		case strings.ContainsAny(s, "{}"):
			name := strings.TrimSuffix(strings.TrimPrefix(s, "{"), "}")
			if len(s) != len(name)+2 || !validParam(name) {
				return p, wrongParam(s)
			}
			if names[name] {
				return p, "has the parameter {" + name + "} twice; give each its own name"
			}
			names[name] = true
			p.segments = append(p.segments, patternSegment{name, true})
			continue
		case strings.Contains(s, "*"):
			return p, "has a * inside the segment " + strict.Quote(s) + "; a segment is a literal or {name} as a whole (a literal * is written %2A)"
		}
		decoded, forms, err := parseSegment(s)
		if err != nil {
			return p, wrongLiteral(s, err)
		}
		p.forms |= forms
		p.segments = append(p.segments, patternSegment{decoded, false})
	}
	return p, ""
}

func wrongParam(s string) string {
	inner := strings.Trim(s, "{}")
	if name, kind, found := strings.Cut(inner, ":"); found && s[0] == '{' {
		if kind == "path" {
			return "has " + strict.Quote(s) + "; write ** as the last segment for everything below"
		}
		return "has " + strict.Quote(s) + "; parameters have no type here, write {" + nameOf(name) + "}"
	}
	if s == "{}" {
		return "has a parameter without a name; write one such as {id}"
	}
	if s[0] == '{' && s[len(s)-1] == '}' && !strings.ContainsAny(inner, "{}") {
		return "has " + strict.Quote(s) + "; a parameter is a letter or _ and then letters, digits and _, as in {" + nameOf(inner) + "}"
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
		return "has " + strict.Quote(s) + ", which holds a byte that no request path may hold raw; write " + strict.Quote(escapeSegment(s))
	case errors.Is(err, errBackslash):
		return "has a backslash, which no route accepts; write / between segments"
	case errors.Is(err, errBadEscape):
		return "has a % that no two hexadecimal digits follow; write %25 for a percent sign"
	case errors.Is(err, errControl):
		return "has an encoded control character, which no route accepts; leave it out"
	}
	return "is not UTF-8 when decoded; write the UTF-8 bytes of the name percent-encoded"
}

func validParam(name string) bool {
	for i := range len(name) {
		c := name[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || i > 0 && '0' <= c && c <= '9' {
			continue
		}
		return false
	}
	return name != ""
}

// nameOf makes a parameter's name of what somebody wrote for one.
func nameOf(s string) string {
	name := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '_' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, s)
	if !validParam(name) {
		return "name"
	}
	return name
}
