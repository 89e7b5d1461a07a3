package policy

import (
	"fmt"
	"strings"
	"unicode"

	"warder/policy/strict"
)

const conditionHelp = `a text such as "` + exampleCondition + `"`

// A whenEntry is the text of a condition with the lines of its file.
type whenEntry struct {
	strict.String
	lines []string
}

// ReadValue reads a condition.
func (w *whenEntry) ReadValue(r *strict.Reader, field string, v strict.Value) {
	switch v.Kind {
	case strict.Text:
		*w = whenEntry{strict.String{Text: v.Text, At: v.At, Field: field}, r.Lines}
	case strict.Group:
		r.Fail(v.At, field, "has a colon and a space outside quotes, which makes it a key with a value; put the expression in single quotes, or on the line below when: |")
	case strict.List:
		r.Fail(v.At, field, "is a list; write one expression, with && between what must all be true")
	default:
		r.WrongKind(field, v, conditionHelp)
	}
}

// conditionHint says how to write a condition, whose quotation marks and colons are more
// than a plain text of YAML can hold.
func conditionHint(line string) string {
	if strings.Contains(line, "when:") {
		return "put the expression in single quotes, or on the line below when: |"
	}
	return ""
}

// keepsLines reports whether the value is written in the form that keeps its lines as
// they stand, in which a comment ends where it seems to.
func (w *whenEntry) keepsLines() bool {
	head := runesFrom(w.line(w.At.Line), w.At.Column-1)
	return len(head) > 0 && head[0] == '|'
}

// commentIn finds a // outside texts, and returns its place in characters.
func commentIn(expression string) (at int, found bool) {
	runes := []rune(expression)
	begins := func(i int, mark string) bool {
		return i+len(mark) <= len(runes) && string(runes[i:i+len(mark)]) == mark
	}
	for i := 0; i < len(runes); i++ {
		switch runes[i] {
		case '/':
			if begins(i, "//") {
				return i, true
			}
		case '"', '\'':
			raw := i > 0 && (runes[i-1] == 'r' || runes[i-1] == 'R')
			end := string(runes[i])
			if begins(i, strings.Repeat(end, 3)) {
				end = strings.Repeat(end, 3)
			}
			for i += len(end); i < len(runes) && !begins(i, end); i++ {
				if runes[i] == '\\' && !raw {
					i++
				}
			}
			i += len(end) - 1
		}
	}
	return 0, false
}

// place returns where in the file a problem of an expression is, with its message. Where
// the text was changed on its way out of the YAML (escaped, or folded with empty lines)
// the place is where the value begins, and the message counts inside the expression.
func (w *whenEntry) place(p conditionProblem) (strict.Position, string) {
	if p.offset == 0 { // the expression as a whole
		if at, found := w.find(len(w.Text) - len(strings.TrimLeftFunc(w.Text, unicode.IsSpace))); found {
			return at, p.message
		}
		return w.At, p.message
	}
	if at, found := w.find(p.offset); found {
		return at, p.message
	}
	return w.At, fmt.Sprintf("%s (character %d of the expression)", p.message, p.offset+1)
}

// find walks along the lines of the file and the expression side by side. They differ
// only in indentation and line ends, or the place cannot be known.
func (w *whenEntry) find(offset int) (strict.Position, bool) {
	line, column := w.At.Line, w.At.Column-1
	head := runesFrom(w.line(line), column)
	if len(head) == 0 {
		return strict.Position{}, false
	}
	switch head[0] {
	case '|', '>':
		line, column = line+1, 0
	case '"', '\'':
		column++
	}
	expression := []rune(w.Text)
	for at := 0; line <= len(w.lines) && at <= len(expression); line, column = line+1, 0 {
		rest := runesFrom(w.line(line), column)
		for column == 0 && len(rest) > 0 && rest[0] == ' ' {
			rest = rest[1:]
		}
		start := len([]rune(w.line(line))) - len(rest)
		for at < len(expression) && isBlank(expression[at]) && (len(rest) == 0 || !isBlank(rest[0])) && line != w.At.Line {
			if at == offset {
				return strict.Position{File: w.At.File, Line: line, Column: start + 1}, true
			}
			at++
		}
		n := 0
		for n < len(rest) && at+n < len(expression) && rest[n] == expression[at+n] {
			n++
		}
		if offset < at+n || offset == at+n && at+n == len(expression) {
			return strict.Position{File: w.At.File, Line: line, Column: start + 1 + offset - at}, true
		}
		at += n
		if strings.TrimSpace(string(rest[n:])) != "" {
			return strict.Position{}, false
		}
	}
	return strict.Position{}, false
}

func isBlank(r rune) bool { return r == ' ' || r == '\n' }

func (w *whenEntry) line(n int) string {
	if n < 1 || n > len(w.lines) {
		return ""
	}
	return w.lines[n-1]
}

func runesFrom(s string, column int) []rune {
	runes := []rune(s)
	return runes[min(max(0, column), len(runes)):]
}
