package mask

import "bytes"

// A lookout has the results of searches in a line, so that no part of the line is searched
// twice for the same thing, and keys that affect later values.
type lookout struct {
	json  int  // no JSON begins before this index
	jwt   int  // no JWT begins before this index
	hash  int  // no password hash begins before this index
	word  int  // end of the current word of credential characters
	tag   int  // index of the next closing tag, or the end; valid if after the current position
	cdata int  // index of the next end of CDATA, likewise
	at    int  // end of the last search for an @ after an unescaped /
	curl  int8 // result of isCurl; 0 if unknown
	tools int  // end of the search for tools
	login bool // after the word login of tool
	tool  *tool
	name  bool // after "name": "password", whose value is in "value"
	loc   bool // after 'loc': ('body', 'password'), whose value is in 'input'
	// After 'type': 'missing', 'input' has the surrounding object and not the value.
	absent bool
}

// lines masks a text of any number of lines.
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
	if len(t) == 0 { // an empty line
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
		start, pair := i, s.form.pair
		member := s.form.state == formNone && (pair > 0 || mayBeMember(t[i:end]))
		if member {
			i = s.memberValue(t, i, end)
			s.work += i - start
		}
		i = s.line(t, i, end)
		if s.form.pair == pair { // otherwise the unescaped line has set it
			if s.form.pair = 0; member && s.form.state == formNone && i == end {
				s.form.pair = s.pairAfter(t[start:end], pair)
			}
		}
		s.form.named = s.form.state == formNone && s.isField(t[start:end])
		if i == end { // otherwise a JSON value ended in a later line
			i++
		}
	}
}

// wholeString masks a text that is a single JSON string. It reports whether t is one.
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

// line masks the line t[from:end]. It returns end, or the end of a JSON value that begins in
// the line and ends in a later one.
func (s *scanner) line(t []byte, from, end int) int {
	piece, lo, escaped, mark := from, from, false, s.n
	look := lookout{json: max(from, s.noJSON), jwt: from, at: from, tools: from}
	s.work += end - from
	for i := from; ; {
		for i < end {
			if c := classes[t[i]]; c&wakes != 0 && (c&dim == 0 || i > from && !dull(t[i-1], t[i])) {
				break
			}
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
				// A value may end elsewhere after it is replaced.
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
				look.json, s.noJSON = stop, stop // noJSON is for later lines
				if c == '[' && next == i+1 {
					next = s.pair(t, from, i, end)
				}
				break
			}
			if escaped { // view the text before the JSON, which handles its own escapes
				s.view(t, piece, i, true)
				s.merge(mark)
			}
			next, piece, escaped, mark = stop, stop, false, s.n
		case '(':
			if p := quotePrefix(t, i+1, end); p < end && isQuote(t[p]) && !s.lists(t, from, i) {
				next = s.tuple(t, i+1, end)
			}
		case '-':
			next = s.dash(t, from, i, end, &look)
		case '\'':
			next = s.quoted(t, from, lo, i, end)
		case 'J':
			next = s.jwt(t, from, i, end, &look)
		case '_':
			if next = s.prefixed(t, from, i, end); next == 0 {
				next = s.apiKey(t, from, i, end)
			}
		case '.', 'z':
			next = max(i+1, s.prefixed(t, from, i, end))
		case '$':
			next = s.hash(t, from, i, end, &look)
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

// A foundKey is a sensitive key before a sign.
type foundKey struct {
	start int // where its last word begins
	end   int
	quote byte // the quote around it; 0 for none
	mark  mark
}

// keyBefore returns the key that ends before the sign at t[i], if it is sensitive.
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
		if hi > lo && t[hi-1] == '\\' { // found in the unescaped text instead
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
	if k.mark = s.words.lookUp(t, lo, hi, at); k.mark&wordEnds == 0 {
		if k.mark&queryEnds != 0 && t[i] == '=' && k.quote == 0 {
			s.startOf(t, lo, hi, &k)
			return k, false
		}
		k.mark = 0
		if hi == lo || !endsName(t[hi-1]) || !s.valueOfName(t, lo, hi, i, end, look) {
			return k, false
		}
		k.mark = wordEnds
	}
	s.startOf(t, lo, hi, &k)
	return k, true
}

// startOf sets the position of a key that ends before t[hi].
func (s *scanner) startOf(t []byte, lo, hi int, k *foundKey) {
	k.end = hi
	for k.start = hi; k.start > lo && (isKeyByte(t[k.start-1]) || t[k.start-1] == '[' || t[k.start-1] == ']'); {
		k.start--
	}
	s.work += hi - k.start
}

// locates reports whether a string in the brackets that begin at t[i] is a sensitive key.
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

// isField reports whether a line is just the name of a sensitive field, as pydantic writes
// above an error about the field.
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

// isWord reports whether key is word in any case. word must be in lower case.
func isWord(key []byte, word string) bool { return len(key) == len(word) && hasFold(key, word) }

// endsName reports whether c is the last byte of a key that valueOfName looks at.
func endsName(c byte) bool {
	c |= 0x20
	return c == 'e' || c == 'y' || c == 'c' || c == 't'
}

// valueOfName reports whether the key t[lo:hi] has the value of a sensitive name that came
// before, such as "value" in {"name": "password", "value": "x"}. For a key such as "name", it
// records in look whether its value is a sensitive name.
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
		} else if t[i] == ':' { // EnvVar{Name:DB_PASSWORD,Value:x} and {name: DB_PASSWORD, value: x}
			stop := v
			for stop < end && stop < v+maxKey && isKeyByte(t[stop]) {
				stop++
			}
			s.work += stop - v
			look.name = stop < end && t[stop] == ',' && s.words.find(t, v, stop, wholeKey) != 0
		}
	}
	return false
}
