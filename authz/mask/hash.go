package mask

import "bytes"

// hashes are the identifiers of password hashes that stand between dollars at the beginning of
// the hash, as in $2b$12$…, with blanks around each.
const hashes = " 1 2a 2b 2x 2y 5 6 7 y gy argon2i argon2d argon2id scrypt pbkdf2 pbkdf2-sha1 pbkdf2-sha256 pbkdf2-sha512 bcrypt-sha256 apr1 p h sha1 md5 "

// hashNames are the words that stand before the first dollar of a password hash, as in
// pbkdf2_sha256$600000$….
const hashNames = " pbkdf2_sha1 pbkdf2_sha256 pbkdf2_sha512 argon2 bcrypt bcrypt_sha256 scrypt scram-sha-1 scram-sha-256 sha1 md5 "

// minHash is the least length of a password hash that is recognized without a key.
const minHash = 24

// maxHashName is the greatest length of what is before and between the first dollars.
const maxHashName = 32

// hash masks a password hash whose first dollar is at t[i].
func (s *scanner) hash(t []byte, from, i, end int, look *lookout) int {
	if i < look.hash {
		return i + 1
	}
	start := i
	for start > from && start > i-maxHashName && (isAlnum(t[start-1]) || t[start-1] == '_' || t[start-1] == '-') {
		start--
	}
	p := i + 1
	for p < end && p < i+maxHashName && (isAlnum(t[p]) || t[p] == '-') {
		p++
	}
	s.work += p - start
	named := start < i && listed(hashNames, t[start:i])
	if !named && (p == end || t[p] != '$' || !listed(hashes, t[i+1:p])) {
		return i + 1
	}
	if !named {
		start = i
	}
	stop, dollars := hashRun(t, i, end)
	s.work += stop - i
	look.hash = stop
	if stop-start < minHash || dollars < 2 && !hasFold(t[start:i], "scrypt") {
		return i + 1
	}
	s.maskShape(start, stop)
	return stop
}

// hashEnd returns the end of the password hash at t[v], which is the value of a sensitive key,
// or 0 if it is not one. Its parameters have commas and equals signs, at which other values end.
func (s *scanner) hashEnd(t []byte, v, end int) int {
	p := v
	for p < end && p < v+maxHashName && (isAlnum(t[p]) || bytes.IndexByte([]byte("_-{}"), t[p]) >= 0) {
		p++
	}
	s.work += p - v
	if p == end || t[p] != '$' {
		return 0
	}
	stop, dollars := hashRun(t, p, end)
	s.work += stop - p
	if dollars < 2 {
		return 0
	}
	return stop
}

// hashRun returns the end of the hash whose first dollar is at t[i], and its number of dollars.
func hashRun(t []byte, i, end int) (stop, dollars int) {
	for ; i < end; i++ {
		switch c := t[i]; {
		case c == '$':
			dollars++
		case isAlnum(c), c == '.', c == '/', c == '+', c == '=', c == '_', c == '-':
		case c == ':' && i+1 < end && isAlnum(t[i+1]) && dollars == 1: // the iterations of SCRAM
		case c == ':' && i > 0 && t[i-1] == '=' && dollars == 2: // its two keys
		case c == ',' && isParameter(t[i+1:end]):
		default:
			return i, dollars
		}
	}
	return end, dollars
}

// isParameter reports whether t begins with a further parameter of a hash, such as t=3, before
// another one or a dollar.
func isParameter(t []byte) bool {
	p := 0
	for p < len(t) && p < 8 && isLetter(t[p]) {
		p++
	}
	if p == 0 || p == len(t) || t[p] != '=' {
		return false
	}
	digits := p + 1
	for p = digits; p < len(t) && p < digits+12 && isDigit(t[p]); p++ {
	}
	return p > digits && p < len(t) && (t[p] == ',' || t[p] == '$')
}

// schemedHash returns the end of the scheme of a hash in braces, as in {SSHA}c2VjcmV0, or 0 if
// the brace at t[i] begins something else.
func schemedHash(t []byte, i, end int) int {
	p := i + 1
	for p < end && p < i+maxHashName && (isAlnum(t[p]) || t[p] == '-' || t[p] == '_' || t[p] == '@') {
		p++
	}
	if t[i] == '{' && p > i+1 && p+1 < end && t[p] == '}' && (isAlnum(t[p+1]) || t[p+1] == '$' || t[p+1] == '/' || t[p+1] == '+') {
		return p + 1
	}
	return 0
}

// listed reports whether a word is in a list of lower-case words with blanks around each.
func listed(list string, word []byte) bool {
	var room [maxHashName + 2]byte
	if len(word) == 0 || len(word) > maxHashName {
		return false
	}
	b := append(room[:0], ' ')
	for _, c := range word {
		if isUpper(c) {
			c |= 0x20
		}
		b = append(b, c)
	}
	return bytes.Contains([]byte(list), append(b, ' '))
}
