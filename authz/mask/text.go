package mask

import "bytes"

// A lookout remembers where it is of no use to look again, so that no part of a
// line is searched for the same thing twice.
type lookout struct {
	json int // no JSON begins before
	jwt  int // no JWT begins before
	at   int // no userinfo before
	curl int8
	name bool // "name": "password" has been seen, whose value is in "value"
}

// lines masks text of any number of lines.
func (s *scanner) lines(t []byte) {
	if s.limit == 0 {
		s.limit = maxSteps(len(t))
	}
	if s.form.state == formNone && s.wholeString(t) {
		return
	}
	if len(t) == 0 { // an empty line counts too
		s.form.hides(t)
	}
	for i := 0; i < len(t) && !s.spent(); {
		end := len(t)
		if n := bytes.IndexByte(t[i:], '\n'); n >= 0 {
			end = i + n
		}
		if s.form.state != formNone && s.form.hides(t[i:end]) {
			s.maskLine(t, i, end)
			s.work += end + 1 - i
			i = end + 1
			continue
		}
		i = s.line(t, i, end)
		if i == end { // a value may also have ended further on
			i++
		}
	}
}

// wholeString masks a text that is one JSON string.
func (s *scanner) wholeString(t []byte) bool {
	i := skipSpace(t, 0)
	if i == len(t) || t[i] != '"' {
		return false
	}
	end, seen := stringEnd(t, i+1)
	s.work += len(t)
	if end < 0 || skipSpace(t, end+1) < len(t) {
		return false
	}
	if seen&escapes == 0 || bytes.IndexByte(t[i:end], '\\') < 0 {
		s.line(t[:end], i+1, end)
	} else {
		s.view(t, i+1, end, false)
	}
	return true
}

func (s *scanner) maskLine(t []byte, i, end int) {
	if end > i && t[end-1] == '\r' {
		end--
	}
	if string(t[i:end]) != Replacement {
		s.mask(t, i, end)
	}
}

// line masks the text t[from:end], which holds no end of a line. It returns end,
// or where a JSON value ended that begins in the line and ends behind it.
func (s *scanner) line(t []byte, from, end int) int {
	piece, lo, escaped, mark := from, from, false, s.n
	look := lookout{json: from, jwt: from, at: from}
	s.work += end - from
	for i := from; ; {
		for i < end && classes[t[i]]&wakes == 0 {
			i++
		}
		if s.spent() {
			return end
		}
		if i >= end {
			if escaped {
				s.view(t, piece, i, true)
				s.merge(mark)
			}
			return i
		}
		next := i + 1
		switch c := t[i]; c {
		case '\\', '%':
			escaped = true
		case '=', ':':
			next = s.sign(t, from, lo, i, end, &look)
			lo = next
		case '{', '[':
			if i < look.json || !beginsJSON(t, i) {
				break
			}
			stop, ok := s.json(t, i)
			if !ok {
				look.json = stop
				break
			}
			if escaped { // the JSON has read its own escapes
				s.view(t, piece, i, true)
				s.merge(mark)
			}
			next, piece, escaped, mark = stop, stop, false, s.n
		case '(':
			next = s.tuple(t, i+1, end)
		case '-':
			next = s.dash(t, from, i, end, &look)
		case '\'':
			next = s.quoted(t, from, lo, i, end)
		case 'J':
			next = s.jwt(t, from, i, end, &look)
		case 'k':
			next = s.apiKey(t, from, i, end)
		case 'b', 'B':
			next = s.credential(t, from, i, end)
		}
		i = next
	}
}

// beginsJSON reports whether the bracket at t[i] may begin JSON.
func beginsJSON(t []byte, i int) bool {
	next := skipSpace(t, i+1)
	if next == len(t) {
		return false
	}
	c := t[next]
	return c == '"' || c == t[i]+2 ||
		t[i] == '[' && (c == '{' || c == '[' || c == '-' || isDigit(c) || c == 't' || c == 'f' || c == 'n' || c == 'N')
}

// A found key is a sensitive one in front of a sign.
type foundKey struct {
	start int  // where its text begins, at the latest
	quote byte // that is around it, 0 for none
	mark  mark
}

// keyBefore looks at the key that ends before t[i].
func (s *scanner) keyBefore(t []byte, lo, i, end int, look *lookout) (k foundKey, ok bool) {
	hi := i
	for hi > lo && (isBlank(t[hi-1]) || t[hi-1] == '+' && (s.depth > 0 || t[i] == '=')) { // + of a form, +=
		hi--
	}
	if hi > lo && t[hi-1] == ')' && t[i] == '=' { // Key (token)=(x) already exists
		hi--
	}
	if hi > lo && isQuote(t[hi-1]) {
		hi--
		k.quote = t[hi]
		if hi > lo && t[hi-1] == '\\' { // the unescaped text shows what this is
			return k, false
		}
	}
	s.work += i - hi
	at := beforeColon
	if k.quote != 0 {
		at = wholeKey
	} else if t[i] == '=' {
		at = beforeEquals
	}
	if k.mark = s.words.find(t, lo, hi, at); k.mark == 0 {
		if k.quote == 0 || !s.valueOfName(t, lo, hi, i, end, look) {
			return k, false
		}
		k.mark = wordEnds
	}
	for k.start = hi; k.start > lo && (isKeyByte(t[k.start-1]) || t[k.start-1] == '[' || t[k.start-1] == ']'); {
		k.start--
	}
	s.work += hi - k.start
	return k, true
}

// valueOfName reports whether the key that ends at t[hi], in quotes, is the value
// of a name that was seen before, and looks whether it is such a name itself, as
// in {"name": "password", "value": "x"}.
func (s *scanner) valueOfName(t []byte, lo, hi, i, end int, look *lookout) bool {
	start := hi
	for start > lo && hi-start <= len("value") && isKeyByte(t[start-1]) {
		start--
	}
	key := t[start:hi]
	switch {
	case hasFold(key, "value") && len(key) == len("value"):
		named := look.name
		look.name = false
		return named
	case (hasFold(key, "name") && len(key) == len("name") || hasFold(key, "key") && len(key) == len("key")) && i+1 < end:
		v := skipBlanks(t, i+1, end)
		if v = quotePrefix(t, v, end); v < end && isQuote(t[v]) {
			stop := quoteEnd(t, v, min(end, v+maxKey))
			s.work += stop - v
			look.name = s.words.find(t, v+1, stop, wholeKey) != 0
		}
	}
	return false
}
