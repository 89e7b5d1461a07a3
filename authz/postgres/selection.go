package postgres

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A selection is a query of the form SELECT items FROM … [WHERE …], taken apart at its top
// level. It is for hints: a query that it cannot take apart gets none.
type selection struct {
	head  string // SELECT, or SELECT DISTINCT
	items []string
	from  string // from FROM to the end of what it joins
	where string // from WHERE on, or ""
	tail  string // ORDER BY, LIMIT and so on, or ""
}

// A token is a word or a comma at the top level of a query.
type token struct {
	text       string // in upper case
	start, end int
}

// parseSelection takes a query apart. ok is false for other forms: WITH, set operations, GROUP
// BY, several statements, comments.
func parseSelection(sql string) (sel selection, ok bool) {
	sql = strings.TrimSuffix(strings.TrimSpace(sql), ";")
	tokens, ok := topLevel(sql)
	if !ok || len(tokens) < 2 || tokens[0].text != "SELECT" {
		return selection{}, false
	}
	start := tokens[0].end
	if next := tokens[1].text; next == "DISTINCT" || next == "ALL" {
		start = tokens[1].end
		if len(tokens) > 2 && tokens[2].text == "ON" {
			return selection{}, false
		}
	}
	sel.head = strings.Join(strings.Fields(sql[:start]), " ")
	part, begin := &sel.from, 0 // no part before FROM
	for _, t := range tokens[1:] {
		switch t.text {
		case "UNION", "INTERSECT", "EXCEPT", "GROUP", "HAVING", "WINDOW", "INTO", ";":
			return selection{}, false
		case ",":
			if begin == 0 {
				sel.items = append(sel.items, strings.TrimSpace(sql[start:t.start]))
				start = t.end
			}
		case "FROM":
			if begin == 0 {
				sel.items = append(sel.items, strings.TrimSpace(sql[start:t.start]))
				begin = t.start
			}
		case "WHERE", "ORDER", "LIMIT", "OFFSET", "FETCH", "FOR":
			if begin == 0 || part == &sel.tail || t.text == "WHERE" && part == &sel.where {
				continue
			}
			*part, begin = strings.TrimSpace(sql[begin:t.start]), t.start
			if part = &sel.tail; t.text == "WHERE" {
				part = &sel.where
			}
		}
	}
	if begin == 0 {
		return selection{}, false
	}
	*part = strings.TrimSpace(sql[begin:])
	return sel, true
}

// topLevel returns the words, commas and semicolons that are outside of parentheses, quotes and
// brackets.
func topLevel(sql string) (tokens []token, ok bool) {
	depth := 0
	for i := 0; i < len(sql); {
		length := 1
		switch c := sql[i]; {
		case c == '\'' || c == '"':
			if c == '\'' && i > 0 && (sql[i-1] == 'E' || sql[i-1] == 'e') {
				return nil, false // a backslash may be before a quote
			}
			end := strings.IndexByte(sql[i+1:], c)
			if end < 0 {
				return nil, false
			}
			length = end + 2
		case strings.HasPrefix(sql[i:], "--"), strings.HasPrefix(sql[i:], "/*"), dollarQuote.MatchString(sql[i:]):
			return nil, false
		case c == '(' || c == '[':
			depth++
		case c == ')' || c == ']':
			depth--
		case c == ',' || c == ';':
			if depth == 0 {
				tokens = append(tokens, token{string(c), i, i + 1})
			}
		default:
			if word := wordText.FindString(sql[i:]); word != "" {
				length = len(word)
				if depth == 0 && (i == 0 || sql[i-1] != '.') {
					tokens = append(tokens, token{strings.ToUpper(word), i, i + length})
				}
			}
		}
		i += length
	}
	return tokens, depth == 0
}

var (
	wordText    = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*`)
	dollarQuote = regexp.MustCompile(`^\$[A-Za-z_]*\$`)
)

// String returns the query.
func (s selection) String() string {
	return strings.TrimSpace(strings.Join(slices.DeleteFunc([]string{s.head, strings.Join(s.items, ", "), s.from, s.where, s.tail},
		func(part string) bool { return part == "" }), " "))
}

// with returns the query with another item i, or with one more.
func (s selection) with(i int, item string) selection {
	s.items = slices.Clone(s.items)
	if i < len(s.items) {
		s.items[i] = item
	} else {
		s.items = append(s.items, item)
	}
	return s
}

// grouped returns the query with one row for each value of by.
func (s selection) grouped(by []string) selection {
	s.tail = "GROUP BY " + strings.Join(by, ", ")
	return s
}

// joins reports whether the query reads more than one table, so that it may have several rows
// for one key.
func (s selection) joins() bool {
	tokens, _ := topLevel(s.from)
	return slices.ContainsFunc(tokens, func(t token) bool { return t.text == "JOIN" || t.text == "," })
}

// outer reports whether a join may leave columns NULL.
func (s selection) outer() bool {
	tokens, _ := topLevel(s.from)
	return slices.ContainsFunc(tokens, func(t token) bool { return slices.Contains([]string{"LEFT", "RIGHT", "FULL"}, t.text) })
}

var (
	asAlias   = regexp.MustCompile(`(?is)^(.*\S)\s+AS\s+` + name + `$`)
	bareAlias = regexp.MustCompile(`(?is)^(.*[\w")\]'])\s+` + name + `$`)
	simple    = regexp.MustCompile(`^` + name + `(?:\.` + name + `)*$`)
)

// source returns the expression of an item, without its alias.
func source(item string) string {
	for _, form := range []*regexp.Regexp{asAlias, bareAlias} {
		if m := form.FindStringSubmatch(item); m != nil {
			return m[1]
		}
	}
	return item
}

// operand returns an expression as an operand.
func operand(expression string) string {
	if simple.MatchString(expression) {
		return expression
	}
	return "(" + expression + ")"
}

// comparison matches the comparison of a column with the parameter.
var comparison = regexp.MustCompile(`(?i)(` + name + `(?:\.` + name + `){0,2})(::text)?\s*=\s*(\$1(?:::\w+)?|decode\(\s*\$1\s*,\s*'hex'\s*\))`)

// A key is the column that a query compares with its parameter.
type key struct {
	column  string // as written, with the table's name or alias before it
	decoded bool   // it is bytea
}

func (s selection) key() (key, bool) {
	m := comparison.FindStringSubmatch(s.where)
	if m == nil {
		return key{}, false
	}
	return key{column: m[1], decoded: strings.HasPrefix(strings.ToLower(m[3]), "decode")}, true
}

// comparing returns the query with another comparison, in which %s is the key's column, and
// that comparison.
func (s selection) comparing(format string) (selection, string, bool) {
	at := comparison.FindStringSubmatchIndex(s.where)
	if at == nil {
		return s, "", false
	}
	with := fmt.Sprintf(format, s.where[at[2]:at[3]])
	s.where = s.where[:at[0]] + with + s.where[at[1]:]
	return s, with, true
}
