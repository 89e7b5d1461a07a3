package policy

// FoldField maps the names of header fields that an application may take for one and the
// same to one name: A to Z become lower case, and every byte that is not a letter or a
// digit becomes '-'. CGI and WSGI gateways turn "x!tenant", "X_Tenant" and "x-tenant"
// alike into HTTP_X_TENANT. The length stays the same. All comparisons of spellings,
// here, in what is removed before the upstream and in tests of policies, use this function.
func FoldField(name string) string {
	for i := range len(name) {
		if foldedByte[name[i]] != name[i] {
			b := []byte(name)
			for ; i < len(b); i++ {
				b[i] = foldedByte[b[i]]
			}
			return string(b)
		}
	}
	return name
}

// sameField reports whether a name folds to one that is folded, without a copy of it.
func sameField(name, folded string) bool {
	if len(name) != len(folded) {
		return false
	}
	for i := range len(name) {
		if foldedByte[name[i]] != folded[i] {
			return false
		}
	}
	return true
}

// foldedByte is what FoldField makes of each byte.
var foldedByte = func() (folded [256]byte) {
	for c := range folded {
		switch b := byte(c); {
		case 'a' <= b && b <= 'z' || '0' <= b && b <= '9':
			folded[c] = b
		case 'A' <= b && b <= 'Z':
			folded[c] = b + 'a' - 'A'
		default:
			folded[c] = '-'
		}
	}
	return folded
}()
