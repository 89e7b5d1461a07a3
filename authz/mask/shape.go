package mask

import (
	"bytes"
	"encoding/base64"
)

// userinfo masks the password in the authority of a URL, which begins at t[i] after ://.
func (s *scanner) userinfo(t []byte, i, end int, look *lookout) int {
	colon, at, stop := 0, 0, i
authority:
	for ; stop < end; stop++ {
		switch c := t[stop]; {
		case c == '@':
			at = stop
		case c == ':' && colon == 0:
			colon = stop
		case c <= ' ' || c == '/' || c == '?' || c == '#' || c == '\\' || c == '<' || c == '>' || isQuote(c),
			c == '&' && entityEnd(t, stop, end) > 0:
			break authority
		}
	}
	s.work += stop - i
	if at == 0 && colon != 0 && t[i] != '[' && stop > look.at && stop < end && !allDigits(t[colon+1:stop]) {
		// The password may contain a / that should have been escaped.
		p := stop
		for ; p < end && t[p] > ' ' && !isQuote(t[p]) && t[p] != '\\'; p++ {
			if t[p] == '@' {
				at = p
			}
		}
		s.work += p - stop
		look.at = p
	}
	if at == 0 { // jdbc:sqlserver://db:1433;password=x
		if n := bytes.IndexAny(t[i:stop], ",;"); n >= 0 {
			return i + n
		}
		return s.webhook(t, i, stop, end)
	}
	switch {
	case colon != 0 && colon < at:
		if colon+1 < at && string(t[colon+1:at]) != Replacement {
			s.mask(t, colon+1, at)
		}
	case string(t[i:at]) == "git": // the user of repository hosts, also with https
	case at > i && (isHTTP(t[:i-len("://")]) || len(bytes.TrimLeft(t[i:at], "0123456789")) < len(t[i:at]) && at-i >= minKeyTail) && string(t[i:at]) != Replacement:
		s.mask(t, i, at) // a token in place of a user
	}
	return at + 1
}

// isHTTP reports whether t ends with http or https.
func isHTTP(t []byte) bool {
	t = t[max(0, len(t)-len("https")):]
	return hasFold(t, "https") || hasFold(t[max(0, len(t)-len("http")):], "http")
}

func allDigits(t []byte) bool {
	for _, c := range t {
		if !isDigit(c) {
			return false
		}
	}
	return true
}

// jwt masks text with the form of a JWT. The J at t[i] is its third letter.
func (s *scanner) jwt(t []byte, from, i, end int, look *lookout) int {
	start := i - 2
	if start < from || start < look.jwt || t[start] != 'e' || t[i-1] != 'y' {
		return i + 1
	}
	p := i + 1
	for p < end && isBase64(t[p]) {
		p++
	}
	s.work += p - i
	look.jwt = p
	if p+1 >= end || t[p] != '.' || !isBase64(t[p+1]) {
		return i + 1
	}
	for p < end && (isBase64(t[p]) || t[p] == '.' || t[p] == '=') {
		p++
	}
	s.work += p - look.jwt
	s.mask(t, start, p)
	return p
}

// In wk_name_tail, a tail of minKeyTail bytes, or of minKeyDigits bytes with a digit, is a
// secret. Others may be words. The tails of warder's keys have 26 letters and digits.
const (
	minKeyTail   = 20
	minKeyDigits = 10
)

// apiKey masks an API key of warder. The _ at t[i] is the first one.
func (s *scanner) apiKey(t []byte, from, i, end int) int {
	if i-2 < from || t[i-1] != 'k' || t[i-2] != 'w' || i-3 >= from && isAlnum(t[i-3]) {
		return i + 1
	}
	p, tail, digits := i+1, 0, 0
	for p < end && isBase64(t[p]) {
		tail++
		if isDigit(t[p]) {
			digits++
		}
		if t[p] == '_' {
			tail, digits = 0, 0
		}
		p++
	}
	s.work += p - i
	if tail < minKeyDigits || tail < minKeyTail && digits == 0 || p-tail == i+1 {
		return p
	}
	s.mask(t, i-2, p)
	return p
}

// maxJudged is the length of the part of a word that decides whether it is a credential.
const maxJudged = 256

// credential masks the token after Bearer or Basic, whose first letter is at t[i].
func (s *scanner) credential(t []byte, from, i, end int, look *lookout) int {
	if i > from && isAlnum(t[i-1]) {
		return i + 1
	}
	v, basic := i+len("bearer"), false
	if !hasFold(t[i:end], "bearer") {
		v, basic = i+len("basic"), true
		if !hasFold(t[i:end], "basic") {
			return i + 1
		}
	}
	signed := !basic && v < end && (t[v] == ':' || t[v] == '=') // Bearer: x
	if signed {
		v++
	}
	start := s.skipGap(t, v, end)
	if start == v && !signed || start == end {
		return v
	}
	p := max(start, look.word)
	for p < end && (isAlnum(t[p]) || bytes.IndexByte([]byte("-._~+/="), t[p]) >= 0) {
		p++
	}
	s.work += p - max(start, look.word) + start - i
	look.word = p
	token := bytes.TrimRight(t[start:p], ".")
	if len(token) > maxJudged {
		token = token[:maxJudged]
	}
	s.work += len(token)
	if n := bytes.IndexByte(token, '+'); n > 0 && s.depth > 0 { // may be a space in a form
		token = token[:n]
	}
	if p < end && isQuote(t[p]) && bytes.HasSuffix(token, []byte("=")) && !stops(t, p+1, end) {
		return start // realm="x"
	}
	if digits, _, _ := count(token); signed && digits == 0 { // bearer=true
		return start
	}
	if basic && !isBasic(token) || !basic && !isBearer(token, t[p:end]) {
		s.odd = s.odd || equalsInside(token) // the value after the = may be replaced
		return start
	}
	stop := bareEnd(t, start, end, false)
	s.work += stop - start
	s.mask(t, start, stop)
	return stop
}

// isBasic reports whether a word after Basic is a user and a password.
func isBasic(token []byte) bool {
	bare := bytes.TrimRight(token, "=")
	if equalsInside(token) { // realm=x
		return false
	}
	if len(bare) < len(token) && len(bare) > 1 {
		return true // base64 padding
	}
	var room [96]byte
	head := bare[:min(len(bare), 128)/4*4] // assume that the user is short
	if len(bare) < 128 {
		head = bare
	}
	n, err := base64.RawStdEncoding.Decode(room[:], head)
	if err == nil && bytes.IndexByte(room[:n], ':') >= 0 {
		return true
	}
	digits, upper, lower := count(bare)
	return len(bare) >= 8 && digits > 0 && upper > 0 && lower > 0 || len(bare) >= 20
}

// isBearer reports whether a word after Bearer is a token and not the next word of a sentence.
func isBearer(token, rest []byte) bool {
	if len(token) == 0 || equalsInside(token) { // error=invalid_token
		return false
	}
	if digits, upper, _ := count(token); digits > 0 || upper > 1 || upper == 1 && !isUpper(token[0]) || len(token) >= 20 {
		return true
	}
	for _, c := range token {
		if !isLetter(c) && c != '-' {
			return true
		}
	}
	for _, word := range []string{"token", "auth", "scheme", "realm", "credential", "error", "header", "format", "key", "or", "and", "is", "was", "not"} {
		if hasFold(token, word) {
			return false
		}
	}
	return len(rest) == 0 || !isBlank(rest[0]) || len(rest) == 1 || !isLetter(rest[1]) && rest[1] != Replacement[0]
}

// equalsInside reports whether token contains a = other than padding at its end.
func equalsInside(token []byte) bool {
	return bytes.IndexByte(bytes.TrimRight(token, "="), '=') >= 0
}

func count(t []byte) (digits, upper, lower int) {
	for _, c := range t {
		switch {
		case isDigit(c):
			digits++
		case isUpper(c):
			upper++
		case isLetter(c):
			lower++
		}
	}
	return digits, upper, lower
}

// schemes are the known authentication schemes, which are not masked.
const schemes = " bearer basic digest token apikey negotiate ntlm hawk hmac signature aws4-hmac-sha256 scram-sha-256 dpop oauth mutual vapid "

// schemeEnd returns the end of the known scheme at t[v], or 0 if there is none.
func schemeEnd(t []byte, v, end int) int {
	p := v
	for p < end && p < v+20 && (isAlnum(t[p]) || t[p] == '-') {
		p++
	}
	if p == v || p == end || !isBlank(t[p]) || !knownScheme(t[v:p]) {
		return 0
	}
	return p
}

func knownScheme(word []byte) bool {
	if len(word) == 0 || len(word) > 20 {
		return false
	}
	var room [22]byte
	b := append(room[:0], ' ')
	for _, c := range word {
		if c == ' ' {
			return false
		}
		if isUpper(c) {
			c |= 0x20
		}
		b = append(b, c)
	}
	return bytes.Contains([]byte(schemes), append(b, ' '))
}

// oneToken reports whether the credentials at the beginning of t are a single word.
func oneToken(t []byte) bool {
	for i, c := range t {
		if c <= ' ' {
			return true
		}
		if c == '=' && i+1 < len(t) && t[i+1] == '"' || c == ',' {
			return false // Digest username="bob", …
		}
	}
	return true
}

// hasFold reports whether t begins with word in any case. word must be in lower case.
func hasFold(t []byte, word string) bool {
	if len(t) < len(word) {
		return false
	}
	for i := range len(word) {
		c := t[i]
		if isUpper(c) {
			c |= 0x20
		}
		if c != word[i] {
			return false
		}
	}
	return true
}
