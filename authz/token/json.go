package token

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDepth is the greatest nesting depth of objects and arrays. The outermost object is at
// depth 1.
const maxDepth = 16

// An object holds the members of a JSON object in order.
type object []member

type member struct {
	name   string
	folded string // equal for names that differ only in case
	value  value
}

// parseObject parses a JSON object. It rejects input that readers interpret differently,
// and for which encoding/json makes a choice: invalid UTF-8 and unpaired surrogates (which
// become U+FFFD), duplicate names (the last wins) and names that differ only in case (both
// match a struct field), at any depth. whole is text as a string, of which the members are
// substrings.
func parseObject(text []byte) (o object, whole string, err error) {
	if !utf8.Valid(text) || !json.Valid(text) || !wholeRunes(text) {
		return nil, "", ErrMalformed
	}
	whole = string(text)
	r := reader{whole}
	if r.peek() != '{' {
		return nil, "", ErrMalformed
	}
	o, err = r.object(1)
	return o, whole, err
}

// get returns the value of the member, or "" if there is none.
func (o object) get(name string) value {
	for i := range o {
		if o[i].name == name {
			return o[i].value
		}
	}
	return ""
}

// shadows reports whether a member's name differs from name only in case. A reader that
// ignores case would take it for name.
func (o object) shadows(name string) bool {
	folded := fold(name)
	for i := range o {
		if o[i].folded == folded && o[i].name != name {
			return true
		}
	}
	return false
}

// A value is the text of a JSON value without white space around it. The empty value means
// that there is none.
type value string

// text returns the contents of a JSON string.
func (v value) text() (string, bool) {
	if v == "" || v[0] != '"' {
		return "", false
	}
	if strings.IndexByte(string(v), '\\') < 0 {
		return string(v[1 : len(v)-1]), true
	}
	var s string
	err := json.Unmarshal([]byte(v), &s)
	return s, err == nil
}

// number returns the text of a JSON number.
func (v value) number() (string, bool) {
	return string(v), v != "" && (v[0] == '-' || isDigit(v[0]))
}

// array returns the elements of a JSON array.
func (v value) array() ([]value, bool) {
	if v == "" || v[0] != '[' {
		return nil, false
	}
	r := reader{string(v)}
	elements, err := r.array(1)
	return elements, err == nil
}

// A reader parses JSON that is known to be valid. It rejects duplicate names and excessive
// depth.
type reader struct{ rest string }

// peek skips white space and returns the next byte.
func (r *reader) peek() byte {
	for isSpace(r.rest[0]) {
		r.rest = r.rest[1:]
	}
	return r.rest[0]
}

// take consumes and returns the next n bytes.
func (r *reader) take(n int) string {
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) object(depth int) (object, error) {
	if depth > maxDepth {
		return nil, ErrMalformed
	}
	var o object
	seen := map[string]struct{}{}
	r.take(1) // {
	for r.peek() != '}' {
		if r.peek() == ',' {
			r.take(1)
		}
		name, ok := r.string().text()
		folded := fold(name)
		if _, twice := seen[folded]; twice || !ok {
			return nil, ErrMalformed
		}
		seen[folded] = struct{}{}
		r.peek()
		r.take(1) // :
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		o = append(o, member{name, folded, v})
	}
	r.take(1) // }
	return o, nil
}

func (r *reader) array(depth int) ([]value, error) {
	if depth > maxDepth {
		return nil, ErrMalformed
	}
	var elements []value
	r.take(1) // [
	for r.peek() != ']' {
		if r.peek() == ',' {
			r.take(1)
		}
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		elements = append(elements, v)
	}
	r.take(1) // ]
	return elements, nil
}

// value consumes and returns the next value. depth is its depth if it is an object or array.
func (r *reader) value(depth int) (value, error) {
	first, start := r.peek(), r.rest
	var err error
	switch first {
	case '{':
		_, err = r.object(depth)
	case '[':
		_, err = r.array(depth)
	case '"':
		r.string()
	default: // a number, true, false or null
		end := 1
		for c := r.rest[end]; c != ',' && c != ']' && c != '}' && !isSpace(c); c = r.rest[end] {
			end++
		}
		r.take(end)
	}
	return value(start[:len(start)-len(r.rest)]), err
}

// string consumes and returns the next string with its quotes.
func (r *reader) string() value {
	r.peek()
	end := 1
	for r.rest[end] != '"' {
		if r.rest[end] == '\\' {
			end++
		}
		end++
	}
	return value(r.take(end + 1))
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// wholeRunes reports whether valid JSON has no unpaired surrogate in its \u escapes.
func wholeRunes(text []byte) bool {
	for {
		at := bytes.IndexByte(text, '\\')
		if at < 0 {
			return true
		}
		text = text[at:]
		if text[1] != 'u' {
			text = text[2:]
			continue
		}
		r := escaped(text)
		text = text[6:]
		switch {
		case isLowSurrogate(r):
			return false
		case isHighSurrogate(r):
			if !bytes.HasPrefix(text, []byte(`\u`)) || !isLowSurrogate(escaped(text)) {
				return false
			}
			text = text[6:]
		}
	}
}

// escaped returns the value of the \uXXXX at the beginning of text.
func escaped(text []byte) rune {
	var r rune
	for _, c := range text[2:6] {
		r <<= 4
		if isDigit(c) {
			r |= rune(c - '0')
		} else {
			r |= rune(c|0x20-'a') + 10
		}
	}
	return r
}

func isHighSurrogate(r rune) bool { return 0xD800 <= r && r < 0xDC00 }
func isLowSurrogate(r rune) bool  { return 0xDC00 <= r && r < 0xE000 }

// fold returns the same text for names that differ only in case by Unicode simple folding.
// That includes the long s, which folds to s, and the Kelvin sign, which folds to k.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf {
			return unicode.ToLower(r)
		}
		for { // find the smallest rune of the folding orbit
			next := unicode.SimpleFold(r)
			if next <= r {
				return unicode.ToLower(next)
			}
			r = next
		}
	}, name)
}
