package mask

import "bytes"

// sign handles the = or : at t[i] in the line t[from:end]. It masks the value after it if the
// key before it is sensitive. The key begins at lo or later. sign returns where to continue.
func (s *scanner) sign(t []byte, from, lo, i, end int, look *lookout) int {
	c, j := t[i], i+1
	if c == ':' && j < end {
		if t[j] == ':' && (j+1 == end || t[j+1] != ' ' || lo > from || !atLineStart(t, from, lo)) { // std::token::Kind
			return j + 1
		}
		if t[j] == '/' && j+1 < end && t[j+1] == '/' {
			return s.userinfo(t, j+2, end, look)
		}
		if s.disposition(t, lo, i, end) {
			return j
		}
		if t[j] == 'A' {
			if stop := s.botToken(t, from, i, end); stop > 0 {
				return stop
			}
		}
	}
	k, ok := s.keyBefore(t, lo, i, end, look)
	if !ok {
		if k.mark&queryEnds != 0 {
			return s.queryValue(t, from, k, j, end)
		}
		return j
	}
	for j < end && j < i+3 && (t[j] == '=' || c == ':' && t[j] == ':' || c == '=' && (t[j] == '>' || t[j] == '~')) { // := == === =>
		j++
	}
	v := s.skipGap(t, j, end)
	if v+1 < end && t[v] == '$' && isQuote(t[v+1]) { // $'x' in a shell
		v++
	}
	if k.quote != 0 && v == end { // "password": with the value in the next line
		v = skipSpace(t, v)
		end = lineEnd(t, v)
	}
	if v >= end || s.harmless(t, from, k, c, j, v, end) {
		return v
	}
	// In a dictionary the replacement is a quoted string, so that it remains a dictionary.
	dict := byte(0)
	if k.quote != 0 && (c == ':' || t[j-1] == '>') {
		dict = k.quote
	}
	if p := quotePrefix(t, v, end); p < end && isQuote(t[p]) {
		if p++; hasPrefix(t[p:end], pemBegin) {
			return s.pem(t, p, end, true)
		}
		return s.quotedValue(t, p-1, end, k.mark)
	}
	switch t[v] {
	case '-':
		if hasPrefix(t[v:end], pemBegin) {
			return s.pem(t, v, end, true)
		}
	case '|', '>':
		if c == ':' && v > j && isBlockHeader(t[v:end]) {
			s.form = form{state: formBlock, depth: s.indentation(t, from, k.start)}
			return end
		}
	case '{', '[', '(':
		if stop := schemedHash(t, v, end); stop > 0 {
			if dict == 0 {
				return s.bareValue(t, from, k, c, j, v, end)
			}
			break
		}
		limit := end
		if dict != 0 {
			limit = len(t)
		}
		stop := trimBlanks(t, v, bracketEnd(t, v, limit))
		s.work += stop - v
		s.maskText(t, v, stop, dict)
		return stop
	case '\\':
		if v+1 < end && isQuote(t[v+1]) { // masked in the unescaped text instead
			return v
		}
	case '&':
		if entityEnd(t, v, end) > 0 { // likewise
			return v
		}
	}
	if dict != 0 {
		stop := elementEnd(t, v, end)
		s.work += stop - v
		if string(t[v:stop]) != Replacement {
			s.maskText(t, v, stop, dict)
		}
		return stop
	}
	return s.bareValue(t, from, k, c, j, v, end)
}

// bareValue masks the unquoted value at t[v]. The sign c ends before t[j].
func (s *scanner) bareValue(t []byte, from int, k foundKey, c byte, j, v, end int) int {
	if c == '=' && v > j && beginsPair(t, v, end) && !isPadded(t, v, end) { // empty, as in password= user=bob
		return v
	}
	stop := 0
	before, around := byte(0), byte(0)
	if k.start > from {
		before = t[k.start-1]
	}
	if isQuote(before) && k.quote == 0 {
		around = before // 'Cookie: a=b; c=d'
	}
	switch {
	case k.mark&(authEnds|cookieEnds) != 0 && c == ':':
		stop = headerEnd(t, v, end, around)
		if k.mark&authEnds == 0 {
			break
		}
		n := schemeEnd(t, v, stop)
		if n == 0 {
			break
		}
		if n = skipBlanks(t, n, stop); n < stop {
			if v = n; !atLineStart(t, from, k.start) && around == 0 && oneToken(t[v:]) {
				stop = bareEnd(t, v, stop, false)
			}
		}
	case k.mark&authEnds != 0:
		if n := schemeEnd(t, v, end); n != 0 && skipBlanks(t, n, end) < end {
			v = skipBlanks(t, n, end)
		}
		stop = bareEnd(t, v, end, false)
		if more := skipBlanks(t, stop, end); more > stop && more < end && isScheme(t[v:stop]) && !beginsPair(t, more, end) {
			stop = bareEnd(t, more, end, false) // an unknown scheme
		}
	case k.mark&cookieEnds != 0:
		stop = bareEnd(t, v, end, false)
		for stop < end && t[stop] == ';' && beginsPair(t, skipBlanks(t, stop+1, end), end) {
			stop = bareEnd(t, skipBlanks(t, stop+1, end), end, false)
		}
	case around != 0 && c == ':':
		stop = headerEnd(t, v, end, around)
	case c == ':' && v > j && atLineStart(t, from, k.start):
		stop = restEnd(t, v, end)
	default:
		stop = bareEnd(t, v, end, before == '?' || before == '&')
	}
	s.work += stop - v
	stop = max(stop, s.hashEnd(t, v, end))
	if stop > v && string(t[v:stop]) != Replacement {
		s.mask(t, v, stop)
	}
	return max(stop, v)
}

// queryValue masks the value at t[v] of a key that is sensitive only in a query or a form. The
// key is in one if ? or & is before it, or & after its value.
func (s *scanner) queryValue(t []byte, from int, k foundKey, v, end int) int {
	before := t[max(from, k.start-len("&amp;")):k.start]
	query := k.quote == 0 && len(before) > 0 && bytes.IndexByte([]byte("?&#"), before[len(before)-1]) >= 0 || bytes.HasSuffix(before, []byte("&amp;"))
	stop := bareEnd(t, v, end, query)
	s.work += stop - v
	if (query || stop < end && t[stop] == '&') && stop-v >= leastQueryValue(t[k.start:k.end]) && !hasPrefix(t[v:stop], Replacement) {
		s.mask(t, v, stop)
		return stop
	}
	return v
}

// leastQueryValue returns the least length of the value of a key in a query that is a secret,
// in bytes. Shorter ones are the codes of countries, languages and errors.
func leastQueryValue(key []byte) int {
	switch {
	case isWord(key, "code"):
		return 5
	case isWord(key, "sid"), isWord(key, "auth"):
		return 8
	}
	return 1
}

// isBlockHeader reports whether t is the header of a block scalar of YAML, such as |- or >2,
// with nothing after it but a comment.
func isBlockHeader(t []byte) bool {
	rest := bytes.TrimLeft(t[1:min(len(t), 4)], "+-0123456789")
	t = t[min(len(t), 4)-len(rest):]
	t = bytes.TrimLeft(t, " \t\r")
	return len(t) == 0 || t[0] == '#'
}

// indentation returns the number of blanks at the beginning of the line, up to the key at
// t[start].
func (s *scanner) indentation(t []byte, from, start int) int {
	n := skipBlanks(t, from, start) - from
	s.work += n
	return n
}

// isScheme reports whether a word has the form of a scheme of an Authorization field.
func isScheme(word []byte) bool {
	if len(word) == 0 || len(word) > 32 || !isLetter(word[0]) {
		return false
	}
	for _, c := range word {
		if !isAlnum(c) && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// quotedValue masks the quoted value whose opening quote is at t[p].
func (s *scanner) quotedValue(t []byte, p, end int, m mark) int {
	stop := quoteEnd(t, p, end)
	s.work += stop - p
	from, to := p+1, stop
	if to == end && to > from && t[to-1] == '\r' {
		to--
	}
	if m&authEnds != 0 {
		if n := schemeEnd(t, from, to); n != 0 && skipBlanks(t, n, to) < to {
			from = skipBlanks(t, n, to)
		}
	}
	if to > from && !replaced(t[from:to]) {
		s.mask(t, from, to)
	}
	return min(stop+1, end)
}

// quotePrefix skips the prefix u, b, r or f of a Python string.
func quotePrefix(t []byte, i, end int) int {
	p := i
	for p < end && p < i+2 && bytes.IndexByte([]byte("uUbBrRfF"), t[p]) >= 0 {
		p++
	}
	if p < end && isQuote(t[p]) {
		return p
	}
	return i
}

// quoteEnd returns the index of the quote that closes the one at t[p], or end. A quote before
// a letter or digit does not close, as in 'it's'.
func quoteEnd(t []byte, p, end int) int {
	q := t[p]
	for i := p + 1; i < end; i++ {
		switch t[i] {
		case '\\':
			i++
		case q:
			switch {
			case i+1 < end && t[i+1] == q: // a doubled quote
				i++
				if i == p+2 && (i+1 == end || !isAlnum(t[i+1])) {
					return i - 1
				}
			case i+1 == end || !isAlnum(t[i+1]):
				return i
			}
		}
	}
	return end
}

// bracketEnd returns the index after the bracket that closes the one at t[i], or limit.
func bracketEnd(t []byte, i, limit int) int {
	depth := 0
	for ; i < limit; i++ {
		switch c := t[i]; c {
		case '{', '[', '(':
			depth++
		case '}', ']', ')':
			if depth--; depth == 0 {
				return i + 1
			}
		case '"', '\'':
			if c == '"' || opensQuote(t, i) {
				i = quoteEnd(t, i, limit)
			}
		case '\\':
			i++
		}
	}
	return limit
}

// opensQuote reports whether t[i] is an opening quote and not an apostrophe. It looks at what
// is before t[i].
func opensQuote(t []byte, i int) bool {
	if i > 0 && bytes.IndexByte([]byte("uUbBrRfF"), t[i-1]) >= 0 {
		i--
	}
	return i == 0 || !isAlnum(t[i-1])
}

// elementEnd returns the end of the value at t[v] in a dictionary.
func elementEnd(t []byte, v, end int) int {
	depth := 0
	for i := v; i < end; i++ {
		switch c := t[i]; c {
		case '{', '[', '(':
			depth++
		case '}', ']', ')', ',':
			if depth == 0 {
				return trimBlanks(t, v, i)
			}
			if c != ',' {
				depth--
			}
		case '"', '\'':
			if c == '"' || opensQuote(t, i) {
				i = quoteEnd(t, i, end)
			}
		case '\\':
			i++
		}
	}
	return trimBlanks(t, v, end)
}

// bareEnd returns the end of the unquoted value at t[v]. A character that may end a value is
// part of it unless the following text confirms the end. query is for a value in a URL's
// query, which ends at & and #.
func bareEnd(t []byte, v, end int, query bool) int {
	depth := 0
	for i := v; i < end; i++ {
		switch c := t[i]; c {
		case '&', '#':
			if query || c == '&' && (beginsPair(t, i+1, end) || entityEnd(t, i, end) > 0 ||
				hasPrefix(t[i:end], "&amp;") && beginsPair(t, i+len("&amp;"), end)) {
				return i
			}
		case '(', '[', '{':
			depth++
		case ')', ']', '}', '>':
			if depth > 0 {
				if c != '>' {
					depth--
				}
			} else if stops(t, i+1, end) {
				return i
			}
		case '"', '\'', '`':
			if depth == 0 && stops(t, i+1, end) {
				return i
			}
		case ',', ';':
			if depth == 0 && (stops(t, i+1, end) || beginsPair(t, i+1, end)) {
				return i
			}
		case '\\':
			if i+1 < end && isQuote(t[i+1]) {
				return i
			}
		default:
			if c <= ' ' && depth == 0 {
				return i
			}
		}
	}
	return trimBlanks(t, v, end)
}

// stops reports whether the text at t[i] confirms that the byte before it ended a value.
func stops(t []byte, i, end int) bool {
	return i >= end || t[i] <= ' ' || bytes.IndexByte([]byte(",;:)]}>\"'`&|<\\."), t[i]) >= 0
}

// beginsPair reports whether a key with its sign begins at t[i].
func beginsPair(t []byte, i, end int) bool {
	start := i
	for i < end && (isKeyByte(t[i]) || t[i] == '[' || t[i] == ']' || t[i] == '%') {
		i++
	}
	return i > start && i < end && (t[i] == '=' || t[i] == ':' && t[i-1] != '=')
}

// isPadded reports whether the word at t[v] is base64 with padding, such as the key in
// PrivateKey = c2VjcmV0a2V5c2VjcmV0a2U=, and not a key without a value.
func isPadded(t []byte, v, end int) bool {
	p := v
	for p < end && isAlnum(t[p]) {
		p++
	}
	word := p - v
	for p < end && t[p] == '=' && p-v < word+2 {
		p++
	}
	return word >= 12 && p-v > word && (p == end || isSpace(t[p]))
}

// headerEnd returns the end of the value of a header field: the end of the quotes around the
// whole field, or that of the line.
func headerEnd(t []byte, v, end int, around byte) int {
	if around != 0 {
		for i := v; i < end; i++ {
			switch t[i] {
			case '\\':
				i++
			case around:
				return i
			}
		}
	}
	return trimBlanks(t, v, end)
}

// restEnd returns the end of a value that extends to the end of its line, as in YAML, or to
// another key.
func restEnd(t []byte, v, end int) int {
	end = trimBlanks(t, v, end)
	space, name := 0, false // the last white space, and whether only name characters follow it
	for i := v; i < end; i++ {
		c := t[i]
		switch {
		case isBlank(c):
			space, name = i, true
		case name && (c == '=' || c == ':' && i+1 < end && isBlank(t[i+1])) && i > space+1:
			for space > v && bytes.IndexByte([]byte(" \t,;"), t[space-1]) >= 0 {
				space--
			}
			return max(space, v)
		case !isKeyByte(c):
			name = false
		}
	}
	return end
}

// atLineStart reports whether the key at t[start] is the first in its line, after optional
// markers of lists, comments and curl's output.
func atLineStart(t []byte, from, start int) bool {
	for start > from && bytes.IndexByte([]byte(" \t-*<>#+"), t[start-1]) >= 0 {
		start--
	}
	return start == from || t[start-1] == '\n'
}

// skipGap skips blanks. In an unescaped text it also skips +, which is a space in a form.
func (s *scanner) skipGap(t []byte, i, end int) int {
	for i < end && (isBlank(t[i]) || t[i] == '+' && s.depth > 0) {
		i++
	}
	return i
}

func skipBlanks(t []byte, i, end int) int {
	for i < end && isBlank(t[i]) {
		i++
	}
	return i
}

func trimBlanks(t []byte, from, end int) int {
	for end > from && isSpace(t[end-1]) {
		end--
	}
	return end
}

func lineEnd(t []byte, i int) int {
	if n := bytes.IndexByte(t[i:], '\n'); n >= 0 {
		return i + n
	}
	return len(t)
}
