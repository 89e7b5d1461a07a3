package mask

type form struct{}

func (s *scanner) lines(t []byte) {}

func (w *words) sensitive(key []byte) bool { return w.find(key, 0, len(key), false) != 0 }

// Header masks the value of a header field of the given name.
func (m *Masker) Header(name, value string) string { return m.String(value) }

// Query masks a path or URL with a query.
func (m *Masker) Query(s string) string { return m.String(s) }
