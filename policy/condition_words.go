package policy

import (
	"strings"
	"unicode"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"warder/policy/strict"
)

// syntaxProblems say what the parser stumbled over. Only the first one is told: the others
// follow from it.
func syntaxProblems(text string, found []*cel.Error) []conditionProblem {
	if len(found) == 0 {
		return []conditionProblem{{0, "is no CEL expression"}}
	}
	first := found[0]
	offset := offsetAt(text, first)
	runes := []rune(text)
	rest := ""
	if offset < len(runes) {
		rest = string(runes[offset:])
	}
	return []conditionProblem{{offset, syntaxMessage(text, rest, first.Message)}}
}

// offsetAt returns the place of an error in characters.
func offsetAt(text string, e *cel.Error) int {
	lines := strings.SplitAfter(text, "\n")
	offset := 0
	for i := 0; i < e.Location.Line()-1 && i < len(lines); i++ {
		offset += len([]rune(lines[i]))
	}
	return min(offset+max(0, e.Location.Column()), len([]rune(text)))
}

// otherLanguages are words of other languages, and what CEL has for them.
var otherLanguages = map[string]string{
	"and": "&&", "or": "||", "not": "!", "AND": "&&", "OR": "||", "NOT": "!", "is": "==", "eq": "==", "ne": "!=",
	"if": "condition ? this : that", "then": "condition ? this : that", "like": `request.path.matches("…")`, "IN": "in", "In": "in",
}

func syntaxMessage(text, rest, message string) string {
	word, before := firstWord(rest), lastWord(strings.TrimSuffix(text, rest))
	switch {
	case otherLanguages[before] != "":
		return "has the word " + strict.Quote(before) + ", which is none of CEL; write " + otherLanguages[before]
	case otherLanguages[word] != "":
		return "has the word " + strict.Quote(word) + ", which is none of CEL; write " + otherLanguages[word]
	case strings.HasPrefix(rest, ">") && strings.HasSuffix(before, "<"):
		return "has <>, which is none of CEL; write !="
	case strings.HasPrefix(rest, "="):
		return "has a = where none can stand; write == to compare"
	case strings.HasPrefix(rest, "&"):
		return "has a single &; write && for and"
	case strings.HasPrefix(rest, "|"):
		return "has a single |; write || for or"
	case strings.HasPrefix(rest, "`"), strings.HasPrefix(rest, "“"), strings.HasPrefix(rest, "”"), strings.HasPrefix(rest, "‘"), strings.HasPrefix(rest, "’"):
		return "has a quotation mark that CEL does not know; write \" or '"
	case (strings.HasPrefix(rest, `"`) || strings.HasPrefix(rest, "'")) && strings.Contains(message, "token recognition"):
		return "has a text that does not end; write its second quotation mark (in YAML, a # after a space begins a comment: write the expression below when: |)"
	case strings.Contains(message, "recursion"), strings.Contains(message, "node"):
		return "is too large or too deeply nested; make two routes of it"
	case strings.Contains(message, "has() macro"):
		return hasForm
	case strings.HasPrefix(rest, "$"):
		return "has a $; names stand as they are, without $ and braces"
	case strings.TrimSpace(rest) == "" && strings.Count(text, "(") > strings.Count(text, ")"):
		return "ends before a parenthesis is closed; write ) where it belongs"
	case strings.TrimSpace(rest) == "":
		return "ends too early; something is missing after " + quoteWord(lastWord(text))
	case word == "":
		word = string([]rune(rest)[:1])
	}
	switch {
	case before == "":
		return "cannot begin with " + quoteWord(word) + "; an expression begins with a name, a text or !"
	case strings.IndexByte("(,=<>&|!+*/?:[", before[len(before)-1]) >= 0:
		return "cannot have " + quoteWord(word) + " after " + quoteWord(before) + "; what belongs there is a name, a number, or a text in quotes"
	}
	return "cannot have " + quoteWord(word) + " after " + quoteWord(before) + "; an operator such as && or == is missing, or a parenthesis is too many"
}

// quoteWord quotes what may be a quotation mark itself.
func quoteWord(s string) string {
	if !strings.Contains(s, `"`) {
		return strict.Quote(s)
	}
	q := strict.Quote(s)
	return "'" + strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`) + "'"
}

// firstWord returns the name or number that a text begins with, "" when it begins with none.
func firstWord(s string) string {
	end := strings.IndexFunc(s, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if end < 0 {
		return s
	}
	return s[:end]
}

// lastWord returns what stands after the last space; "" for an empty text.
func lastWord(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexFunc(s, unicode.IsSpace)+1:]
}

// maxTypeProblems bounds how many problems of one expression are told.
const maxTypeProblems = 3

// typeProblems say in words what does not fit together.
func (r *conditionReader) typeProblems(found []*cel.Error) (problems []conditionProblem) {
	for _, e := range found {
		if len(problems) == maxTypeProblems {
			break
		}
		problems = append(problems, conditionProblem{offsetAt(r.text, e), typeMessage(e.Message)})
	}
	return problems
}

func typeMessage(message string) string {
	quoted := strings.Split(message, "'")
	switch {
	case strings.HasPrefix(message, "found no matching overload for ") && len(quoted) >= 5:
		return overloadMessage(quoted[1], strings.Join(quoted[3:len(quoted)-1], "'"))
	case strings.HasPrefix(message, "expected type ") && len(quoted) >= 5:
		return "is " + inWords(quoted[3]) + " where " + inWords(quoted[1]) + " is wanted"
	case strings.Contains(message, "does not support field selection") && len(quoted) >= 3:
		return "reads a field of " + inWords(quoted[1]) + ", which has none" + insteadOfField(inWords(quoted[1]))
	case strings.Contains(message, "cannot be range of a comprehension") && len(quoted) >= 3:
		return "goes over " + inWords(quoted[1]) + "; only lists and maps have items"
	case strings.Contains(message, "comprehension"):
		return "has more than two of all, exists, map and filter in each other; write it flatter"
	case strings.Contains(message, "regex"):
		return "has a pattern that is too large for one check; write it shorter"
	case strings.Contains(message, "invalid ip"), strings.Contains(message, "invalid cidr"):
		return `has a text that is no address or network; write one as in cidr("203.0.113.0/24") or ip("203.0.113.9")`
	case strings.Contains(message, "invalid timestamp"):
		return `has a text that is no time; write one as in timestamp("2030-01-31T00:00:00Z")`
	case strings.Contains(message, "invalid duration"):
		return `has a text that is no duration; write one as in duration("1h30m")`
	}
	return "does not fit together: " + oneLine(message)
}

// insteadOfField says how to get at what has no fields.
func insteadOfField(kind string) string {
	if kind == typeWords["timestamp"] {
		return `; ask it, as in request.time.getHours("Europe/Berlin")`
	}
	return ""
}

// operatorWords write the library's names of operators as they stand in an expression.
var operatorWords = map[string]string{
	"_==_": "==", "_!=_": "!=", "_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">=", "@in": "in", "_&&_": "&&", "_||_": "||",
	"!_": "!", "-_": "-", "_+_": "+", "_-_": "-", "_*_": "*", "_/_": "/", "_%_": "%", "_[_]": "[ ]", "_?_:_": "? :",
}

func overloadMessage(function, signature string) string {
	target, args, member := strings.Cut(signature, ".(")
	if !member {
		args = strings.TrimPrefix(signature, "(")
	}
	args = strings.TrimSuffix(args, ")")
	kinds := splitTypes(args)
	operator, isOperator := operatorWords[function]
	switch {
	case function == "@in" && len(kinds) == 2 && strings.HasPrefix(kinds[0], "list("):
		return "in looks for one item, and has a list on its left; turn the two around, or write principal.roles.exists(r, r in [\"A\", \"B\"])"
	case function == "@in" && len(kinds) == 2 && kinds[1] == "string":
		return "in looks in a list, and has a text on its right; write contains to look inside a text"
	case function == "contains" && strings.HasPrefix(target, "list("):
		return `contains looks inside a text, and stands after a list; write "ADMIN" in principal.roles`
	case function == "@in" && len(kinds) == 2:
		return "in looks for " + inWords(kinds[0]) + " in " + inWords(kinds[1]) + "; on its right stands a list of the same kind of items, or a map"
	case isOperator && len(kinds) == 2 && strings.HasPrefix(kinds[0], "list(") != strings.HasPrefix(kinds[1], "list("):
		return operator + " has a list on one side and an item on the other; write in to look for it, as in \"ADMIN\" in principal.roles"
	case function == "_?_:_" && kinds[0] == "bool":
		return "? : has " + inWords(kinds[1]) + " before its : and " + inWords(kinds[2]) + " after it; both must be of one kind"
	case function == "_?_:_":
		return "? : has " + inWords(kinds[0]) + " before its ?, where true or false is wanted; compare with == first"
	case function == "_[_]":
		return "[ ] stands after " + inWords(kinds[0]) + "; only lists and maps have items"
	case (function == "_&&_" || function == "_||_" || function == "!_"):
		return operator + " wants true or false on each side, and has " + andWords(kinds) + "; compare with == first"
	case isOperator && len(kinds) == 2:
		return operator + " has " + inWords(kinds[0]) + " on its left and " + inWords(kinds[1]) + " on its right; both sides must be of one kind" + conversion(operator, kinds)
	case isOperator:
		return operator + " cannot take " + andWords(kinds)
	case member && args == "":
		return function + "() cannot be asked of " + inWords(target) + " without anything in its parentheses"
	case member:
		return function + " cannot be asked of " + inWords(target) + " with " + andWords(kinds)
	case args == "":
		return function + "() wants something in its parentheses, or before it"
	}
	return function + " cannot take " + andWords(kinds)
}

// conversion says how a text and a number can be compared.
func conversion(operator string, kinds []string) string {
	for i, k := range kinds {
		switch other := kinds[1-i]; {
		case k != "string" || other != "int" && other != "uint" && other != "double":
		case strings.Contains("+-*/%", operator):
			return ", so write int(…) around the text"
		default:
			return ", so put the number in quotes, or write int(…) around the text"
		}
	}
	return ""
}

// splitTypes takes "int, map(string, dyn)" apart at its outer commas.
func splitTypes(s string) (parts []string) {
	depth, start := 0, 0
	for i, c := range s {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			parts = append(parts, strings.TrimSpace(s[start:i]))
			start = i + 1
		}
	}
	if strings.TrimSpace(s[start:]) != "" {
		parts = append(parts, strings.TrimSpace(s[start:]))
	}
	return parts
}

func andWords(kinds []string) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = inWords(k)
	}
	return strings.Join(words, " and ")
}

// typeWords are the words for types.
var typeWords = map[string]string{
	"string": "a text", "int": "a whole number", "uint": "an unsigned number", "double": "a number", "bool": "true or false", "bytes": "bytes",
	"dyn": "a claim of any kind", "null": "null", "null_type": "null", "timestamp": "a time", "google.protobuf.Timestamp": "a time",
	"duration": "a duration", "google.protobuf.Duration": "a duration", "net.IP": "an address", "net.CIDR": "a network",
	"list(string)": "a list of texts", "list(int)": "a list of whole numbers",
}

func inWords(kind string) string {
	kind = strings.TrimSpace(kind)
	if words := typeWords[kind]; words != "" {
		return words
	}
	switch {
	case strings.HasPrefix(kind, "list("):
		return "a list"
	case strings.HasPrefix(kind, "map("):
		return "a map"
	case strings.HasPrefix(kind, "type("):
		return "a type"
	}
	return kind
}

// wrongResult says what an expression must come to.
func wrongResult(out *types.Type) string {
	if out.IsExactType(cel.DynType) {
		return "comes to a claim, which may be of any kind; compare it, as in principal.claims.admin == true"
	}
	return "comes to " + inWords(cel.FormatCELType(out)) + ", not to true or false; compare it with something, such as " + exampleCondition
}
