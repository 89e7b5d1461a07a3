package token

import "strings"

// maxIDLength bounds a user id and a session id, in bytes.
const maxIDLength = 128

// ValidID reports whether s can be a user id or a session id:
// [A-Za-z0-9._@|+=~-]{1,128}. No colon, so that a session key has one reading.
func ValidID(s string) bool {
	if len(s) == 0 || len(s) > maxIDLength {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', isDigit(c):
		case strings.IndexByte("._@|+=~-", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// id reads a claim that names a user or a session. A number counts as its
// digits and is never made a float, so 9007199254740993 stays itself; 1.0, 1e3
// and -1 would be second spellings of other ids and are none. The text is a
// copy, so that whoever keeps it does not keep the whole token.
func id(v value) (string, bool) {
	text, ok := v.text()
	if !ok {
		text, ok = v.number()
		for i := range len(text) { // JSON itself has no leading zeros
			ok = ok && isDigit(text[i])
		}
	}
	if !ok || !ValidID(text) {
		return "", false
	}
	return strings.Clone(text), true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
