package policy

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Forms are the spellings that make a path ambiguous and that a route may accept
// by name (path_allows), as a bit set.
type Forms uint8

const (
	EncodedSlash   Forms = 1 << iota // %2F inside a segment
	EncodedPercent                   // %25
	Semicolon                        // ; or %3B
)

// formNames are the words of path_allows.
var formNames = []struct {
	name string
	form Forms
}{
	{"encoded_slash", EncodedSlash},
	{"encoded_percent", EncodedPercent},
	{"semicolon", Semicolon},
}

// String returns the words of path_allows, separated by commas.
func (f Forms) String() string {
	var names []string
	for _, n := range formNames {
		if f&n.form != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ", ")
}

// ErrPath is what every path without a canonical form is refused with. Its text
// never holds any of the path.
var ErrPath = errors.New("path has no canonical form")

// The ways in which a path has no canonical form. Each is an [ErrPath].
var (
	errNoSlash      = pathError("does not begin with /")
	errEmptySegment = pathError("has an empty segment")
	errDotSegment   = pathError("has a . or .. segment")
	errRawByte      = pathError("has a byte that must be percent-encoded")
	errBackslash    = pathError("has a backslash")
	errBadEscape    = pathError("has a % that no two hexadecimal digits follow")
	errControl      = pathError("has an encoded control character")
	errNotUTF8      = pathError("is not UTF-8 when decoded")
)

type pathError string

func (e pathError) Error() string        { return "path " + string(e) }
func (e pathError) Is(target error) bool { return target == ErrPath }

// A Path is a request path in its one canonical form: cut at the first "?",
// split at "/", decoded per segment. "/" has no segment, and a trailing slash
// makes none. The zero Path is that of no request: it was refused, and matches nothing.
type Path struct {
	raw      string
	segments []string
	forms    Forms
}

// String returns the path as it was sent, without its query.
func (p Path) String() string { return p.raw }

// Canonical returns the path in its one spelling: parsed again it is the same, and two
// paths that match the same have it in common. It has no trailing slash.
func (p Path) Canonical() string {
	if len(p.segments) == 0 {
		return "/"
	}
	var b strings.Builder
	for _, s := range p.segments {
		b.WriteByte('/')
		b.WriteString(escapeSegment(s))
	}
	return b.String()
}

// Forms returns the ambiguous spellings that the path uses.
func (p Path) Forms() Forms { return p.forms }

// ParsePath makes the canonical form of a request path, or says why it has none.
//
// Refused are a path that does not begin with /, empty segments, dot segments raw
// or encoded, encoded backslashes and control characters, bytes that RFC 3986 does
// not let stand raw where two parsers read them in two ways (space, control,
// backslash, #, non-ASCII), bad escapes, and what is not UTF-8 when decoded. The
// spellings that some applications need for object names (an encoded slash, an
// encoded percent sign, a semicolon) are read and reported by [Path.Forms]: they are for
// the route to accept or refuse.
func ParsePath(raw string) (Path, error) {
	raw, _, _ = strings.Cut(raw, "?")
	if raw == "" || raw[0] != '/' {
		return Path{}, errNoSlash
	}
	p := Path{raw: raw}
	rest := raw[1:]
	if rest == "" {
		return p, nil
	}
	p.segments = make([]string, 0, strings.Count(rest, "/")+1)
	for more := true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if segment == "" && !more && len(p.segments) > 0 {
			break // one trailing slash
		}
		decoded, forms, err := parseSegment(segment)
		if err != nil {
			return Path{}, err
		}
		p.segments = append(p.segments, decoded)
		p.forms |= forms
	}
	return p, nil
}

// parseSegment decodes what stands between two slashes.
func parseSegment(raw string) (decoded string, forms Forms, err error) {
	escaped := false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '\\':
			return "", 0, errBackslash
		case c <= ' ' || c >= 0x7f || c == '#':
			return "", 0, errRawByte
		case c == ';':
			forms |= Semicolon
		case c == '%':
			escaped = true
			b, ok := unhex(raw[i+1:])
			if !ok {
				return "", 0, errBadEscape
			}
			switch {
			case b < ' ' || b == 0x7f:
				return "", 0, errControl
			case b == '\\':
				return "", 0, errBackslash
			case b == '/':
				forms |= EncodedSlash
			case b == '%':
				forms |= EncodedPercent
			case b == ';':
				forms |= Semicolon
			}
			i += 2
		}
	}
	decoded = raw
	if escaped {
		decoded = unescape(raw)
		if !utf8.ValidString(decoded) {
			return "", 0, errNotUTF8
		}
	}
	return decoded, forms, checkParts(decoded)
}

// checkParts looks for empty and dot segments the way an application would see
// them that decodes slashes first or takes parameters off at a semicolon.
func checkParts(decoded string) error {
	for more := true; more; {
		var part string
		part, decoded, more = strings.Cut(decoded, "/")
		part, _, _ = strings.Cut(part, ";")
		switch part {
		case "":
			return errEmptySegment
		case ".", "..":
			return errDotSegment
		}
	}
	return nil
}

func unhex(s string) (byte, bool) {
	if len(s) < 2 {
		return 0, false
	}
	high, ok1 := hexDigit(s[0])
	low, ok2 := hexDigit(s[1])
	return high<<4 | low, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// unescape decodes escapes that were checked before.
func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		c, _ := unhex(s[i+1:])
		b = append(b, c)
		i += 2
	}
	return string(b)
}

// escapeSegment writes a decoded segment as a path holds it.
func escapeSegment(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~!$&'()*+,=:@", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}
