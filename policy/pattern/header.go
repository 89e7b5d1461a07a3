package pattern

import "strings"

// HeaderNamespace is what the name of every header of warder begins with. A header of a
// client under it is removed before the upstream, and no condition reads one.
const HeaderNamespace = "x-warder-"

// FoldHeader returns the form in which two header names are compared that an application
// may take for one: letters in lower case, and every byte that is neither a letter nor a
// digit as a hyphen. Gateways that pass headers on as variables (CGI, RFC 3875 section
// 4.1.18; WSGI, PHP, Rack) read X-Warder-User, x_warder_user and x!warder!user as the same
// name.
func FoldHeader(name string) string {
	for i := range len(name) {
		if foldByte(name[i]) != name[i] {
			b := []byte(name)
			for ; i < len(b); i++ {
				b[i] = foldByte(b[i])
			}
			return string(b)
		}
	}
	return name
}

// FoldsTo reports whether FoldHeader(name) == folded, without allocating.
func FoldsTo(name, folded string) bool {
	if len(name) != len(folded) {
		return false
	}
	for i := range len(name) {
		if foldByte(name[i]) != folded[i] {
			return false
		}
	}
	return true
}

func foldByte(c byte) byte {
	switch {
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	}
	return '-'
}

// IsToken reports whether s is a token of RFC 9110 section 5.6.2, the alphabet of
// header names.
func IsToken(s string) bool {
	for i := range len(s) {
		if !tokenByte[s[i]] {
			return false
		}
	}
	return s != ""
}

var tokenByte = func() (is [256]bool) {
	for c := range is {
		is[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0
	}
	return is
}()
