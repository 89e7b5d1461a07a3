package token

import "strings"

// maxIDLength is the greatest length of a user id or a session id, in bytes.
const maxIDLength = 128

// ValidID reports whether s can be a user id or a session id:
// [A-Za-z0-9._@|+=~-]{1,128}. It has no colon, so that a colon can separate the two ids in
// a session's key.
func ValidID(s string) bool {
	if len(s) == 0 || len(s) > maxIDLength {
		return false
	}
	for i := range len(s) {
		if !isIDByte(s[i]) {
			return false
		}
	}
	return true
}

func isIDByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c) || strings.IndexByte("._@|+=~-", c) >= 0
}

// id reads a claim with a user id or a session id. A number is converted to its digits and
// not to a float, which would change 9007199254740993. Numbers other than plain digits, such
// as 1.0, 1e3 and -1, are not accepted. The result is a copy, so that it does not keep the
// whole token in memory.
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
