package cli

import "warder/policy/strict"

// didYouMean ends a message about an unknown word with the known one that was
// probably meant, or with nothing when none is near.
func didYouMean(word string, known []string) string {
	if near := strict.Nearest(word, known); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}
