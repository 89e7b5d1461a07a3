package strict

import "strings"

// DidYouMean ends a message about an unknown word: with the known one that is
// near, else with all of them.
func DidYouMean(word string, known []string) string {
	if near := Nearest(word, known); near != "" {
		return "did you mean " + near + "?"
	}
	return "use " + strings.Join(known, ", ")
}

// Nearest returns the known word that was probably meant, "" when none is near.
func Nearest(word string, known []string) string {
	best, nearest := "", 1+min(3, 1+len(word)/4)
	for _, k := range known {
		if d := EditDistance(word, k); d < nearest {
			best, nearest = k, d
		}
	}
	return best
}

// EditDistance is the Levenshtein distance in bytes: both words are short names.
func EditDistance(a, b string) int {
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
