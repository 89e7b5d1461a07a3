package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// cleanSecret returns a secret or a URL without the newline that an editor, echo or a block of
// YAML ends it with. It is for every secret, whether it comes from the file of the configuration,
// a variable or a file of its own. Other white space around it is an error, which says where it
// is and of which kind, and never contains the text: no store accepts such a secret, and reports
// it as a wrong one.
func cleanSecret(text string) (string, error) {
	if strings.HasPrefix(text, "\xff\xfe") && strings.Contains(text, "\x00") {
		return "", errors.New("is in UTF-16; save it as UTF-8, or as ASCII")
	}
	text = withoutNewline(text)
	if text == "" {
		return "", errEmptySecret
	}
	inner := strings.TrimFunc(text, isInvisible)
	if inner == "" {
		return "", fmt.Errorf("contains white space only (%s); give the secret", kindsOf(text))
	}
	before, after, _ := strings.Cut(text, inner)
	var found []string
	if before != "" {
		found = append(found, fmt.Sprintf("before it (%s)", kindsOf(before)))
	}
	if after != "" {
		found = append(found, fmt.Sprintf("after it (%s)", kindsOf(after)))
	}
	if len(found) > 0 {
		return "", fmt.Errorf("has white space %s; remove it: only a single newline at the end is left out", strings.Join(found, " and "))
	}
	return text, nil
}

var errEmptySecret = errors.New("is empty")

// withoutNewline removes one newline from the end of a text.
func withoutNewline(text string) string {
	if line, ended := strings.CutSuffix(text, "\n"); ended {
		return strings.TrimSuffix(line, "\r")
	}
	return text
}

// isInvisible reports whether a character is white space, or such that most programs show it as
// nothing at all.
func isInvisible(r rune) bool {
	return r != utf8.RuneError && (unicode.IsSpace(r) || strings.ContainsRune(zeroWidth, r))
}

// zeroWidth are the characters without a width that copied texts begin and end with, among them
// the byte order mark.
const zeroWidth = "\ufeff\u200b\u200c\u200d\u2060"

// kindsOf names each kind of white space in a text once.
func kindsOf(space string) string {
	var kinds []string
	seen := map[string]bool{}
	for _, r := range space {
		kind := fmt.Sprintf("U+%04X", r)
		switch r {
		case ' ':
			kind = "a space"
		case '\t':
			kind = "a tab"
		case '\n':
			kind = "a newline"
		case '\r':
			kind = "a carriage return"
		case '\u00a0':
			kind = "a no-break space"
		case '\ufeff':
			kind = "a byte order mark"
		}
		if !seen[kind] {
			kinds = append(kinds, kind)
		}
		seen[kind] = true
	}
	return strings.Join(kinds, ", ")
}
