package mask

import "unicode/utf8"

// A class is a set of properties of a byte. The scanner uses it to skip bytes quickly that
// cannot begin a secret.
type class uint16

const (
	wakes   class = 1 << iota // the text scanner must look at the byte
	sign                      // = and : end keys, ' surrounds keys, < begins elements
	blank                     // white space, which precedes credentials and values of flags
	escapes                   // \, %, & and ESC
	jay                       // J, as in eyJ
	joint                     // the byte at which secrets with a prefix are recognized, and $
	dim                       // one of joints whose byte before tells whether to look at it
	barred                    // may be before _ in a prefix of secrets
	dotted                    // may be before the . of one
	endsRun                   // the scanner of JSON strings must look at the byte
	plain                     // a value of such bytes does not affect how the text around it is read
)

// classes is never changed.
var classes = func() (table [256]class) {
	for _, c := range "=:{[(-<'Jb B\\%&\x1b$" + joints {
		if c != ' ' {
			table[c] |= wakes
		}
	}
	for _, c := range "=:'<" {
		table[c] |= sign
	}
	for c := range ' ' + 1 {
		table[c] |= blank
	}
	for _, c := range "\\%&\x1b" {
		table[c] |= escapes
	}
	table['J'] |= jay
	for _, c := range joints + "$" {
		table[c] |= joint
	}
	for _, c := range "_.z" {
		table[c] |= dim
	}
	for _, p := range keyPrefixes() {
		switch last := len(p.text) - 1; p.text[last] {
		case '_':
			table[p.text[last-1]] |= barred
		case '.':
			table[p.text[last-1]] |= dotted
		}
	}
	table['k'] |= barred // wk_
	for _, c := range "\"\\\n" {
		table[c] |= endsRun
	}
	for c := range table {
		if isAlnum(byte(c)) || c == '-' || c == '.' || c == '_' || c == '~' || c == '/' || c == '+' {
			table[c] |= plain
		}
	}
	return table
}()

// minShape is the least length of a secret that is recognized by its prefix, in bytes.
const minShape = 15

// needsScan reports whether a JSON string of n bytes with these classes can contain a secret.
func (c class) needsScan(n int) bool {
	return c&(sign|blank|escapes|jay) != 0 || c&joint != 0 && n >= minShape
}

// dull reports whether a wake byte between two others is only a joint that ends no prefix.
func dull(before, c byte) bool {
	switch c {
	case '.':
		return classes[before]&dotted == 0
	case '_':
		return classes[before]&barred == 0
	case 'z':
		return before != 'I'
	}
	return false
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isUpper(c byte) bool  { return 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isAlnum(c byte) bool  { return isLetter(c) || isDigit(c) }
func isSpace(c byte) bool  { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
func isBlank(c byte) bool  { return c == ' ' || c == '\t' }
func isQuote(c byte) bool  { return c == '"' || c == '\'' || c == '`' }

func isKeyByte(c byte) bool {
	return isAlnum(c) || c == '_' || c == '-' || c == '.' || c >= utf8.RuneSelf
}

// isBase64 reports whether c is in the base64url alphabet, that of JWT segments.
func isBase64(c byte) bool { return isAlnum(c) || c == '-' || c == '_' }

// hexDigit returns the value of a hex digit, or -1.
func hexDigit(c byte) rune {
	switch {
	case isDigit(c):
		return rune(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return rune(c|0x20-'a') + 10
	}
	return -1
}
