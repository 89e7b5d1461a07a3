package policy

// FoldHeader returns the form in which header names are compared that an application may
// take for one another: letters in lower case, and every byte that is neither a letter
// nor a digit as a hyphen. Gateways that hand headers on as variables (CGI, RFC 3875
// section 4.1.18; WSGI, PHP, Rack) make one name of X-Warder-User, x_warder_user and
// x!warder!user.
func FoldHeader(name string) string {
	for i := range len(name) {
		if foldedByte(name[i]) != name[i] {
			b := []byte(name)
			for ; i < len(b); i++ {
				b[i] = foldedByte(b[i])
			}
			return string(b)
		}
	}
	return name
}

func foldedByte(c byte) byte {
	switch {
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	}
	return '-'
}
