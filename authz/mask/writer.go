package mask

import (
	"bytes"
	"errors"
	"io"
)

// cutMark marks the end of a truncated line.
const cutMark = "…(cut)"

// batch is the number of bytes of masked lines after which a Write passes them on before it
// ends.
const batch = 64 << 10

var errClosed = errors.New("mask: write to a closed Writer")

// A Writer masks a stream line by line. It uses bounded memory: lines of more than [MaxLine]
// bytes are truncated. Complete lines are written at the end of each Write, in few calls of
// the underlying writer. A Writer is not safe for concurrent use.
type Writer struct {
	w      io.Writer
	masker *Masker
	form   form // state from earlier lines

	ahead   []byte // complete line before held with a value, whose name may be in the next line
	held    []byte // incomplete line or JSON value
	shown   []byte // the masked part of held that Flush has written
	out     []byte // masked text to be written
	err     error
	cutting bool // the rest of the line is being discarded
	cr      bool // the last discarded byte is a carriage return

	json    *openJSON // nil for a Writer without JSON over several lines
	counted int       // number of bytes of held that are complete lines of open JSON
	inJSON  bool      // the discarded text is JSON that continues over several lines
	atStart bool      // the next discarded byte is at the beginning of a line of that JSON
}

// NewWriter returns a Writer that writes masked text to w.
func NewWriter(w io.Writer, m *Masker) *Writer { return &Writer{w: w, masker: m} }

// NewJSONWriter is like [NewWriter], for streams with JSON values that span several lines. A
// JSON value that begins a line is held until it is complete and masked as a whole.
func NewJSONWriter(w io.Writer, m *Masker) *Writer {
	return &Writer{w: w, masker: m, json: &openJSON{}}
}

// Write masks p. It holds an incomplete line at the end of p. After an error of the underlying
// writer, it returns that error from every call.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	for rest := p; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n') + 1
		whole := n > 0
		if !whole {
			n = len(rest)
		}
		w.take(rest[:n], whole)
		rest = rest[n:]
		if len(w.out) >= batch {
			w.send()
		}
	}
	w.send()
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// Flush masks and writes the text that is held. Later text is masked as its continuation.
func (w *Writer) Flush() error {
	if w.err == nil && len(w.ahead) > 0 {
		w.release(nil)
		w.send()
	}
	if w.err == nil && len(w.held) > 0 && !w.cutting {
		next := w.form
		w.show(w.mask(nil, w.held, nil, &next), false)
		w.send()
	}
	return w.err
}

// Close writes the text that is held. It does not close the underlying writer.
func (w *Writer) Close() error {
	if errors.Is(w.err, errClosed) {
		return nil
	}
	err := w.Flush()
	w.err = errClosed
	w.ahead, w.held, w.shown, w.out = nil, nil, nil, nil
	return err
}

// take handles a part of a line. whole means that the part ends the line.
func (w *Writer) take(part []byte, whole bool) {
	switch {
	case w.cutting:
		w.discard(part, whole)
	case w.tooLong(part):
		room := max(0, MaxLine-len(w.held))
		w.held = append(w.held, part[:room]...)
		w.cut()
		w.discard(part[room:], whole)
	case len(w.held) == 0 && whole && (w.json == nil || !w.json.opens(part)):
		w.complete(part)
	default:
		w.held = append(w.held, part...)
		if whole {
			w.line()
		}
	}
}

// tooLong reports whether held and part together have more than MaxLine bytes, not counting
// the line end.
func (w *Writer) tooLong(part []byte) bool {
	n := len(w.held) + len(part)
	if n <= MaxLine {
		return false
	}
	if part[len(part)-1] == '\n' {
		n--
		part = part[:len(part)-1]
	}
	if len(part) == 0 {
		part = w.held
	}
	if part[len(part)-1] == '\r' { // \n may follow
		n--
	}
	return n > MaxLine
}

// line handles a complete line in held.
func (w *Writer) line() {
	if w.json == nil {
		w.finish()
		return
	}
	if line := w.held[w.counted:]; w.counted > 0 && !w.json.goesOn(line) {
		// It was not JSON, and this line is not part of it.
		line = bytes.Clone(line)
		w.held = w.held[:w.counted]
		w.finish()
		w.held = append(w.held, line...)
	}
	open := false
	if w.counted > 0 {
		open = w.json.read(w.held[w.counted:])
	} else {
		open = w.json.opens(w.held)
	}
	if open {
		w.counted = len(w.held)
		return
	}
	w.finish()
}

// finish masks the held text and adds it to the output.
func (w *Writer) finish() {
	if len(w.shown) == 0 {
		w.complete(w.held)
	} else {
		w.show(w.mask(nil, w.held, nil, &w.form), true)
	}
	w.held, w.counted = w.held[:0], 0
}

// complete masks a complete line, or waits for the line after it.
func (w *Writer) complete(line []byte) {
	w.release(line)
	f := w.form
	if f.state != formNone {
		f.hides(bytes.TrimRight(line, "\r\n"))
	}
	if f.state == formNone && waits(line, f.pair) {
		w.ahead = append(w.ahead, line...)
		return
	}
	w.out = w.mask(w.out, line, nil, &w.form)
}

// release masks the line that waits for next.
func (w *Writer) release(next []byte) {
	if len(w.ahead) > 0 {
		if end := lineEnd(next, 0); end < len(next) {
			next = next[:end]
		}
		w.out = w.mask(w.out, w.ahead, bytes.TrimSuffix(next, []byte("\r")), &w.form)
		w.ahead = w.ahead[:0]
	}
}

// show adds masked to the output, except for the beginning that Flush has written already. If
// Flush has written something different, the text from the first difference on is written
// again.
func (w *Writer) show(masked []byte, last bool) {
	same := 0
	for same < len(masked) && same < len(w.shown) && masked[same] == w.shown[same] {
		same++
	}
	w.out = append(w.out, masked[same:]...)
	if w.shown = masked; last {
		w.shown = nil
	}
}

// maxWord is the greatest number of bytes removed to truncate a line at the end of a word.
const maxWord = 4 << 10

// cut writes the held part of a line that is too long, without its last word, which may be a
// part of a secret that is recognized only as a whole.
func (w *Writer) cut() {
	w.release(nil)
	w.held = w.held[:MaxLine]
	switch {
	case w.json == nil:
	case w.counted > 0:
		w.inJSON = w.json.read(w.held[w.counted:])
	default:
		w.inJSON = w.json.opens(w.held)
	}
	keep := len(w.held)
	for keep > len(w.held)-maxWord && w.held[keep-1] > ' ' {
		keep--
	}
	masked := w.mask(nil, w.held[:keep], nil, &w.form)
	w.show(append(masked, cutMark...), true)
	w.held, w.counted = w.held[:0], 0
	w.cutting, w.cr, w.atStart = true, false, false
}

// discard drops the rest of a truncated line, and of the JSON value that the line is part of.
func (w *Writer) discard(part []byte, whole bool) {
	if w.inJSON {
		if w.atStart && !w.json.goesOn(part) {
			w.endCut()
			w.take(part, whole)
			return
		}
		w.atStart = whole
		if w.inJSON = w.json.read(part); w.inJSON && whole {
			return
		}
	}
	if n := len(part); !whole {
		w.cr = n > 0 && part[n-1] == '\r'
		return
	} else if n > 1 {
		w.cr = part[n-2] == '\r'
	}
	w.endCut()
}

func (w *Writer) endCut() {
	if w.cr {
		w.out = append(w.out, '\r')
	}
	w.out = append(w.out, '\n')
	w.cutting, w.inJSON = false, false
}

// mask masks text in the state f, which it updates, and keeps the last line end. The line ahead
// comes after the text.
func (w *Writer) mask(dst, text, ahead []byte, f *form) []byte {
	n := len(text)
	if n > 0 && text[n-1] == '\n' {
		if n--; n > 0 && text[n-1] == '\r' {
			n--
		}
	}
	s := scanner{words: w.masker.list(), form: *f, before: *f, ahead: ahead}
	dst = s.append(dst, text[:n])
	*f = s.form
	return append(dst, text[n:]...)
}

// send writes the masked lines to the underlying writer.
func (w *Writer) send() {
	if len(w.out) == 0 {
		return
	}
	if w.err == nil {
		n, err := w.w.Write(w.out)
		if err == nil && n < len(w.out) {
			err = io.ErrShortWrite
		}
		w.err = err
	}
	if w.out = w.out[:0]; cap(w.out) > 4*batch+MaxLine {
		w.out = nil
	}
}
