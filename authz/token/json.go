package token

import (
	"bytes"
	"encoding/json"
	"slices"
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
// match a struct field), at any depth. The members are substrings of one copy of text. wrong
// says what is wrong with the text; it is "" if nothing is.
func parseObject(text []byte) (o object, wrong string) {
	switch {
	case !utf8.Valid(text):
		return nil, notUTF8
	case !json.Valid(text):
		return nil, notJSON
	case !wholeRunes(text):
		return nil, halfSurrogate
	}
	r := reader{rest: string(text)}
	if r.peek() != '{' {
		return nil, notObject
	}
	return r.members(1, true)
}

// What can be wrong with the JSON of a token.
const (
	notUTF8       = "not UTF-8"
	notJSON       = "not JSON"
	notObject     = "not a JSON object"
	halfSurrogate = "with half a surrogate pair"
	nameTwice     = "with a name twice"
	tooDeep       = "nested deeper than 16"
)

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
	r := reader{rest: string(v)}
	r.take(1) // [
	var elements []value
	for r.peek() != ']' {
		if r.peek() == ',' {
			r.take(1)
		}
		element, wrong := r.value(2)
		if wrong != "" {
			return nil, false
		}
		elements = append(elements, element)
	}
	return elements, true
}

// object returns the members of a JSON object that was part of a parsed text, so that its names
// are known to differ.
func (v value) object() (o object, wrong string) {
	if v == "" || v[0] != '{' {
		return nil, notObject
	}
	r := reader{rest: string(v)}
	return r.members(1, true)
}

// A reader parses JSON that is known to be valid. It rejects duplicate names and excessive
// depth. Its work is linear in the text, but for sorting the names of an object.
type reader struct {
	rest string
	// names are the folded names of the objects that are being read, each object's after those
	// of the objects around it.
	names []string
}

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

// members consumes an object, and returns its members if keep is set.
func (r *reader) members(depth int, keep bool) (o object, wrong string) {
	if depth > maxDepth {
		return nil, tooDeep
	}
	first := len(r.names)
	r.take(1) // {
	for r.peek() != '}' {
		if r.peek() == ',' {
			r.take(1)
		}
		name, ok := r.string().text()
		if !ok {
			return nil, notJSON
		}
		folded := fold(name)
		r.names = append(r.names, folded)
		r.peek()
		r.take(1) // :
		v, wrong := r.value(depth + 1)
		if wrong != "" {
			return nil, wrong
		}
		if keep {
			o = append(o, member{name, folded, v})
		}
	}
	r.take(1) // }
	if repeats(r.names[first:]) {
		return nil, nameTwice
	}
	r.names = r.names[:first]
	return o, ""
}

// repeats reports whether a name occurs twice. It changes the order of the names.
func repeats(names []string) bool {
	slices.Sort(names)
	for i := 1; i < len(names); i++ {
		if names[i] == names[i-1] {
			return true
		}
	}
	return false
}

// skipArray consumes an array.
func (r *reader) skipArray(depth int) (wrong string) {
	if depth > maxDepth {
		return tooDeep
	}
	r.take(1) // [
	for r.peek() != ']' {
		if r.peek() == ',' {
			r.take(1)
		}
		if _, wrong := r.value(depth + 1); wrong != "" {
			return wrong
		}
	}
	r.take(1) // ]
	return ""
}

// value consumes and returns the next value. depth is its depth if it is an object or array.
func (r *reader) value(depth int) (_ value, wrong string) {
	first, start := r.peek(), r.rest
	switch first {
	case '{':
		_, wrong = r.members(depth, false)
	case '[':
		wrong = r.skipArray(depth)
	case '"':
		r.string()
	default: // a number, true, false or null
		end := 1
		for c := r.rest[end]; c != ',' && c != ']' && c != '}' && !isSpace(c); c = r.rest[end] {
			end++
		}
		r.take(end)
	}
	return value(start[:len(start)-len(r.rest)]), wrong
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
