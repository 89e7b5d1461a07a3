package mask

import "bytes"

// dash handles the - at t[i]. It masks the value of a sensitive flag, as in --password x and
// in a list of arguments ['--password', 'x'], and a private key in PEM.
func (s *scanner) dash(t []byte, from, i, end int, look *lookout) int {
	if i > from && isKeyByte(t[i-1]) {
		if mayEndPrefix(t, from, i) {
			return max(i+1, s.prefixed(t, from, i, end))
		}
		return i + 1
	}
	if hasPrefix(t[i:end], pemBegin) {
		return s.pem(t, i, end, false)
	}
	name := i + 1
	if name < end && t[name] == '-' {
		name++
	}
	p := name
	for p < end && isKeyByte(t[p]) {
		p++
	}
	s.work += p - i
	if p == name || p == end {
		if p > name && name == i+1 {
			return max(p, s.letter(t, from, name, p, end, look))
		}
		return p
	}
	mark := s.words.find(t, name, p, wholeKey)
	if mark == 0 {
		if user := string(t[name:p]); (user == "u" || user == "user" || user == "proxy-user" || user == "U") && look.isCurl(t[from:i]) {
			s.odd = true // curl may be masked, as the value of a key before it
			return s.userAndPassword(t, p, end)
		}
		if name == i+1 {
			if stop := s.letter(t, from, name, p, end, look); stop > 0 {
				return stop
			}
		}
		if next := s.shapeIn(t, i, p, end); next > 0 {
			return next
		}
		return p
	}
	v := p
	if isQuote(t[v]) && i > from && t[i-1] == t[v] {
		if v = s.skipGap(t, v+1, end); v < end && t[v] == ',' {
			v = s.skipGap(t, v+1, end)
		}
		if q := quotePrefix(t, v, end); v > p && q < end && isQuote(t[q]) {
			return s.quotedValue(t, q, end, mark)
		}
		return p
	}
	if v = s.skipGap(t, p, end); v == p || v == end {
		return p
	}
	switch {
	case isQuote(t[v]):
		return s.quotedValue(t, v, end, mark)
	case hasPrefix(t[v:end], "--"), t[v] == '\\' && v+1 < end && isQuote(t[v+1]):
		return v
	}
	stop := bareEnd(t, v, end, false)
	s.work += stop - v
	if stop > v && string(t[v:stop]) != Replacement {
		s.mask(t, v, stop)
	}
	return max(stop, v)
}

// shapeIn masks a secret with a prefix in the word t[i:p], which is not a flag.
func (s *scanner) shapeIn(t []byte, i, p, end int) int {
	if p-i < minShape {
		return 0
	}
	for q := i + 1; q < p; q++ {
		if classes[t[q]]&joint != 0 {
			if stop := s.prefixed(t, i, q, end); stop > 0 {
				return stop
			}
		}
	}
	return 0
}

// isCurl reports whether the text before a flag contains curl. It searches once per line.
func (l *lookout) isCurl(before []byte) bool {
	if l.curl == 0 {
		l.curl = -1
		if bytes.Contains(before, []byte("curl")) {
			l.curl = 1
		}
	}
	return l.curl > 0
}

// userAndPassword masks the password of curl -u user:password.
func (s *scanner) userAndPassword(t []byte, p, end int) int {
	v := s.skipGap(t, p, end)
	if v == end {
		return v
	}
	stop := 0
	if isQuote(t[v]) {
		stop = quoteEnd(t, v, end)
	} else {
		stop = bareEnd(t, v, end, false)
	}
	s.work += stop - v
	n := bytes.IndexByte(t[v:stop], ':')
	if n < 0 || s.words.find(t, v, v+n, beforeColon) != 0 { // not a user, but a sensitive key
		return v
	}
	s.line(t[:v+n], v, v+n)
	if v+n+1 < stop && string(t[v+n+1:stop]) != Replacement {
		s.mask(t, v+n+1, stop)
	}
	return max(stop, v)
}

// pair masks the second element of a pair in a list, such as [b'cookie', b'x'] in
// [[b'cookie', b'x']]. The bracket is at t[i]. A list that is not in another one, such as
// ['password', 'email'], may be a list of names and is kept.
func (s *scanner) pair(t []byte, from, i, end int) int {
	before := i
	for before > from && before > i-maxKey && isBlank(t[before-1]) {
		before--
	}
	s.work += i - before
	if before == from || bytes.IndexByte([]byte("[,("), t[before-1]) < 0 {
		return i + 1
	}
	return s.tuple(t, i+1, end)
}

// tuple masks the second element of 'password', 'x' or b'cookie', b'x', whose first element
// begins at t[i].
func (s *scanner) tuple(t []byte, i, end int) int {
	p := quotePrefix(t, i, end)
	if p >= end || t[p] != '"' && t[p] != '\'' {
		return i
	}
	q := p + 1
	for q < end && q < p+maxKey && (isKeyByte(t[q]) || t[q] == ' ') {
		q++
	}
	s.work += q - i
	if q == end || t[q] != t[p] {
		return i
	}
	mark := s.words.find(t, p+1, q, wholeKey)
	v := s.skipGap(t, q+1, end)
	if mark == 0 || v == end || t[v] != ',' {
		return i
	}
	v = s.skipGap(t, v+1, end)
	if v < end && bytes.IndexByte([]byte("[{("), t[v]) >= 0 {
		stop := trimBlanks(t, v, bracketEnd(t, v, end))
		s.work += stop - v
		s.maskText(t, v, stop, t[p])
		return stop
	}
	if v = quotePrefix(t, v, end); v == end || !isQuote(t[v]) {
		return i
	}
	return s.quotedValue(t, v, end, mark)
}

// quoted masks PASSWORD 'x' of SQL, whose quote is at t[i], and a header field of Envoy's
// debug log, which is 'cookie', 'x' in a separate line.
func (s *scanner) quoted(t []byte, from, lo, i, end int) int {
	if lo == from && atLineStart(t, from, i) {
		return max(i+1, s.tuple(t, i, end))
	}
	const word = "password"
	if i-1-len(word) < lo || t[i-1] != ' ' || !hasFold(t[i-1-len(word):i-1], word) {
		return i + 1
	}
	return s.quotedValue(t, i, end, wordEnds)
}

// lists reports whether the parenthesis at t[i] begins a list of columns in SQL, as in
// INSERT INTO t ("password", "last_login"): before it is a word such as INTO, and the name of a
// table.
func (s *scanner) lists(t []byte, from, i int) bool {
	word := func(p int) (start, end int) {
		for p > from && p > i-maxKey && isBlank(t[p-1]) {
			p--
		}
		end = p
		for p > from && p > i-maxKey && (isKeyByte(t[p-1]) || t[p-1] == '"' || t[p-1] == '`') {
			p--
		}
		s.work += i - p
		return p, end
	}
	start, end := word(i)
	if start == end {
		return false
	}
	for _, known := range []string{"unique", "key", "index", "conflict", "columns"} {
		if isWord(t[start:end], known) {
			return true
		}
	}
	start, end = word(start)
	for _, known := range []string{"into", "table", "on", "references", "exists", "index", "key", "constraint", "update", "copy"} {
		if isWord(t[start:end], known) {
			return true
		}
	}
	return false
}
