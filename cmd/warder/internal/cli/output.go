package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// OrEmpty makes JSON print [] for none.
func OrEmpty(ps Problems) Problems {
	if ps == nil {
		return Problems{}
	}
	return ps
}

// Count puts a number before a word, in the plural unless it is 1.
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

// OneLine makes a foreign text fit for a comment or a message: printable, on
// one line, not long.
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

// SomeOrEmpty makes JSON print [] for none.
func SomeOrEmpty(words []string) []string {
	if words == nil {
		return []string{}
	}
	return words
}

// Fold breaks a text between words, so that its first line is at most width long and the
// others leave room for an indent of a gap.
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
	TableWidth = 120 // a table keeps to this where its columns let it
	leastWho   = 24  // a last column that is narrower is not worth folding
	ColumnGap  = "  "
)
