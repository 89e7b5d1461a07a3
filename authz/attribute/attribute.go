package attribute

import (
	"cmp"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxName is the maximum length of a name.
	MaxName = 64
	// MaxValue is the maximum length of a value in bytes. A value may become a header field, of
	// which a proxy accepts a limited size.
	MaxValue = 1024
	// Max is the maximum number of attributes from one source: the columns of a query, the claims
	// of an issuer.
	Max = 32
)

// NameGrammar describes valid names, for messages.
const NameGrammar = "a name is 1 to 64 of a-z 0-9 _, and does not begin with a digit"

// ValidName reports whether a text can be the name of an attribute: [a-z_][a-z0-9_]{0,63}.
func ValidName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if ('a' > c || c > 'z') && c != '_' && ('0' > c || c > '9' || i == 0) {
			return false
		}
	}
	return name != "" && len(name) <= MaxName
}

// ValueGrammar describes valid values, for messages.
const ValueGrammar = "a value is at most 1024 bytes of UTF-8, without control characters, line ends and white space at its ends"

// ValidValue reports whether a text can be the value of an attribute. It would arrive unchanged
// in a header field, and nothing else could be read into a line that contains it.
func ValidValue(value string) bool {
	return value != "" && len(value) <= MaxValue && utf8.ValidString(value) &&
		!strings.ContainsFunc(value, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }) &&
		strings.TrimFunc(value, unicode.IsSpace) == value
}

// A Set is the attributes of a principal. It is immutable, and the zero Set is empty. A source may
// know an attribute that has no value for this principal (NULL), and one whose value is unreadable:
// not a [ValidValue]. Neither has a value. For conditions they differ: to ask whether an
// unreadable attribute exists is an error, because a condition with a negation would be true
// otherwise.
//
// A Set prints the names of its attributes and never a value.
type Set struct {
	first, second *list // an attribute of first hides that of second
}

// A list is sorted by name, without duplicates.
type list []pair

type pair struct {
	name       string
	value      string // "" if there is none
	unreadable bool
}

func (l *list) find(name string) (pair, bool) {
	if l == nil {
		return pair{}, false
	}
	at, found := slices.BinarySearchFunc(*l, name, func(p pair, name string) int { return strings.Compare(p.name, name) })
	if !found {
		return pair{}, false
	}
	return (*l)[at], true
}

func (s Set) find(name string) pair {
	found, known := s.first.find(name)
	if !known {
		found, _ = s.second.find(name)
	}
	return found
}

// Get returns the value of an attribute, or "" if it has none.
func (s Set) Get(name string) string { return s.find(name).value }

// An UnreadableError is the error of an attribute whose value is unreadable. It does not contain
// the value.
type UnreadableError struct{ Name string }

// Error implements error.
func (e *UnreadableError) Error() string {
	return "principal.attributes." + e.Name + " is unreadable: its value is longer than 1024 bytes, of another type, or contains what a header cannot"
}

// Find returns the value of an attribute. found is false if it has none. If the value is
// unreadable, the error is an [*UnreadableError].
func (s Set) Find(name string) (value string, found bool, err error) {
	p := s.find(name)
	if p.unreadable {
		return "", false, &UnreadableError{name}
	}
	return p.value, p.value != "", nil
}

// Over returns the attributes of both sets. An attribute that s knows is that of s, even if it
// has no value or is unreadable. Neither set may be the result of Over.
func (s Set) Over(other Set) Set { return Set{s.first, other.first} }

// merged returns what both lists know, sorted by name.
func (s Set) merged() list {
	var all list
	if s.first != nil {
		all = slices.Clone(*s.first)
	}
	if s.second != nil {
		for _, p := range *s.second {
			if _, hidden := s.first.find(p.name); !hidden {
				all = append(all, p)
			}
		}
	}
	slices.SortFunc(all, comparePairs)
	return all
}

func comparePairs(a, b pair) int { return cmp.Compare(a.name, b.name) }

// All returns the attributes that have a value, by name.
func (s Set) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, p := range s.merged() {
			if p.value != "" && !yield(p.name, p.value) {
				return
			}
		}
	}
}

// Unreadable returns the names of the attributes whose value is unreadable.
func (s Set) Unreadable() (names []string) {
	for _, p := range s.merged() {
		if p.unreadable {
			names = append(names, p.name)
		}
	}
	return names
}

// Equal reports whether both sets know the same attributes with the same values.
func (s Set) Equal(other Set) bool { return slices.Equal(s.merged(), other.merged()) }

// Size returns the approximate memory of the set in bytes, without the names.
func (s Set) Size() int {
	const each = 48 // the size of a pair and of what surrounds it
	size := 0
	for _, l := range []*list{s.first, s.second} {
		if l == nil {
			continue
		}
		for _, p := range *l {
			size += each + len(p.value)
		}
	}
	return size
}

// Format implements [fmt.Formatter]. It prints the names for every verb.
func (s Set) Format(f fmt.State, _ rune) {
	names := []string{}
	for name := range s.All() {
		names = append(names, name)
	}
	_, _ = io.WriteString(f, "["+strings.Join(names, " ")+"]")
}

// MarshalText implements [encoding.TextMarshaler], so that JSON and slog print the names.
func (s Set) MarshalText() ([]byte, error) { return []byte(fmt.Sprint(s)), nil }

// Of returns a set of attributes by name, made as a [Builder] makes it.
func Of(values map[string]string) Set {
	var b Builder
	for name, value := range values {
		b.Put(name, value)
	}
	return b.Set()
}

// A Builder collects the attributes of one source. Its zero value is empty.
type Builder struct{ pairs list }

// Put adds an attribute. The value "" says that it has none. If the value is not a [ValidValue],
// or the builder has an attribute of the name, the attribute is unreadable and ok is false. A
// name that is not valid is ignored.
func (b *Builder) Put(name, value string) (ok bool) {
	return b.add(pair{name: name, value: value}, value == "" || ValidValue(value))
}

// PutUnreadable adds an attribute whose value cannot be read.
func (b *Builder) PutUnreadable(name string) { b.add(pair{name: name}, false) }

func (b *Builder) add(p pair, readable bool) (ok bool) {
	if !ValidName(p.name) {
		return true
	}
	if !readable {
		p.value, p.unreadable = "", true
	}
	for i := range b.pairs {
		if b.pairs[i].name == p.name {
			b.pairs[i] = pair{name: p.name, unreadable: true}
			return false
		}
	}
	b.pairs = append(b.pairs, p)
	return readable
}

// Set returns the attributes. The builder must not be used after it.
func (b *Builder) Set() Set {
	if len(b.pairs) == 0 {
		return Set{}
	}
	slices.SortFunc(b.pairs, comparePairs)
	return Set{first: &b.pairs}
}
