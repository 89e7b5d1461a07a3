package mask

import (
	"bytes"
	"errors"
	"io"
)

// cutMark stands at the end of what was kept of a line over MaxLine bytes.
const cutMark = "…(cut)"

// batch is the length in bytes from which masked lines are written on while a
// Write is still under way.
const batch = 64 << 10

var errClosed = errors.New("mask: write to a closed Writer")

// A Writer masks a stream, line by line, in bounded memory: a line over [MaxLine]
// bytes is cut. Complete lines are written on at the end of each Write, in few
// writes. A Writer must not be used by several goroutines at once.
type Writer struct {
	w      io.Writer
	masker *Masker
	form   form // what earlier lines leave for the next

	held    []byte // the line that has begun, or the JSON that has begun
	shown   []byte // of which Flush has written so much, masked
	out     []byte // masked, to be written
	err     error
	cutting bool // the rest of the line is discarded
	cr      bool // the last byte that was discarded is a carriage return

	json    *openJSON // nil: line by line
	counted int       // bytes of held that are lines of open JSON
	inJSON  bool      // what is discarded is JSON that goes on over lines
	atStart bool      // what is discarded next is the beginning of a line of it
}

// NewWriter returns a writer that masks what is written to it and writes it to w.
func NewWriter(w io.Writer, m *Masker) *Writer { return &Writer{w: w, masker: m} }

// NewJSONWriter is NewWriter for streams that hold JSON over several lines: a
// JSON value that begins a line is held back until it is whole, and masked as one.
func NewJSONWriter(w io.Writer, m *Masker) *Writer {
	return &Writer{w: w, masker: m, json: &openJSON{}}
}

// Write masks p. It keeps the line that p ends in the middle of, and returns the
// first error of the underlying writer, also in all later calls.
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

// Flush writes what is held back, masked as the text that it is so far. What
// follows is still masked as the rest of it.
func (w *Writer) Flush() error {
	if w.err == nil && len(w.held) > 0 && !w.cutting {
		next := w.form
		w.show(w.mask(nil, w.held, &next), false)
		w.send()
	}
	return w.err
}

// Close writes what is held back. It does not close the underlying writer.
func (w *Writer) Close() error {
	if errors.Is(w.err, errClosed) {
		return nil
	}
	err := w.Flush()
	w.err = errClosed
	w.held, w.shown, w.out = nil, nil, nil
	return err
}

// take takes a part of a line, or its end.
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
		w.out = w.mask(w.out, part, &w.form)
	default:
		w.held = append(w.held, part...)
		if whole {
			w.line()
		}
	}
}

// tooLong reports whether more is held with part than MaxLine bytes, without
// counting the end of the line.
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

// line decides what becomes of a line that is held whole.
func (w *Writer) line() {
	if w.json == nil {
		w.finish()
		return
	}
	if line := w.held[w.counted:]; w.counted > 0 && !w.json.goesOn(line) {
		// The JSON was none, and this line is of something else.
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

// finish masks what is held and writes it on.
func (w *Writer) finish() {
	if len(w.shown) == 0 {
		w.out = w.mask(w.out, w.held, &w.form)
	} else {
		w.show(w.mask(nil, w.held, &w.form), true)
	}
	w.held, w.counted = w.held[:0], 0
}

// show writes a masked text on, of which Flush may have written the beginning. It
// may have written something else too: then what differs is written once more.
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

// maxWord is how far back a line is cut to the end of a word.
const maxWord = 4 << 10

// cut writes what is held of a line that is too long, but for its last word,
// which may be one half of a secret whose shape shows only in the other.
func (w *Writer) cut() {
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
	masked := w.mask(nil, w.held[:keep], &w.form)
	w.show(append(masked, cutMark...), true)
	w.held, w.counted = w.held[:0], 0
	w.cutting, w.cr, w.atStart = true, false, false
}

// discard drops the rest of a line that was cut, and of the JSON that it is in.
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

// mask masks text that goes on where f is. The end of its last line is kept
// whatever the text.
func (w *Writer) mask(dst, text []byte, f *form) []byte {
	n := len(text)
	if n > 0 && text[n-1] == '\n' {
		if n--; n > 0 && text[n-1] == '\r' {
			n--
		}
	}
	s := scanner{words: w.masker.list(), form: *f, before: *f}
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
