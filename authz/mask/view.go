package mask

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is the greatest nesting depth of escaped texts, such as JSON in a JSON string.
// Deeper texts are replaced.
const maxDepth = 6

// view masks the escaped text t[from:end] by scanning its unescaped form, because keys and
// quotes may be escaped. It translates the positions of the edits back, so that the escapes of
// the other text are kept. With percent, %XX and the entities of HTML and XML are escapes too.
func (s *scanner) view(t []byte, from, end int, percent bool) {
	var room [512]byte
	decoded, changed := unescape(room[:0], t[from:end], percent)
	s.work += end - from
	if !changed {
		if !percent {
			s.line(t[:end], from, end)
		}
		return
	}
	if s.depth == maxDepth {
		s.mask(t, from, end)
		return
	}
	first, outer, ahead := s.n, s.form, s.ahead
	s.ahead = nil
	s.form = form{}
	if percent { // the text is a part of a line
		s.form = form{named: outer.named, pair: outer.pair}
	}
	s.depth++
	s.lines(decoded)
	if percent && bytes.IndexByte(decoded, '+') >= 0 { // scan again as a form, in which + is a space
		s.form = form{}
		for i, c := range decoded {
			if c == '+' {
				decoded[i] = ' '
			}
		}
		s.lines(decoded)
	}
	s.depth--
	s.ahead = ahead
	if outer.state != formNone || !percent || bytes.IndexByte(t[from:end], '&') < 0 {
		s.form = outer // otherwise the escaped text may continue in the next lines
	}
	if s.n == first {
		return
	}
	s.merge(first)
	// Find the position in t of each edit by unescaping again.
	quoted := bytes.IndexByte(t[from:end], '\\') >= 0
	entities, again := percent && bytes.Contains(t[from:end], []byte("&quot;")), percent && bytes.Contains(t[from:end], []byte("&amp;"))
	raw, at := from, 0
	seek := func(offset int) int {
		for at < offset && raw < end {
			_, width, n := escape(t[raw:end], percent)
			raw += width
			at += n
		}
		return raw
	}
	s.work += 3 * (end - from)
	edits := s.edits(first)
	for i := range edits {
		e := &edits[i]
		e.start, e.end = seek(e.start), seek(e.end)
		switch {
		case e.quote == '&' && percent:
			if e.level++; !again {
				e.quote = 0
			}
		case e.quote != '"':
		case entities && e.level == 0:
			e.quote = '&'
		case entities:
			e.quote = 0
		case quoted:
			e.level++
		default:
			e.quote = 0
		}
	}
}

// unescape appends the unescaped form of t to dst. changed reports whether there was an escape.
func unescape(dst, t []byte, percent bool) (text []byte, changed bool) {
	for i := 0; i < len(t); {
		run := i
		for run < len(t) && t[run] != '\\' && t[run] != escapeByte && (t[run] != '%' && t[run] != '&' || !percent) {
			run++
		}
		dst = append(dst, t[i:run]...)
		if i = run; i == len(t) {
			break
		}
		r, width, n := escape(t[i:], percent)
		changed = changed || width > 1
		switch n {
		case 0:
		case 1:
			dst = append(dst, byte(r)) //nolint:gosec // one byte
		default:
			dst = utf8.AppendRune(dst, r)
		}
		i += width
	}
	return dst, changed
}

// escapeByte begins a control sequence, such as a colour (ECMA-48 section 5.4).
const escapeByte = 0x1b

// maxControl bounds the length of a control sequence, in bytes.
const maxControl = 32

// controlEnd returns the length of the control sequence at the beginning of t, which begins
// with ESC [, or 0 if it is not valid.
func controlEnd(t []byte) int {
	for i := 2; i < min(len(t), maxControl); i++ {
		if t[i] >= 0x40 && t[i] <= 0x7e {
			return i + 1
		}
		if t[i] < 0x20 || t[i] > 0x7e {
			break
		}
	}
	return 0
}

// escape reads the first character of t. It returns the character, its length in t, and the
// length of its unescaped form, both in bytes. The unescaped form of a terminal's control
// sequence is empty.
func escape(t []byte, percent bool) (r rune, width, n int) {
	switch c := t[0]; {
	case c == escapeByte && len(t) > 2 && t[1] == '[':
		if width = controlEnd(t); width > 0 {
			return 0, width, 0
		}
	case c == '%' && percent && len(t) > 2:
		if hi, lo := hexDigit(t[1]), hexDigit(t[2]); hi >= 0 && lo >= 0 {
			return hi<<4 | lo, 3, 1
		}
	case c == '&' && percent:
		if r, width = entity(t); width > 0 {
			return r, width, 1
		}
	case c != '\\' || len(t) == 1:
	default:
		switch t[1] {
		case '"', '\'', '`', '\\', '/':
			return rune(t[1]), 2, 1
		case 'n':
			return '\n', 2, 1
		case 'r':
			return '\r', 2, 1
		case 't':
			return '\t', 2, 1
		case '0':
			if hasPrefix(t[2:], "33") {
				return escapeByte, 4, 1
			}
		case 'x':
			if len(t) > 3 {
				if hi, lo := hexDigit(t[2]), hexDigit(t[3]); hi >= 0 && lo >= 0 {
					return hi<<4 | lo, 4, 1
				}
			}
		case 'u':
			return unicodeEscape(t)
		}
	}
	return rune(t[0]), 1, 1
}

// maxEntity is the greatest length of an entity in bytes, including leading zeros.
const maxEntity = 10

// entity reads the entity at the beginning of t, which begins with &. It returns an ASCII
// character and the length of the entity, or 0 if it is not a numeric reference to an ASCII
// character or one of lt, gt, quot, apos and amp.
func entity(t []byte) (r rune, width int) {
	stop := bytes.IndexByte(t[:min(len(t), maxEntity)], ';')
	if stop < 3 {
		return 0, 0
	}
	switch name := t[1:stop]; {
	case name[0] == '#':
		base, digits := rune(10), name[1:]
		if digits[0]|0x20 == 'x' {
			base, digits = 16, digits[1:]
		}
		if len(digits) == 0 {
			return 0, 0
		}
		for _, c := range digits {
			d := hexDigit(c)
			if d < 0 || d >= base {
				return 0, 0
			}
			if r = r*base + d; r >= utf8.RuneSelf {
				return 0, 0
			}
		}
	case isWord(name, "lt"):
		r = '<'
	case isWord(name, "gt"):
		r = '>'
	case isWord(name, "quot"):
		r = '"'
	case isWord(name, "apos"):
		r = '\''
	case isWord(name, "amp"):
		r = '&'
	default:
		return 0, 0
	}
	return r, stop + 1
}

// entityEnd returns the end of the entity at t[i], or 0 if there is none. An &amp; counts only
// if the & that it stands for begins another entity.
func entityEnd(t []byte, i, end int) int {
	r, width := entity(t[i:end])
	if width == 0 {
		return 0
	}
	if r == '&' {
		// The & may form another entity with the text that follows.
		var room [maxEntity]byte
		if _, more := entity(append(append(room[:0], '&'), t[i+width:min(end, i+width+maxEntity-1)]...)); more == 0 {
			return 0
		}
	}
	return i + width
}

// unicodeEscape reads the \uXXXX or the surrogate pair of two of them at the beginning of t. It
// returns the same as escape.
func unicodeEscape(t []byte) (r rune, width, n int) {
	r, width = hex4(t), 6
	if r < 0 {
		return '\\', 1, 1
	}
	if utf16.IsSurrogate(r) {
		low := rune(-1)
		if len(t) >= 12 && t[6] == '\\' && t[7] == 'u' {
			low = hex4(t[6:])
		}
		if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
			r, width = both, 12
		} else {
			r = utf8.RuneError
		}
	}
	return r, width, utf8.RuneLen(r)
}

// hex4 returns the value of the \uXXXX at the beginning of t, or -1.
func hex4(t []byte) rune {
	if len(t) < 6 {
		return -1
	}
	r := rune(0)
	for _, c := range t[2:6] {
		d := hexDigit(c)
		if d < 0 {
			return -1
		}
		r = r<<4 | d
	}
	return r
}
