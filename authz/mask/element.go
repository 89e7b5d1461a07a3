package mask

import "bytes"

const (
	cdataBegin = "<![CDATA["
	cdataEnd   = "]]>"
)

// namesSecret reports whether an attribute name or key in t[i:end] has a sensitive value, as
// in <property name="password">.
func (s *scanner) namesSecret(t []byte, i, end int) bool {
	for ; i < end; i++ {
		if t[i] != '=' || i+1 == end || !isQuote(t[i+1]) {
			continue
		}
		stop := quoteEnd(t, i+1, end)
		s.work += stop - i
		if key := t[i-min(5, i) : i]; (bytes.HasSuffix(key, []byte(" name")) || bytes.HasSuffix(key, []byte(" key"))) && s.words.find(t, i+2, stop, wholeKey) != 0 {
			return true
		}
		i = stop
	}
	return false
}

// element masks the content of the XML element that begins at t[i] if its name or that of an
// attribute is sensitive, as in <password>x</password> and <property name="pin">x</property>.
// Attributes themselves are masked like other keys and values. An element that does not end in
// its line continues in the next lines only if it begins a line. Elsewhere it may be a
// placeholder, as in usage: login <user> <password>.
func (s *scanner) element(t []byte, from, i, end int, look *lookout) int {
	name := i + 1
	p := name
	for p < end && p < name+maxKey && (isKeyByte(t[p]) || t[p] == ':') {
		if t[p] == ':' { // after a namespace prefix
			name = p + 1
		}
		p++
	}
	s.work += p - i
	if p == name || p == end {
		return i + 1
	}
	tag := p
	for p < end && p < tag+maxHeaders && t[p] != '>' && t[p] != '<' {
		p++
	}
	s.work += p - tag
	if p == end || t[p] != '>' || t[p-1] == '/' || p > tag && !isSpace(t[tag]) ||
		s.words.find(t, name, tag, wholeKey) == 0 && !s.namesSecret(t, tag, p) {
		return i + 1
	}
	if p > tag { // mask the attributes first
		s.line(t[:p], tag, p)
	}
	start := p + 1
	known, ends := &look.tag, "</"
	if hasPrefix(t[start:end], cdataBegin) {
		start += len(cdataBegin)
		known, ends = &look.cdata, cdataEnd
	}
	if *known < start { // search once for all elements before the next end
		*known = end
		if n := bytes.Index(t[start:end], []byte(ends)); n >= 0 {
			*known = start + n
		}
		s.work += *known - start
	}
	stop := *known
	if stop < end {
		// The content is all in this line.
	} else if skipSpace(t[:i], from) == i {
		s.form = form{state: formElement}
	} else if start == end || !isAlnum(t[start]) {
		return start
	}
	s.work += stop - start
	if from, to := skipBlanks(t, start, stop), trimBlanks(t, start, stop); to > from && string(t[from:to]) != Replacement {
		s.mask(t, from, to)
	}
	return stop
}
