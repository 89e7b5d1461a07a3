package mask

import "bytes"

// MaxLine is the length in bytes from which a [Writer] cuts a line.
const MaxLine = 1 << 20

// A Masker knows which keys are sensitive. Immutable, safe for concurrent use. A
// nil *Masker and the zero Masker mask with the built-in list.
type Masker struct {
	words *words // nil: the built-in ones
}

// NewMasker returns a masker that knows the given keys besides the built-in ones.
func NewMasker(keys ...string) (*Masker, error) {
	if len(keys) == 0 {
		return &Masker{}, nil
	}
	w, err := configuredWords(keys)
	if err != nil {
		return nil, err
	}
	return &Masker{w}, nil
}

func (m *Masker) list() *words {
	if m == nil || m.words == nil {
		return builtinWords
	}
	return m.words
}

// SensitiveKey reports whether the value of a key is masked.
func (m *Masker) SensitiveKey(key string) bool {
	return m.list().sensitive([]byte(key))
}

// String masks text that may span several lines. It returns s itself when there
// is nothing to mask.
func (m *Masker) String(s string) string {
	t := []byte(s)
	masked := m.Bytes(t)
	if bytes.Equal(masked, t) {
		return s
	}
	return string(masked)
}

// Bytes is String for bytes. It never changes b.
func (m *Masker) Bytes(b []byte) []byte {
	s := scanner{words: m.list()}
	s.lines(b)
	if s.n == 0 {
		return b
	}
	return s.settle(nil, b)
}

// Append appends the masked text to dst. It allocates nothing when dst has room
// and the line holds nothing exotic.
func (m *Masker) Append(dst, line []byte) []byte {
	s := scanner{words: m.list()}
	return s.append(dst, line)
}
