package mask

import (
	"bytes"
	"cmp"
	"slices"
)

// maxEdits is the number of edits of a text that need no allocation.
const maxEdits = 24

// An edit replaces text[start:end]. The scanner collects edits and does not change the text,
// so that everything between them is kept byte for byte.
type edit struct {
	start, end int
	quote      byte // quote around the replacement; 0 for none, & for &quot;
	level      int8 // how often the quote is escaped, with backslashes or as &amp;
}

// A scanner looks for secrets in one text.
type scanner struct {
	words  *words
	room   [maxEdits]edit // an array, so that it can be on the stack
	more   []edit         // all edits, if there are more than maxEdits
	n      int            // number of edits
	form   form           // state for the next line
	ahead  []byte         // the line after the text, if it is known
	before form           // form at the beginning of the text
	depth  int8           // nesting depth of escaped texts
	odd    bool           // masking the result again may find more secrets
	noJSON int            // no JSON begins before this index of the scanned text
	work   int            // number of steps taken
	limit  int            // greatest number of steps; 0 before the text is known
}

// stepsPerByte and minSteps bound the number of steps for a text. A text that takes more is
// replaced as a whole, so that a crafted text that is read many times cannot delay the caller.
const (
	stepsPerByte = 128
	minSteps     = 1 << 12
)

func maxSteps(n int) int { return minSteps + stepsPerByte*n }

// spent reports whether the text has taken more steps than allowed.
func (s *scanner) spent() bool { return s.work > s.limit }

// hideLines appends a replacement for each nonempty line of t. It keeps the line ends.
func hideLines(dst, t []byte) []byte {
	for len(t) > 0 {
		end := lineEnd(t, 0)
		line := bytes.TrimSuffix(t[:end], []byte("\r"))
		if len(line) > 0 {
			dst = append(dst, Replacement...)
		}
		dst = append(dst, t[len(line):min(end+1, len(t))]...)
		t = t[min(end+1, len(t)):]
	}
	return dst
}

// mask replaces the value t[start:end].
func (s *scanner) mask(t []byte, start, end int) { s.maskText(t, start, end, 0) }

// maskText is mask with quotes around the replacement.
func (s *scanner) maskText(t []byte, start, end int, quote byte) {
	s.odd = s.odd || quote != 0 || !isPlain(t[start:end])
	s.maskAs(start, end, quote)
}

// isPlain reports whether a value has only bytes without a meaning for the scanner. Replacing
// such a value does not affect how the text around it is read.
func isPlain(value []byte) bool {
	for _, c := range value {
		if classes[c]&plain == 0 {
			return false
		}
	}
	return true
}

// maskAs adds an edit.
func (s *scanner) maskAs(start, end int, quote byte) {
	e := edit{start: start, end: end, quote: quote}
	if s.more == nil {
		if s.n < len(s.room) {
			s.room[s.n] = e
			s.n++
			return
		}
		s.more = append(make([]edit, 0, 4*maxEdits), s.room[:]...)
	}
	s.more = append(s.more[:s.n], e)
	s.n++
}

// edits returns the edits from the given one on.
func (s *scanner) edits(from int) []edit {
	if s.more != nil {
		return s.more[from:s.n]
	}
	return s.room[from:s.n]
}

// append masks one line.
func (s *scanner) append(dst, t []byte) []byte {
	s.lines(t)
	if s.n == 0 && !s.spent() {
		return append(dst, t...)
	}
	return s.settle(dst, t)
}

// settle appends the edited text to dst. Edits may change how the rest of the text is read, so
// settle masks the result again until nothing changes.
func (s *scanner) settle(dst, t []byte) []byte {
	from := len(dst)
	if s.spent() {
		return hideLines(dst, t)
	}
	dst = s.apply(dst, t)
	// In a text with escapes, a value may end elsewhere after it is replaced.
	odd := s.odd || bytes.IndexByte(t, '%') >= 0 || bytes.IndexByte(t, '\\') >= 0 || bytes.IndexByte(t, escapeByte) >= 0 ||
		s.work > maxSteps(len(dst)-from)/2 // masking the result must not exceed its limit, which may be smaller
	for round := 0; odd; round++ {
		if round == maxRounds {
			return hideLines(dst[:from], t)
		}
		again := scanner{words: s.words, form: s.before, ahead: s.ahead}
		again.lines(dst[from:])
		s.work += again.work
		if again.spent() {
			return hideLines(dst[:from], t)
		}
		if again.n == 0 {
			break
		}
		dst = again.apply(dst[:from], slices.Clone(dst[from:]))
	}
	return dst
}

// maxRounds is the greatest number of times that a text is masked again.
const maxRounds = 8

// apply appends the edited text to dst.
func (s *scanner) apply(dst, t []byte) []byte {
	at := 0
	for _, e := range s.edits(0) {
		dst = append(dst, t[at:e.start]...)
		dst = e.appendQuote(dst)
		dst = append(dst, Replacement...)
		dst = e.appendQuote(dst)
		at = e.end
	}
	return append(dst, t[at:]...)
}

func (e edit) appendQuote(dst []byte) []byte {
	switch e.quote {
	case 0:
		return dst
	case '&':
		dst = append(dst, '&')
		for range e.level {
			dst = append(dst, "amp;"...)
		}
		return append(dst, "quot;"...)
	}
	for range 1<<e.level - 1 {
		dst = append(dst, '\\')
	}
	return append(dst, e.quote)
}

// merge sorts the edits from the given one on and merges those that overlap.
func (s *scanner) merge(from int) {
	edits := s.edits(from)
	if len(edits) < 2 {
		return
	}
	slices.SortFunc(edits, func(a, b edit) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(b.end, a.end))
	})
	s.work += len(edits)
	n := 0
	for _, e := range edits[1:] {
		last := &edits[n]
		switch {
		case e.start >= last.end:
			n++
			edits[n] = e
		case e.end > last.end: // neither contains the other
			*last = edit{start: last.start, end: e.end}
			s.odd = true
		}
	}
	s.n = from + n + 1
}
