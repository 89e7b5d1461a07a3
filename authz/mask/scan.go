package mask

import (
	"bytes"
	"cmp"
	"slices"
)

// maxEdits is how many values of a line are masked without allocating.
const maxEdits = 24

// An edit replaces text[start:end]. The scanner collects edits and leaves the
// text alone, so that everything between them is kept byte for byte.
type edit struct {
	start, end int
	quote      byte // around the replacement, 0 for none, & for &quot;
	level      int8 // of JSON strings in JSON strings, or of &amp;: how often the quote is escaped
}

// A scanner looks for secrets in one text.
type scanner struct {
	words  *words
	room   [maxEdits]edit // here and not behind a slice, so that it can be on the stack
	more   []edit         // all edits, when room is not enough
	n      int            // number of edits
	form   form           // what goes on in the next line
	before form           // form as it was at the beginning of the text
	depth  int8           // of escaped texts in one another
	odd    bool           // an edit was made where masking again may find another
	noJSON int            // no JSON begins before, in the text that is scanned
	work   int            // steps taken
	limit  int            // of steps; 0 before the text is known
}

// A text that takes more steps than this is replaced as a whole: reading parts of
// it again and again must not hold up whoever waits for the masked text.
const (
	stepsPerByte = 128
	minSteps     = 1 << 12
)

func maxSteps(n int) int { return minSteps + stepsPerByte*n }

// spent reports whether the text has taken more steps than it may.
func (s *scanner) spent() bool { return s.work > s.limit }

// hideLines appends a replacement for each line of t that is not empty. The ends of
// lines are kept.
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

// mask replaces a value in text.
func (s *scanner) mask(t []byte, start, end int) { s.maskText(t, start, end, 0) }

// maskText is mask with quotes around the replacement.
func (s *scanner) maskText(t []byte, start, end int, quote byte) {
	s.odd = s.odd || quote != 0 || !isPlain(t[start:end])
	s.maskAs(start, end, quote)
}

// isPlain reports whether there is nothing in a value that structure is made of:
// the text around it then reads the same when it is replaced.
func isPlain(value []byte) bool {
	for _, c := range value {
		if classes[c]&plain == 0 {
			return false
		}
	}
	return true
}

// maskAs replaces a value.
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

// settle appends the edited text to dst. Text has no grammar, and what is left of
// it may read as another thing than before: that is masked too, until nothing more
// changes.
func (s *scanner) settle(dst, t []byte) []byte {
	from := len(dst)
	if s.spent() {
		return hideLines(dst, t)
	}
	dst = s.apply(dst, t)
	// Where there are escapes, a value may end elsewhere once it is replaced.
	odd := s.odd || bytes.IndexByte(t, '%') >= 0 || bytes.IndexByte(t, '\\') >= 0 || bytes.IndexByte(t, escapeByte) >= 0 ||
		s.work > maxSteps(len(dst)-from)/2 // the masked text must not exceed its own, smaller limit
	for round := 0; odd; round++ {
		if round == maxRounds {
			return hideLines(dst[:from], t)
		}
		again := scanner{words: s.words, form: s.before}
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

// maxRounds bounds how often a text is masked again.
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

// merge sorts the edits from the given one on and joins those that overlap.
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
		case e.end > last.end: // neither holds the other
			*last = edit{start: last.start, end: e.end}
			s.odd = true
		}
	}
	s.n = from + n + 1
}
