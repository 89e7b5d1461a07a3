package pattern

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Forms is a bit set of the ambiguous spellings that a route may accept in a path, by
// their names under path_allows.
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

// FormNames returns the words of path_allows.
func FormNames() []string {
	names := make([]string, len(formNames))
	for i, n := range formNames {
		names[i] = n.name
	}
	return names
}

// FormNamed returns the form that a word of path_allows stands for, or 0 if the word is
// unknown.
func FormNamed(name string) Forms {
	for _, n := range formNames {
		if n.name == name {
			return n.form
		}
	}
	return 0
}

// String returns the words of path_allows, separated by commas.
func (f Forms) String() string { return strings.Join(f.Names(), ", ") }

// Names returns the words of path_allows that stand for the forms.
func (f Forms) Names() (names []string) {
	for _, n := range formNames {
		if f&n.form != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// ErrPath matches every error of [ParsePath]. The text of such an error never contains any
// part of the path.
var ErrPath = errors.New("path has no canonical form")

// The reasons for which a path has no canonical form. errors.Is reports each as [ErrPath].
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

// A Path is a request path in its one canonical form: cut at the first "?", split at "/",
// and decoded segment by segment. The path "/" has no segments, and a trailing slash adds
// none. The zero Path stands for a path that was refused; no pattern matches it.
type Path struct {
	raw      string
	segments []string
	forms    Forms
}

// Raw returns the path as it was sent, without its query. It is empty for the zero Path.
func (p Path) Raw() string { return p.raw }

// Segments returns the decoded segments of the path. The caller must not change them.
func (p Path) Segments() []string { return p.segments }

// Canonical returns the one spelling of the path. Parsing it again gives the same path, and
// two paths have it in common exactly if they have the same segments. It has no trailing
// slash.
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

// ParsePath returns the canonical form of a request path, or an error if it has none.
//
// It refuses a path that does not begin with /, empty segments, dot segments (raw or
// encoded), encoded backslashes and control characters, raw bytes that RFC 3986 forbids and
// that parsers read in different ways (space, control characters, backslash, #, non-ASCII),
// invalid escapes, and text that is not UTF-8 when decoded. The spellings that some
// applications need for object names (an encoded slash, an encoded percent sign, a
// semicolon) are accepted here and reported by [Path.Forms], so that a route can accept or
// refuse them.
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

// parseSegment decodes the text between two slashes.
func parseSegment(raw string) (decoded string, forms Forms, err error) {
	decoded, forms, err = decode(raw)
	if err != nil {
		return "", 0, err
	}
	return decoded, forms, checkParts(decoded)
}

// decode decodes a segment, or a part of one.
func decode(raw string) (decoded string, forms Forms, err error) {
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
	return decoded, forms, nil
}

// checkParts refuses empty and dot segments as an application would see them that decodes
// slashes before it splits the path, or that cuts parameters off at a semicolon.
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

// unescape decodes the escapes of s, which must be valid.
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

// escapeSegment returns a decoded segment as it is written in a path.
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
