package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

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

// Error writes the problems, one a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// sorted returns the problems by position, each once.
func (p Problems) sorted() Problems {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.Position.File, b.Position.File),
			cmp.Compare(a.Position.Line, b.Position.Line),
			cmp.Compare(a.Position.Column, b.Position.Column),
			cmp.Compare(a.Field, b.Field),
			cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(p)
}

// withIDs ends the message of each problem with a route with the route's id, unless it
// says it already. ids has them by the file and the field of the route.
func (p Problems) withIDs(ids map[[2]string]string) Problems {
	for i := range p {
		end := strings.IndexByte(p[i].Field, ']')
		if end < 0 || !strings.HasPrefix(p[i].Field, "routes[") {
			continue
		}
		id := ids[[2]string{p[i].Position.File, p[i].Field[:end+1]}]
		if id != "" && !strings.Contains(p[i].Message, "route "+id) {
			p[i].Message += " (route " + quoteOdd(id) + ")"
		}
	}
	return p
}

// quoteOdd quotes an id that is none.
func quoteOdd(id string) string {
	if validIdentifier(id) {
		return id
	}
	return quote(id)
}

// err returns the problems as an error, nil when there are none.
func (p Problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return p.sorted()
}

// quote writes a text of the file for a message, cut when it is long.
func quote(s string) string {
	const limit = 80
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return strconv.Quote(s)
}

// didYouMean ends a message about an unknown word: with the known one that is
// near, else with all of them.
func didYouMean(word string, known []string) string {
	if near := Nearest(word, known); near != "" {
		return "did you mean " + near + "?"
	}
	return "use " + strings.Join(known, ", ")
}

// Nearest returns the known word that was probably meant, "" when none is near.
func Nearest(word string, known []string) string {
	best, nearest := "", 1+min(3, 1+len(word)/4)
	for _, k := range known {
		if d := editDistance(word, k); d < nearest {
			best, nearest = k, d
		}
	}
	return best
}

// editDistance is the Levenshtein distance in bytes: both words are short names.
func editDistance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
