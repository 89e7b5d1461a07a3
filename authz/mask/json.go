package mask

import "bytes"

// maxNesting is the greatest nesting depth of objects and arrays. Deeper values are replaced.
// It is the number of bits in the sets of jsonReader.
const maxNesting = 64

// json masks the JSON value that begins at t[i] and returns its end. If it is not JSON, or
// not complete, json masks nothing, and end is where to look for JSON again.
//
// A secret in a string is masked without affecting the rest of the value. White space and
// commas are checked, numbers only roughly. The values of duplicate keys are all masked.
func (s *scanner) json(t []byte, i int) (end int, ok bool) {
	r := jsonReader{scanner: s, t: t}
	from, start := s.n, i
	end, ok = r.read(i)
	s.work += end - start
	if r.late {
		s.merge(from)
	}
	if !ok {
		s.n = from
		// In {"a":"{"b":1}, whose inner quotes are not escaped, the last string is in fact
		// the text between two strings. Look for JSON in it. This happens only once, as the
		// quote at its end is then an opening one.
		if r.last != 0 {
			end = r.last
		}
	}
	return end, ok
}

// A jsonReader reads one JSON value without recursion.
type jsonReader struct {
	*scanner
	t     []byte
	depth int

	// Sets of open brackets. Bit 0 is the innermost one.
	objects uint64 // the bracket is that of an object
	named   uint64 // the object has "name": "password", so its "value" is masked
	located uint64 // the object has a "loc" with a sensitive key, so its "input" is masked
	absent  uint64 // the object has "type": "missing", so its "input" is the surrounding object
	places  uint64 // the bracket is that of the array of a "loc"

	loc    bool // the last key was "loc"
	kind   bool // the last key was "type"
	first  bool // an array has just been opened
	pair   bool // the last value was "password", the first element of an array in an array
	flag   bool // the last value was "--password" in an array
	masked bool // the last key was sensitive
	weak   mark // the mark of that key, if its value may be a switch
	valued bool // the last key was "value", whose "name" may come after it
	header bool // the last key was "rawHeaders"
	names  bool // in an array of names and values in turn; see raw
	raw    int  // the depth of that array; 0 for none
	tool   *tool
	login  bool // after the string "login", for tools
	late   bool // a value was masked after its name was read, so that the edits are not in order
	member bool // the last key was "name", whose value may be a sensitive key
	last   int  // the position after the opening quote of the last string, or after a skipped value; 0 for none
	whole  bool // the value is known to be complete JSON
	dry    bool // only read, without masking
	torn   int  // where the value turned out not to be JSON

	// values has where the value of "value" begins in the innermost open objects, for a "name"
	// after it. The index is the depth modulo its length; at is the depth itself.
	values [4]struct{ start, at int }
}

// read reads the value that begins at t[i]. It returns the same as [scanner.json].
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

// name reads a key of an object and the colon.
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
	if seen.needsScan(end-i-1) && !r.text(start, i+1, end) {
		return r.torn, false
	}
	if i = skipSpace(t, end+1); i == len(t) || t[i] != ':' {
		return i, false
	}
	if r.valued {
		slot := &r.values[r.depth%len(r.values)]
		slot.start, slot.at = i+1, r.depth
	}
	return i + 1, true
}

// value reads a value, or only the opening bracket of a nonempty object or array.
func (r *jsonReader) value(start, i int) (next int, opened, ok bool) {
	t := r.t
	if i = skipSpace(t, i); i == len(t) {
		return i, false, false
	}
	if r.weak != 0 && isSwitch(valueWord(t, i, min(len(t), i+maxSwitch+2)), r.weak&panEnds != 0) {
		r.masked = false
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
	r.flag, r.first, r.names = false, false, false
	return end, false, true
}

// replace masks a whole value.
func (r *jsonReader) replace(i int) (int, bool) {
	t := r.t
	r.flag, r.pair, r.first = false, false, false
	r.names = r.raw > 0 && r.raw == r.depth // a name comes next
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

// open reads the opening bracket of an object or an array. opened is false if the closing
// bracket follows.
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
	r.values[r.depth%len(r.values)].at = 0
	if r.names = false; c == '[' && r.header {
		r.raw, r.names = r.depth, true
	}
	r.header, r.tool, r.login = false, nil, false
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
		r.earlier()
	}
	r.flag = !inObject && seen&escapes == 0 && r.isFlag(t[i+1:end])
	if r.raw == r.depth && r.raw > 0 && !r.dry {
		r.flag = r.names && r.words.sensitive(t[i+1:end])
		r.names = !r.names
	}
	if !r.dry && !inObject && (r.places&1 != 0 || r.first && r.depth > 1 && r.objects&2 == 0) && r.words.sensitive(t[i+1:end]) {
		r.pair = r.places&1 == 0
		r.located |= r.places & 1 << 1
	}
	r.first = false
	if seen.needsScan(end-i-1) && !r.text(start, i+1, end) {
		return r.torn, false
	}
	return end + 1, true
}

// after reads closing brackets and the comma after a value. done means that the outermost
// value has ended.
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
		if r.raw > r.depth {
			r.raw = 0
		}
	}
	return i + 1, false, t[i] == ','
}

// key reports whether the value of the key t[i:end] must be masked, and whether that value may
// itself be a key, as in {"name": "password", "value": "x"}.
func (r *jsonReader) key(i, end int, seen class) (masked, member bool) {
	if r.dry {
		return false, false
	}
	key := r.t[i:end]
	if seen&escapes != 0 && bytes.IndexByte(key, '\\') >= 0 {
		var room [64]byte
		key, _ = unescape(room[:0], key, false)
	}
	r.loc, r.kind, r.weak, r.header, r.valued = false, false, 0, false, false
	if m := r.words.find(key, 0, len(key), wholeKey); m != 0 {
		r.weak = m & weakEnds
		if r.weak != 0 {
			r.weak |= m & panEnds
		}
		return true, false
	}
	switch string(key) {
	case "input":
		return r.located&^r.absent&1 != 0, false
	case "loc":
		r.loc = true
	case "type":
		r.kind = true
	case "name", "key", "Name", "Key", "field", "header", "attribute", "property", "variable", "param", "parameter", "k":
		return false, true
	case "value", "Value", "values", "val", "v", "stringValue", "string_value":
		r.valued = r.named&1 == 0
		return !r.valued, false
	case "rawHeaders", "raw_headers", "rawTrailers":
		r.header = true
	}
	return false, false
}

// earlier masks the "value" of the innermost object, which stands before its "name".
func (r *jsonReader) earlier() {
	slot := &r.values[r.depth%len(r.values)]
	if slot.at != r.depth {
		return
	}
	start := skipSpace(r.t, slot.start)
	slot.at = 0
	end := valueEnd(r.t, start)
	if end < 0 {
		return
	}
	r.work += end - start
	if r.t[start] != '"' || !replaced(r.t[start+1:end-1]) {
		r.maskAs(start, end, '"')
		r.late = true
	}
}

// isFlag reports whether a string in an array is a sensitive flag, whose value is the next
// string, as in ["--password", "x"].
func (r *jsonReader) isFlag(text []byte) bool {
	if r.dry || len(text) < 2 {
		return false
	}
	if text[0] == '-' {
		if len(text) == 2 { // ["redis-cli", "-a", "x"]
			return r.tool != nil && r.tool.flag == text[1] && r.tool.apart && (r.tool.needs == "" || r.login)
		}
		return r.words.sensitive(bytes.TrimLeft(text, "-"))
	}
	if found := toolOf(text); found != nil {
		r.tool, r.login = found, false
	} else if string(text) == "login" {
		r.login = true
	}
	return false
}

// text masks secrets in the contents t[i:end] of a string. The outermost value begins at start.
// text reports whether that value can still be JSON.
func (r *jsonReader) text(start, i, end int) bool {
	if r.dry {
		return true
	}
	if bytes.IndexByte(r.t[i:end], '\\') < 0 {
		r.line(r.t[:end], i, end)
		return true
	}
	// An escaped text is expensive to read, and it is read again if the value turns out not to
	// be JSON. With nested strings that could happen at each level. So inside a string, first
	// make sure that the value is JSON.
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

// stringEnd returns the index of the closing quote of the string whose contents begin at t[i],
// or ^n if there is none before n. seen is the union of the classes of its bytes.
func stringEnd(t []byte, i int) (end int, seen class) {
	for i < len(t) {
		c := classes[t[i]]
		seen |= c
		if c&endsRun != 0 {
			switch t[i] {
			case '"':
				return i, seen
			case '\n': // not JSON; the end of a truncated line
				return ^i, seen
			}
			i++
		}
		i++
	}
	return ^len(t), seen
}

// valueEnd returns the end of the JSON value at t[i], or -1. It does not check the contents.
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
	case c == 'N' && hasPrefix(t[i:], "NaN"): // written by Python
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

// replaced reports whether the contents of a string have been masked already.
func replaced(t []byte) bool {
	n := len(t) - len(Replacement)
	return n == 0 && string(t) == Replacement ||
		n > 1 && string(t[n:]) == Replacement && t[n-1] == ' ' && knownScheme(t[:n-1])
}
