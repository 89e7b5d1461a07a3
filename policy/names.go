package policy

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"warder/policy/strict"
)

// ValidName reports whether a text can be the name of a role or scope. It is valid UTF-8, is not
// empty, and has no comma, no control character and no space at its ends: a header would lose
// the space, and " ADMIN" would become ADMIN.
func ValidName(name string) bool {
	return name != "" && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return r == ',' || unicode.IsControl(r) }) &&
		strings.TrimFunc(name, unicode.IsSpace) == name
}

// wrongName says why a text is not the name of a role or scope. apart is what to write instead
// of several names in one text.
func wrongName(what, name, apart string) string {
	switch {
	case name == "":
		return "is an empty " + what + ", which nobody holds; write its name"
	case strings.Contains(name, ","):
		return "is " + strict.Quote(name) + ", a " + what + " with a comma, which nobody can hold; write " + apart
	case strings.TrimFunc(name, unicode.IsSpace) != name:
		return "is " + strict.Quote(name) + ", a " + what + " with space at its ends, which nobody can hold; write " + strict.Quote(strings.TrimFunc(name, unicode.IsSpace))
	}
	return "is " + strict.Quote(name) + ", a " + what + " with a control character, which nobody can hold; write its name"
}

// maxIdentifier bounds the ids of routes and the names of lists, in bytes. Ids are written to
// every log line and metric.
const maxIdentifier = 128

// validIdentifier reports whether s is [a-z0-9._-]{1,128}.
func validIdentifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		if ('a' > c || c > 'z') && ('0' > c || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= maxIdentifier
}

// validMethod reports whether s is a token (RFC 9110 section 5.6.2) without lower-case letters.
func validMethod(s string) bool {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 {
			continue
		}
		return false
	}
	return s != "" && s != "*"
}
