package mask

import "bytes"

// maxNesting bounds how deep objects and arrays stand in one another; what is
// deeper is replaced. It is the number of bits that hold which is which.
const maxNesting = 64

// json masks the JSON value that begins at t[i], and returns where it ends. When
// it is no JSON, or no whole one, nothing is masked and end is where to look for
// JSON again.
//
// Strings are bounds: what looks like a key and its value in one is masked within
// it. White space and commas are checked, numbers loosely; duplicate keys are no
// concern, each value is masked.
func (s *scanner) json(t []byte, i int) (end int, ok bool) {
	r := jsonReader{scanner: s, t: t}
	from, start := s.n, i
	end, ok = r.read(i)
	s.work += end - start
	if !ok {
		s.n = from
		// The last string may be none: in {"a":"{"b":1}, whose quotes lack their
		// escapes, it is what stands between two. Its inside is looked at again, and
		// no more of it than once, as then its quote at the end is one that opens.
		if r.last != 0 {
			end = r.last
		}
	}
	return end, ok
}

// A jsonReader reads one JSON value without recursion.
type jsonReader struct {
	*scanner
	t       []byte
	depth   int
	objects uint64 // bit n: the n-th open bracket is an object's
	named   uint64 // bit n: that object has {"name": "password"}, so that its "value" is masked
	located uint64 // bit n: that object has "loc" with a sensitive key, so that its "input" is masked
	absent  uint64 // bit n: that object has "type": "missing", so that its "input" is what is around
	places  uint64 // bit n: the n-th open bracket is the array of a "loc"
	loc     bool   // the last key was "loc"
	kind    bool   // the last key was "type"
	first   bool   // an array has just been opened
	pair    bool   // the last value was "password", the first of an array in an array
	flag    bool   // the last string of an array was "--password"
	masked  bool   // the last key was sensitive
	member  bool   // the last key was "name", whose value may be
	last    int    // behind the opening quote of the last string, or behind a value that was skipped; 0 for none
	whole   bool   // the value is known to be whole JSON
	dry     bool   // only read
	torn    int    // where it showed that it is not
}

// read reads one value that begins at t[i]. It returns what [scanner.json] does.
func (r *jsonReader) read(i int) (int, bool) {
	var opened, done, ok bool
	start := i
	for {
		if !r.dry && r.spent() {
			return len(r.t), false
		}
		r.member, r.masked = false, false
		if r.depth > 0 && r.objects&1 != 0 {
			if i, ok = r.name(start, i); !ok {
				return i, false
			}
		}
		if i, opened, ok = r.value(start, i); !ok {
			return i, false
		}
		if opened {
			continue
		}
		if i, done, ok = r.after(i); done || !ok {
			return i, ok
		}
	}
}

// name reads a key of an object and its colon.
func (r *jsonReader) name(start, i int) (int, bool) {
	t := r.t
	i = skipSpace(t, i)
	if i == len(t) || t[i] != '"' {
		return i, false
	}
	end, seen := stringEnd(t, i+1)
	if r.last = i + 1; end < 0 {
		return ^end, false
	}
	r.masked, r.member = r.key(i+1, end, seen)
	if seen.needsScan() && !r.text(start, i+1, end) {
		return r.torn, false
	}
	if i = skipSpace(t, end+1); i == len(t) || t[i] != ':' {
		return i, false
	}
	return i + 1, true
}

// value reads a value, or the bracket that opens one that is not empty.
func (r *jsonReader) value(start, i int) (next int, opened, ok bool) {
	t := r.t
	if i = skipSpace(t, i); i == len(t) {
		return i, false, false
	}
	switch c := t[i]; {
	case r.masked || r.pair || r.flag && c == '"' || r.depth == maxNesting && (c == '{' || c == '['):
		i, ok = r.replace(i)
		return i, false, ok
	case c == '{' || c == '[':
		i, opened = r.open(i)
		return i, opened, true
	case c == '"':
		i, ok = r.string(start, i)
		return i, false, ok
	}
	end := literalEnd(t, i)
	if end < 0 {
		return i, false, false
	}
	r.flag, r.first = false, false
	return end, false, true
}

// replace masks a whole value.
func (r *jsonReader) replace(i int) (int, bool) {
	t := r.t
	r.flag, r.pair, r.first = false, false, false
	end := valueEnd(t, i)
	if end < 0 {
		r.last = 0
		return len(t), false
	}
	isString := t[i] == '"'
	if r.last = end; isString {
		r.last = i + 1
	}
	if !r.dry && (!isString || !replaced(t[i+1:end-1])) {
		r.maskAs(i, end, '"')
	}
	return end, true
}

// open reads the bracket that opens an object or an array, and the one that closes it
// when nothing stands between them.
func (r *jsonReader) open(i int) (next int, opened bool) {
	t, c := r.t, r.t[i]
	r.depth++
	r.objects <<= 1
	r.named <<= 1
	r.located <<= 1
	r.absent <<= 1
	r.places <<= 1
	if c == '{' {
		r.objects |= 1
	} else if r.loc {
		r.places |= 1
	}
	r.flag, r.loc, r.first = false, false, c == '['
	i = skipSpace(t, i+1)
	return i, i == len(t) || t[i] != c+2 // } is { plus 2, ] is [ plus 2
}

// string reads a string that is not masked as a whole.
func (r *jsonReader) string(start, i int) (int, bool) {
	t := r.t
	end, seen := stringEnd(t, i+1)
	if r.last = i + 1; end < 0 {
		return ^end, false
	}
	inObject := r.objects&1 != 0
	if r.kind && inObject && string(t[i+1:end]) == "missing" {
		r.absent |= 1
	}
	if r.member && !r.dry && r.words.sensitive(t[i+1:end]) {
		r.named |= 1
	}
	r.flag = !inObject && seen&escapes == 0 && r.isFlag(t[i+1:end])
	if !r.dry && !inObject && (r.places&1 != 0 || r.first && r.depth > 1 && r.objects&2 == 0) && r.words.sensitive(t[i+1:end]) {
		r.pair = r.places&1 == 0
		r.located |= r.places & 1 << 1
	}
	r.first = false
	if seen.needsScan() && !r.text(start, i+1, end) {
		return r.torn, false
	}
	return end + 1, true
}

// after reads what follows a value: brackets that close, and the comma before the next one.
// It is done when the outermost value has ended.
func (r *jsonReader) after(i int) (next int, done, ok bool) {
	t := r.t
	for {
		if r.depth == 0 {
			return i, true, true
		}
		if i = skipSpace(t, i); i == len(t) {
			return i, false, false
		}
		closing := byte(']')
		if r.objects&1 != 0 {
			closing = '}'
		}
		if t[i] != closing {
			break
		}
		i++
		r.depth--
		r.objects >>= 1
		r.named >>= 1
		r.located >>= 1
		r.absent >>= 1
		r.places >>= 1
		r.flag, r.pair, r.first = false, false, false
	}
	return i + 1, false, t[i] == ','
}

// key reports whether the value of the key t[i:end] is masked, and whether it is
// itself the name of another member's value, as in {"name": "password", "value": "x"}.
func (r *jsonReader) key(i, end int, seen class) (masked, member bool) {
	if r.dry {
		return false, false
	}
	key := r.t[i:end]
	if seen&escapes != 0 && bytes.IndexByte(key, '\\') >= 0 {
		var room [64]byte
		key, _ = unescape(room[:0], key, false)
	}
	r.loc, r.kind = string(key) == "loc", string(key) == "type"
	switch string(key) {
	case "input":
		return r.located&^r.absent&1 != 0, false
	case "name", "key", "Name", "Key":
		return false, true
	case "value", "Value":
		return r.named&1 != 0, false
	}
	return r.words.sensitive(key), false
}

// isFlag reports whether a string of an array is the name of a flag whose value
// is the next string, as in ["--password", "x"].
func (r *jsonReader) isFlag(text []byte) bool {
	return !r.dry && len(text) > 2 && text[0] == '-' && r.words.sensitive(bytes.TrimLeft(text, "-"))
}

// text masks the inside t[i:end] of a string of the value that begins at start.
// It reports whether that value can still be JSON.
func (r *jsonReader) text(start, i, end int) bool {
	if r.dry {
		return true
	}
	if bytes.IndexByte(r.t[i:end], '\\') < 0 {
		r.line(r.t[:end], i, end)
		return true
	}
	// Reading an escaped text is much work. It is done twice when the value turns
	// out to be no JSON but text; if so at each level of strings in strings, it
	// would be too much: within one it is first made sure that this is JSON.
	if !r.whole && r.scanner.depth > 0 {
		dry := jsonReader{t: r.t, dry: true}
		r.torn, r.whole = dry.read(start)
		if r.work += r.torn - start; !r.whole {
			r.last = dry.last
			return false
		}
	}
	r.view(r.t, i, end, false)
	return true
}

// stringEnd returns where the string that begins at t[i], behind its quote, ends:
// the place of the other quote, or ^i for none up to i. It tells which classes of bytes are in it.
func stringEnd(t []byte, i int) (end int, seen class) {
	for i < len(t) {
		c := classes[t[i]]
		seen |= c
		if c&endsRun != 0 {
			switch t[i] {
			case '"':
				return i, seen
			case '\n': // no JSON; a line that was torn ends here
				return ^i, seen
			}
			i++
		}
		i++
	}
	return ^len(t), seen
}

// valueEnd returns the end of the JSON value at t[i], which need not be right
// inside, or -1.
func valueEnd(t []byte, i int) int {
	depth := 0
	for i < len(t) {
		switch c := t[i]; c {
		case '"':
			end, _ := stringEnd(t, i+1)
			if end < 0 {
				return -1
			}
			i = end + 1
		case '{', '[':
			depth++
			i++
		case '}', ']':
			if depth--; depth < 0 {
				return -1
			}
			i++
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return -1
			}
			i++
			continue
		default:
			if i = literalEnd(t, i); i < 0 {
				return -1
			}
		}
		if depth <= 0 {
			return i
		}
	}
	return -1
}

// literalEnd returns the end of the number, true, false or null at t[i], or -1.
func literalEnd(t []byte, i int) int {
	switch c := t[i]; {
	case c == '-' || isDigit(c):
		for i++; i < len(t) && (isDigit(t[i]) || t[i] == '.' || t[i]|0x20 == 'e' || t[i] == '+' || t[i] == '-'); i++ {
		}
	case c == 't' && hasPrefix(t[i:], "true"), c == 'n' && hasPrefix(t[i:], "null"):
		i += 4
	case c == 'f' && hasPrefix(t[i:], "false"):
		i += 5
	case c == 'N' && hasPrefix(t[i:], "NaN"): // Python writes it
		i += 3
	default:
		return -1
	}
	if i < len(t) && isAlnum(t[i]) {
		return -1
	}
	return i
}

func skipSpace(t []byte, i int) int {
	for i < len(t) && isSpace(t[i]) {
		i++
	}
	return i
}

func hasPrefix(t []byte, prefix string) bool {
	return len(t) >= len(prefix) && string(t[:len(prefix)]) == prefix
}

// replaced reports whether the content of a string has been masked before.
func replaced(t []byte) bool {
	n := len(t) - len(Replacement)
	return n == 0 && string(t) == Replacement ||
		n > 1 && string(t[n:]) == Replacement && t[n-1] == ' ' && knownScheme(t[:n-1])
}
