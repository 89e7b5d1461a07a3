package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// OrEmpty returns ps, or an empty list if it is nil, so that JSON has [] and not null.
func OrEmpty(ps Problems) Problems {
	if ps == nil {
		return Problems{}
	}
	return ps
}

// Count returns the number and the word, with a plural s unless n is 1.
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// WriteJSON writes v as indented JSON.
func WriteJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// OneLine makes text from outside fit for a comment or a message: printable, on one line,
// and cut to limit characters.
func OneLine(s string, limit int) string {
	s = strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) && c != unicode.ReplacementChar {
			return c
		}
		return ' '
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > limit {
		s = strings.TrimSpace(string(runes[:limit])) + "…"
	}
	return s
}

// SomeOrEmpty returns words, or an empty list if it is nil, so that JSON has [] and not null.
func SomeOrEmpty(words []string) []string {
	if words == nil {
		return []string{}
	}
	return words
}

// Fold breaks a text between words. The first line is at most width characters long; the
// other lines are shorter by the length of ColumnGap, to leave room for an indent.
func Fold(s string, width int) []string {
	if width < leastWho {
		return []string{s}
	}
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		room := width
		if len(lines) > 0 {
			room -= len(ColumnGap)
		}
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > room {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// Plural returns one if n is 1, and many otherwise.
func Plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// The measures of a table.
const (
	TableWidth = 120 // the widest line of a table, if its columns allow it
	leastWho   = 24  // a last column narrower than this is not folded
	ColumnGap  = "  "
)
