package condition

import (
	"strings"
	"unicode"

	"cel.dev/cel-go/cel"
)

// maxTypeProblems bounds how many type errors of one expression are reported.
const maxTypeProblems = 3

// typeProblems returns what the type checker of cel-go reports, in its own words.
func typeProblems(text string, found []*cel.Error) (problems []problem) {
	for _, e := range found[:min(len(found), maxTypeProblems)] {
		problems = append(problems, problem{offsetAt(text, e), oneLine(e.Message)})
	}
	return problems
}

// syntaxProblems returns the first error that the parser of cel-go reports, in its own words.
// The others usually follow from the first. If the author's text shows what was meant, the
// message says what to write instead.
func syntaxProblems(text string, found []*cel.Error) []problem {
	if len(found) == 0 {
		return []problem{{0, "is not a CEL expression"}}
	}
	offset, message := offsetAt(text, found[0]), oneLine(found[0].Message)
	if at, open := scan(text).openText(); open {
		return []problem{{at, message + "; write the second quotation mark of this text (in YAML, a # after a space begins a comment: write the expression below when: |)"}}
	}
	if hint := syntaxHint([]rune(text), offset); hint != "" {
		message += "; " + hint
	}
	return []problem{{offset, message}}
}

// otherLanguages are words and operators of other languages, and what CEL has for them.
var otherLanguages = map[string]string{
	"and": "&&", "or": "||", "not": "!", "is": "==", "=": "==", "===": "==", "<>": "!=", "&": "&&", "|": "||",
}

// syntaxHint looks for a word or an operator of another language at the place of an error,
// or before it: the parser may report what follows the word. It returns "" if there is none.
func syntaxHint(text []rune, offset int) string {
	rest, before := string(text[offset:]), strings.TrimSpace(string(text[:offset]))
	for _, word := range []string{firstWord(rest), lastWord(before), operatorAt(before, rest)} {
		if instead := otherLanguages[strings.ToLower(word)]; instead != "" {
			return "write " + instead + " for " + word
		}
	}
	return ""
}

// operatorAt returns the operator characters around a place.
func operatorAt(before, rest string) string {
	isOperator := func(r rune) bool { return strings.ContainsRune("=<>&|", r) }
	left := before[len(strings.TrimRightFunc(before, isOperator)):]
	return left + rest[:len(rest)-len(strings.TrimLeftFunc(rest, isOperator))]
}

// firstWord returns the name or number that a text begins with, or "".
func firstWord(s string) string {
	end := strings.IndexFunc(s, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if end < 0 {
		return s
	}
	return s[:end]
}

// lastWord returns the text after the last space.
func lastWord(s string) string {
	return s[strings.LastIndexFunc(s, unicode.IsSpace)+1:]
}

// offsetAt returns the place of an error in characters from the beginning of the expression.
func offsetAt(text string, e *cel.Error) int {
	lines := strings.SplitAfter(text, "\n")
	offset := 0
	for i := 0; i < e.Location.Line()-1 && i < len(lines); i++ {
		offset += len([]rune(lines[i]))
	}
	return min(offset+max(0, e.Location.Column()), len([]rune(text)))
}

// wrongResult says which type an expression must have.
func wrongResult(out *cel.Type) string {
	if out.IsExactType(cel.DynType) {
		return "is a claim, which may have any type; compare it, as in principal.claims.admin == true"
	}
	return "has the type " + cel.FormatCELType(out) + " and not bool; compare it with something, such as " + exampleCondition
}
