package mask

import "strings"

// Header masks the value of the header field name. The value of a sensitive name is replaced,
// except for the scheme of an Authorization field. Other values are masked as text.
func (m *Masker) Header(name, value string) string {
	w := m.list()
	mark := w.find([]byte(name), 0, len(name), wholeKey)
	switch {
	case mark == 0:
		return m.String(value)
	case value == "" || replaced([]byte(value)):
		return value
	case mark&weakEnds != 0 && isSwitch([]byte(value), mark&panEnds != 0): // Access-Control-Allow-Credentials: true
		return value
	case mark&authEnds != 0:
		v := []byte(value)
		if n := schemeEnd(v, 0, len(v)); n != 0 && strings.TrimSpace(value[n:]) != "" {
			return value[:n] + " " + Replacement
		}
	}
	return Replacement
}

// Query masks a path or URL with a query. It replaces the values of sensitive keys, and keys
// and values that contain a secret themselves, such as JSON or another query. Everything else
// is kept byte for byte. It returns s itself if nothing changed.
func (m *Masker) Query(s string) string {
	cut := strings.IndexAny(s, "?#")
	if cut < 0 {
		return m.String(s)
	}
	var b strings.Builder
	b.WriteString(m.String(s[:cut]))
	for rest := s[cut:]; rest != ""; {
		b.WriteByte(rest[0]) // ? & ; or #
		pair := rest[1:]
		end := strings.IndexAny(pair, "&;#?")
		if end < 0 {
			end = len(pair)
		}
		key, value, found := strings.Cut(pair[:end], "=")
		if name, _ := unescape(nil, []byte(strings.ReplaceAll(key, "+", " ")), true); found && (m.SensitiveKey(string(name)) || m.list().inQuery(name, 0, len(name)) && len(value) >= leastQueryValue(name)) {
			// The value ends at the next &. Other readers may also split it at ; or ?.
			if end = strings.IndexAny(pair, "&#"); end < 0 {
				end = len(pair)
			}
			if value = pair[len(key)+1 : end]; value != "" {
				value = Replacement
			}
		} else {
			if m.hides(key) {
				key = Replacement
			}
			if m.hides(value) {
				value = Replacement
			}
		}
		b.WriteString(key)
		if found {
			b.WriteByte('=')
			b.WriteString(value)
		}
		rest = pair[end:]
	}
	if b.String() == s {
		return s
	}
	return b.String()
}

// hides reports whether a key or value of a query contains a secret.
func (m *Masker) hides(text string) bool {
	if text == "" {
		return false
	}
	return m.String(text) != text || strings.ContainsRune(text, '+') && m.hides(strings.ReplaceAll(text, "+", " "))
}
