package main

import "fmt"

// didYouMean ends a message about an unknown word with the known one that was
// probably meant, or with nothing when none is near.
func didYouMean(word string, known []string) string {
	best, nearest := "", 1+min(3, 1+len(word)/4)
	for _, k := range known {
		if d := editDistance(word, k); d < nearest {
			best, nearest = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// editDistance is the Levenshtein distance in bytes: both words are short names.
func editDistance(a, b string) int {
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
