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

// An object holds the members of a JSON object. Values are string, json.Number,
// bool, nil, []any and object.
type object map[string]any

// parseObject reads the one reading of a JSON object. Where encoding/json would
// pick a reading, it refuses: invalid UTF-8 and halves of surrogate pairs (read
// as U+FFFD), members that stand twice (the last wins) or differ in case only
// (struct fields match both), at any depth. It refuses NUL too, which ends a
// string for some readers.
func parseObject(text []byte) (object, error) {
	// Valid also refuses what follows the object; the token decoder below
	// would neither see that nor every missing comma.
	if !utf8.Valid(text) || !json.Valid(text) || !wholeRunes(text) {
		return nil, ErrMalformed
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	value, err := parseValue(dec, 1)
	if err != nil {
		return nil, err
	}
	o, ok := value.(object)
	if !ok {
		return nil, ErrMalformed
	}
	return o, nil
}

// parseValue reads the next value of valid JSON. An object or array among it
// would stand at the given depth.
func parseValue(dec *json.Decoder, depth int) (any, error) {
	next, err := dec.Token()
	if err != nil {
		return nil, ErrMalformed
	}
	delim, ok := next.(json.Delim)
	if !ok {
		return next, nil
	}
	if depth > maxDepth {
		return nil, ErrMalformed
	}
	if delim == '{' {
		return parseMembers(dec, depth)
	}
	var array []any
	for dec.More() {
		value, err := parseValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		array = append(array, value)
	}
	if _, err := dec.Token(); err != nil { // the closing bracket
		return nil, ErrMalformed
	}
	return array, nil
}

func parseMembers(dec *json.Decoder, depth int) (object, error) {
	members := object{}
	folded := map[string]struct{}{}
	for dec.More() {
		next, err := dec.Token()
		if err != nil {
			return nil, ErrMalformed
		}
		name, ok := next.(string)
		if !ok {
			return nil, ErrMalformed
		}
		key := fold(name)
		if _, twice := folded[key]; twice {
			return nil, ErrMalformed
		}
		folded[key] = struct{}{}
		if members[name], err = parseValue(dec, depth+1); err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, ErrMalformed
	}
	return members, nil
}

// wholeRunes reports whether each \u escape of valid JSON is a character of its
// own or a surrogate pair, and none is NUL.
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
		case r == 0, isLowSurrogate(r):
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
		switch {
		case '0' <= c && c <= '9':
			r |= rune(c - '0')
		default:
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

// shadows reports whether a member has one of the names, but spelled in another
// case: a reader that ignores case would find what we do not.
func (o object) shadows(names ...string) bool {
	for name := range o {
		key := fold(name)
		for _, read := range names {
			if name != read && key == fold(read) {
				return true
			}
		}
	}
	return false
}
