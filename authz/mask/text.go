package mask

import "bytes"

// A lookout remembers where it is of no use to look again, so that no part of a
// line is searched for the same thing twice.
type lookout struct {
	json  int // no JSON begins before
	jwt   int // no JWT begins before
	word  int // a word of the characters of credentials goes on until here
	tag   int // the next closing tag, or the end, when further on
	cdata int // the next end of CDATA, the same
	at    int // no userinfo before
	curl  int8
	name  bool // "name": "password" has been seen, whose value is in "value"
	loc   bool // 'loc': ('body', 'password') has been seen, whose value is in 'input'
	// 'type': 'missing' has been seen: the value in 'input' is what is around
	absent bool
}

// lines masks text of any number of lines.
func (s *scanner) lines(t []byte) {
	if s.limit == 0 {
		s.limit = maxSteps(len(t))
	}
	noJSON := s.noJSON
	s.noJSON = 0
	defer func() { s.noJSON = noJSON }()
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
		start := i
		i = s.line(t, i, end)
		s.form.named = s.form.state == formNone && s.isField(t[start:end])
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
	look := lookout{json: max(from, s.noJSON), jwt: from, at: from}
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
		case '\\', '%', escapeByte:
			escaped = true
		case '&':
			if n := entityEnd(t, i, end); n > 0 {
				// A value may end elsewhere once it is replaced.
				escaped, s.odd, next = true, true, n
			}
		case '=', ':':
			next = s.sign(t, from, lo, i, end, &look)
			lo = next
		case '{', '[':
			if i < look.json || !beginsJSON(t, i) {
				if c == '[' {
					next = s.pair(t, from, i, end)
				}
				break
			}
			stop, ok := s.json(t, i)
			if !ok {
				look.json, s.noJSON = stop, stop // also for the lines that it went over
				if c == '[' && next == i+1 {
					next = s.pair(t, from, i, end)
				}
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
			next = s.credential(t, from, i, end, &look)
		case '<':
			next = s.element(t, from, i, end, &look)
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
		if k.quote == 0 && t[i] != '=' || !s.valueOfName(t, lo, hi, i, end, look) {
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

// locates reports whether a string in the brackets that open at t[i] is a sensitive key.
func (s *scanner) locates(t []byte, i, end int) bool {
	found := false
	for i++; i < end && t[i] != ')' && t[i] != ']'; i++ {
		if isQuote(t[i]) {
			stop := quoteEnd(t, i, end)
			s.work += stop - i
			found = found || s.words.find(t, i+1, stop, wholeKey) != 0
			i = stop
		}
	}
	return found
}

// isField reports whether a line is the name of a sensitive field and nothing else, as
// pydantic writes above what is wrong with the field.
func (s *scanner) isField(line []byte) bool {
	if len(line) == 0 || len(line) > maxKey || !isLetter(line[0]) {
		return false
	}
	for _, c := range line {
		if !isKeyByte(c) {
			return false
		}
	}
	return s.words.sensitive(line)
}

// isWord reports whether a key is a word, in any case.
func isWord(key []byte, word string) bool { return len(key) == len(word) && hasFold(key, word) }

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
	case s.form.named && t[i] == '=' && isWord(t[max(lo, hi-len("input_value")):hi], "input_value"):
		return true
	case isWord(key, "input"):
		located := look.loc
		look.loc = false
		return located
	case isWord(key, "type") && i+1 < end:
		v := quotePrefix(t, skipBlanks(t, i+1, end), end)
		look.absent = v < end && isQuote(t[v]) && hasPrefix(t[v+1:end], "missing")
	case isWord(key, "loc") && i+1 < end:
		v := skipBlanks(t, i+1, end)
		if v == end || t[v] != '(' && t[v] != '[' {
			return false
		}
		look.loc = !look.absent && s.locates(t, v, min(end, v+maxKey))
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
