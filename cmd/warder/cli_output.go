package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// orEmpty makes JSON print [] for none.
func orEmpty(ps problems) problems {
	if ps == nil {
		return problems{}
	}
	return ps
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// oneLine makes a text of the document fit for a comment or a message: printable, on
// one line, not long.
func oneLine(s string, limit int) string {
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

// someOrEmpty makes JSON print [] for none.
func someOrEmpty(words []string) []string {
	if words == nil {
		return []string{}
	}
	return words
}

// fold breaks a text between words, so that its first line is at most width long and the
// others leave room for an indent of a gap.
func fold(s string, width int) []string {
	if width < leastWho {
		return []string{s}
	}
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		room := width
		if len(lines) > 0 {
			room -= len(columnGap)
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

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

const (
	tableWidth = 120 // what the table keeps to where its columns let it
	leastWho   = 24  // a last column that is narrower is not worth folding
	columnGap  = "  "
)
