package token

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDepth bounds how deep objects and arrays stand in one another; the
// outermost object is at depth 1.
const maxDepth = 16

// An object holds the members of a JSON object in their order.
type object []member

type member struct {
	name   string
	folded string // the same for names that differ in case only
	value  value
}

// parseObject reads the one reading of a JSON object. Where encoding/json would
// pick a reading, it refuses: invalid UTF-8 and halves of surrogate pairs (read
// as U+FFFD), members that stand twice (the last wins) or differ in case only
// (struct fields match both), at any depth. whole is the text that the members are parts of.
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

// get returns the value of a member, "" when there is none.
func (o object) get(name string) value {
	for i := range o {
		if o[i].name == name {
			return o[i].value
		}
	}
	return ""
}

// shadows reports whether a member has the name, but in another case: a reader
// that ignores case would find what we do not.
func (o object) shadows(name string) bool {
	folded := fold(name)
	for i := range o {
		if o[i].folded == folded && o[i].name != name {
			return true
		}
	}
	return false
}

// A value is the text of one JSON value, without white space around it. The
// empty value is none.
type value string

// text returns what a JSON string spells.
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

// number returns a JSON number as it is written.
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

// A reader walks through JSON that is known to be valid, so that it need not
// look for mistakes. It finds what is valid and still has two readings.
type reader struct{ rest string }

// peek returns the next byte that is no white space.
func (r *reader) peek() byte {
	for isSpace(r.rest[0]) {
		r.rest = r.rest[1:]
	}
	return r.rest[0]
}

// take returns the next n bytes and goes behind them.
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

// value returns the next value. An object or an array stands at the given depth.
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

// string returns the next string with its quotes.
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

// wholeRunes reports whether each \u escape of valid JSON is a character of its
// own or a surrogate pair.
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

// escaped returns the number in the \uXXXX that text begins with.
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

// fold returns the same text for names that differ in case only, by any rule
// that a reader of the token may use: the long s is an s, the kelvin sign a k.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf {
			return unicode.ToLower(r)
		}
		for { // to the smallest character that folds to this one
			next := unicode.SimpleFold(r)
			if next <= r {
				return unicode.ToLower(next)
			}
			r = next
		}
	}, name)
}
