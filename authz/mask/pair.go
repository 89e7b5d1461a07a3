package mask

import "bytes"

// A member is a line with one member of a mapping of YAML or of indented JSON, such as
// "- name: DB_PASSWORD" and "value": "x",.
type member struct {
	column int  // of the key
	item   bool // the mapping is an item of a list, and this is its first member
	name   bool // the key is name or key
	value  bool // the key is value
	start  int  // where the value begins; at most the length of the line
	end    int  // where it ends, without blanks and the comma of JSON
}

// mayBeMember reports whether a line may be one that readMember reads.
func mayBeMember(line []byte) bool {
	i := skipBlanks(line, 0, len(line))
	if i == len(line) {
		return false
	}
	switch line[i] {
	case '-', '"', '\'', 'n', 'N', 'k', 'K', 'v', 'V':
		return true
	}
	return false
}

// readMember reads a line. ok is false if its key is neither of a name nor of a value.
func readMember(line []byte) (m member, ok bool) {
	i := skipBlanks(line, 0, len(line))
	if i+1 < len(line) && line[i] == '-' && isBlank(line[i+1]) {
		m.item = true
		i = skipBlanks(line, i+1, len(line))
	}
	m.column = i
	quote := byte(0)
	if i < len(line) && (line[i] == '"' || line[i] == '\'') {
		quote = line[i]
		i++
	}
	key := i
	for i < len(line) && i < key+len("value")+1 && isLetter(line[i]) {
		i++
	}
	switch {
	case isWord(line[key:i], "name"), isWord(line[key:i], "key"):
		m.name = true
	case isWord(line[key:i], "value"):
		m.value = true
	default:
		return m, false
	}
	if quote != 0 {
		if i == len(line) || line[i] != quote {
			return m, false
		}
		i++
	}
	if i = skipBlanks(line, i, len(line)); i == len(line) || line[i] != ':' {
		return m, false
	}
	if i++; i < len(line) && !isSpace(line[i]) && quote == 0 {
		return m, false
	}
	m.start = skipBlanks(line, i, len(line))
	m.end = trimBlanks(line, m.start, len(line))
	if quote == '"' && m.end > m.start && line[m.end-1] == ',' {
		m.end = trimBlanks(line, m.start, m.end-1)
	}
	return m, true
}

// namesSecretKey reports whether a line is that of a name whose value is a sensitive key.
func (s *scanner) namesSecretKey(line []byte, m member) bool {
	from, to := m.start, min(m.end, m.start+maxKey)
	if from < to && isQuote(line[from]) {
		q := quoteEnd(line, from, to)
		s.work += q - from
		from, to = from+1, q
	} else if n := bytes.Index(line[from:to], []byte(" #")); n >= 0 {
		to = trimBlanks(line, from, from+n)
	}
	return m.name && to > from && !bytes.ContainsAny(line[from:to], " \t:={[") && s.words.find(line, from, to, wholeKey) != 0
}

// memberValue masks the value in the line t[i:end] if the name of its mapping is a sensitive
// key, as in
//
//   - name: DB_PASSWORD
//     value: x
//
// The name is in a line before, or in the next line, which begins at t[end+1] or is s.ahead.
// memberValue returns where to continue in the line, which is i if there is no such value.
func (s *scanner) memberValue(t []byte, i, end int) int {
	m, ok := readMember(t[i:end])
	if !ok || !m.value || m.start == m.end {
		return i
	}
	if m.item || s.form.pair != m.column+1 {
		next := s.ahead
		if end < len(t) {
			next = t[end+1 : lineEnd(t, end+1)]
		}
		s.work += min(len(next), 2*maxKey)
		other, ok := readMember(next)
		if !ok || other.item || other.column != m.column || !s.namesSecretKey(next, other) {
			return i
		}
	}
	s.form.pair = 0
	v, to := i+m.start, i+m.end
	s.work += to - v
	switch c := t[v]; {
	case (c == '|' || c == '>') && isBlockHeader(t[v:end]):
		s.form = form{state: formBlock, depth: m.column}
		if m.item {
			s.form.depth = skipBlanks(t, i, end) - i
		}
		return end
	case isQuote(c):
		return s.quotedValue(t, v, end, wordEnds)
	}
	if n := bytes.Index(t[v:to], []byte(" #")); n > 0 { // a comment
		to = trimBlanks(t, v, v+n)
	}
	if string(t[v:to]) == Replacement {
		return to
	}
	quote := byte(0)
	if t[i+m.column] == '"' && !m.item { // JSON, whose other values are quoted
		quote = '"'
		if stop := valueEnd(t[:to], v); stop < 0 || stop < to { // a part of a value of several lines
			return i
		}
	}
	s.maskText(t, v, to, quote)
	return to
}

// pairAfter returns the state for the lines after a line: whether the value in one of them is
// that of a sensitive name.
func (s *scanner) pairAfter(line []byte, pair int) int {
	i := skipBlanks(line, 0, len(line))
	if i == len(line) || line[i] == '#' || line[i] == '\r' { // an empty line or a comment
		return pair
	}
	if m, ok := readMember(line); ok && m.name {
		if s.namesSecretKey(line, m) {
			return m.column + 1
		}
		if m.item || m.column < pair {
			return 0
		}
	}
	if pair > 0 && i+1 >= pair && line[i] != '-' && line[i] != '}' { // another member of the same mapping
		return pair
	}
	return 0
}

// waits reports whether a line has a value whose name may be in the next line.
func waits(line []byte, pair int) bool {
	if !mayBeMember(line) {
		return false
	}
	m, ok := readMember(bytes.TrimRight(line, "\r\n"))
	return ok && m.value && m.start < m.end && (m.item || pair != m.column+1)
}
