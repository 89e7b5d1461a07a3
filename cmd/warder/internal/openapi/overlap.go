package openapi

import (
	"net/url"
	"regexp"
	"strings"
)

// mayMatch reports whether one request may have two paths. They are shapes: a segment with
// braces takes any text that its literals allow.
func mayMatch(a, b string) bool {
	x, y := strings.Split(a, "/"), strings.Split(b, "/")
	for i := 0; ; i++ {
		switch {
		case i < len(x) && x[i] == "**" || i < len(y) && y[i] == "**":
			return true
		case i >= len(x) || i >= len(y):
			// An empty last segment is a trailing slash, and ** takes the path above it.
			return len(x) == len(y) || i < len(x) && x[i] == "" || i < len(y) && y[i] == ""
		case !segmentsMeet(x[i], y[i]):
			return false
		}
	}
}

func segmentsMeet(a, b string) bool {
	mixedA, mixedB := strings.ContainsAny(a, "{}"), strings.ContainsAny(b, "{}")
	switch {
	case mixedA && mixedB:
		return true
	case mixedA:
		return globTakes(a, b)
	case mixedB:
		return globTakes(b, a)
	}
	return unescaped(a) == unescaped(b)
}

// globTakes reports whether a literal fits the literals of a segment with parameters.
func globTakes(segment, literal string) bool {
	literal = unescaped(literal)
	rest := literal
	for i, text := range strings.Split(braces.ReplaceAllString(segment, "\x00"), "\x00") {
		text = unescaped(text)
		at := strings.Index(rest, text)
		if at < 0 || i == 0 && at > 0 {
			return false
		}
		rest = rest[at+len(text):]
	}
	return true // conservative: it may take more than the segment does
}

var braces = regexp.MustCompile(`\{[^{}]*\}`)

func unescaped(s string) string {
	if text, err := url.PathUnescape(s); err == nil {
		return text
	}
	return s
}
