package strict

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Position is a place in a file.
type Position struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`   // from 1; 0: the file as a whole
	Column int    `json:"column,omitempty"` // from 1, in characters; 0: the line as a whole
}

// String writes the position as file:line:column, without the parts that are not known.
func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// A Problem is something wrong, or worth a warning, at one place.
type Problem struct {
	Position
	Field   string `json:"field,omitempty"` // as in jwt.keys[0].secret
	Message string `json:"message"`         // what is wrong; what would be right
}

// String writes the problem as file:line:column: field: message.
func (p Problem) String() string {
	parts := make([]string, 0, 3)
	if at := p.Position.String(); at != "" {
		parts = append(parts, at)
	}
	if p.Field != "" {
		parts = append(parts, p.Field)
	}
	return strings.Join(append(parts, p.Message), ": ")
}

// Problems are all that is wrong with some files, as one error.
type Problems []Problem

// Error writes the problems, one a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// Sorted returns the problems by position, each once.
func (p Problems) Sorted() Problems {
	sorted := slices.Clone(p)
	slices.SortStableFunc(sorted, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Field, b.Field),
			cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(sorted)
}

// Err returns the problems as an error, sorted; nil when there are none.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p.Sorted()
}

// Quote writes a text of a file for a message, cut when it is long.
func Quote(s string) string {
	const limit = 80
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return strconv.Quote(s)
}

// Join returns the field of a key in a group.
func Join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

// Index returns the field of an item in a list.
func Index(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }
