package cli

import "warder/policy/strict"

// didYouMean returns the end of a message about an unknown word: a question with the most
// similar known word, or "" if none is similar.
func didYouMean(word string, known []string) string {
	if near := strict.Nearest(word, known); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}
