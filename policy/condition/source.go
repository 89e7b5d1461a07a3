package condition

import (
	"fmt"
	"strings"
	"unicode"

	"warder/policy/strict"
)

const exampleCondition = "params.user_id == principal.user"

// A Source is the text of a condition in a file.
type Source struct {
	strict.String
	lines []string // of the file
}

// ReadValue implements [strict.ValueReader].
func (s *Source) ReadValue(r *strict.Reader, field string, v strict.Value) {
	switch v.Kind {
	case strict.Text:
		*s = Source{strict.String{Text: v.Text, At: v.At, Field: field}, r.Lines}
	case strict.Group:
		r.Fail(v.At, field, "has a colon and a space outside quotes, which makes it a key with a value; put the expression in single quotes, or on the line below when: |")
	case strict.List:
		r.Fail(v.At, field, "is a list; write one expression, with && between what must all be true")
	default:
		r.WrongKind(field, v, `a text such as "`+exampleCondition+`"`)
	}
}

// HintYAML says how to write a condition, for a line that is not YAML: quotation marks and
// colons of an expression often end a plain text. It returns "" for other lines.
func HintYAML(line string) string {
	if strings.Contains(line, "when:") {
		return "put the expression in single quotes, or on the line below when: |"
	}
	return ""
}

// keepsLines reports whether the value is a literal block (when: |), in which line breaks are
// kept, so that a comment of CEL ends where its line does.
func (s *Source) keepsLines() bool {
	head := runesFrom(s.line(s.At.Line), s.At.Column-1)
	return len(head) > 0 && head[0] == '|'
}

// A lexical is what a scan finds in an expression without parsing it. Both are places in
// characters, or -1.
type lexical struct {
	comment int // the first //
	open    int // a quotation mark without a second one
}

func (l lexical) openText() (at int, found bool) { return l.open, l.open >= 0 }

// scan tells texts and comments from the rest of an expression.
func scan(expression string) lexical {
	found := lexical{-1, -1}
	runes := []rune(expression)
	begins := func(i int, mark string) bool {
		return i+len(mark) <= len(runes) && string(runes[i:i+len(mark)]) == mark
	}
	for i := 0; i < len(runes); i++ {
		switch {
		case begins(i, "//"):
			if found.comment < 0 {
				found.comment = i
			}
			for i < len(runes) && runes[i] != '\n' {
				i++
			}
		case runes[i] == '"', runes[i] == '\'':
			start, raw := i, i > 0 && (runes[i-1] == 'r' || runes[i-1] == 'R')
			end := string(runes[i])
			if begins(i, strings.Repeat(end, 3)) {
				end = strings.Repeat(end, 3)
			}
			for i += len(end); i < len(runes) && !begins(i, end); i++ {
				if runes[i] == '\\' && !raw {
					i++
				}
			}
			if i >= len(runes) {
				found.open = start
			}
			i += len(end) - 1
		}
	}
	return found
}

// place returns the position of a problem in the file, and its message. If YAML changed the
// text (by escapes, or by folding empty lines), the position is where the value begins, and
// the message counts the characters of the expression.
func (s *Source) place(p problem) (strict.Position, string) {
	if p.offset == 0 { // the expression as a whole
		if at, found := s.find(len(s.Text) - len(strings.TrimLeftFunc(s.Text, unicode.IsSpace))); found {
			return at, p.message
		}
		return s.At, p.message
	}
	if at, found := s.find(p.offset); found {
		return at, p.message
	}
	return s.At, fmt.Sprintf("%s (character %d of the expression)", p.message, p.offset+1)
}

// find returns the position of a character of the expression. It compares the expression
// with the lines of the file from where the value begins. They may differ only in
// indentation and line breaks; otherwise the position is unknown.
func (s *Source) find(offset int) (strict.Position, bool) {
	line, column := s.At.Line, s.At.Column-1
	head := runesFrom(s.line(line), column)
	if len(head) == 0 {
		return strict.Position{}, false
	}
	switch head[0] {
	case '|', '>':
		line, column = line+1, 0
	case '"', '\'':
		column++
	}
	expression := []rune(s.Text)
	for at := 0; line <= len(s.lines) && at <= len(expression); line, column = line+1, 0 {
		rest := runesFrom(s.line(line), column)
		for column == 0 && len(rest) > 0 && rest[0] == ' ' {
			rest = rest[1:]
		}
		start := len([]rune(s.line(line))) - len(rest)
		for at < len(expression) && isBlank(expression[at]) && (len(rest) == 0 || !isBlank(rest[0])) && line != s.At.Line {
			if at == offset {
				return strict.Position{File: s.At.File, Line: line, Column: start + 1}, true
			}
			at++
		}
		n := 0
		for n < len(rest) && at+n < len(expression) && rest[n] == expression[at+n] {
			n++
		}
		if offset < at+n || offset == at+n && at+n == len(expression) {
			return strict.Position{File: s.At.File, Line: line, Column: start + 1 + offset - at}, true
		}
		at += n
		if strings.TrimSpace(string(rest[n:])) != "" {
			return strict.Position{}, false
		}
	}
	return strict.Position{}, false
}

func isBlank(r rune) bool { return r == ' ' || r == '\n' }

func (s *Source) line(n int) string {
	if n < 1 || n > len(s.lines) {
		return ""
	}
	return s.lines[n-1]
}

func runesFrom(s string, column int) []rune {
	runes := []rune(s)
	return runes[min(max(0, column), len(runes)):]
}
