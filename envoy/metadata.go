package envoy

import (
	"slices"
	"strings"
	"unicode/utf8"

	"warder/authz"
)

// metadata describes the decision for Envoy's access log and later filters. Its values are in
// the order of [metadataKeys]. It does not leave Envoy. Empty values are omitted.
//
// It is sent as a value for each key, or as a summary: one value with the key [summaryKey] such as
// "decision=allow reason=session user=42". Envoy copies and encodes every value several times for
// each request, whatever its length, so a summary costs it much less.
type metadata [len(metadataKeys)]string

// metadataNamespace is the namespace in which Envoy stores the metadata.
const metadataNamespace = "envoy.filters.http.ext_authz"

// metadataKeys are the names of the metadata under [metadataNamespace].
var metadataKeys = [...]string{"decision", "reason", "route", "user", "auth_method", "key_prefix", "client_ip"}

// summaryKey is the name of the metadata of a summary.
const summaryKey = "summary"

func metadataOf(d authz.Decision) metadata {
	client := ""
	if d.ClientIP().IsValid() {
		client = d.ClientIP().String()
	}
	who := d.Principal()
	about := metadata{d.Verdict(), d.Reason().String(), d.Route(), who.UserID, who.Method.String(), who.KeyPrefix, client}
	for i, value := range about {
		// Envoy could not decode the message if a value were not valid UTF-8.
		about[i] = strings.ToValidUTF8(value, "\uFFFD")
	}
	return about
}

// valid reports whether Envoy can decode the metadata.
func (m *metadata) valid() bool {
	return !slices.ContainsFunc(m[:], func(value string) bool { return !utf8.ValidString(value) })
}

// summarizable reports whether the metadata can be read from its summary.
func (m *metadata) summarizable() bool {
	return !slices.ContainsFunc(m[:], func(value string) bool { return strings.Contains(value, " ") })
}

// appendTo appends a value for each key.
func (m *metadata) appendTo(b []byte) []byte {
	size := 0
	for i, value := range m {
		if value != "" {
			size += sizeMessage(structFields, sizeEntry(metadataKeys[i], len(value)))
		}
	}
	b = appendMessage(b, responseMetadata, size)
	for i, value := range m {
		if value != "" {
			b = appendEntry(b, metadataKeys[i], len(value))
			b = append(b, value...)
		}
	}
	return b
}

// appendSummary appends the summary.
func (m *metadata) appendSummary(b []byte) []byte {
	size := 0
	for i, value := range m {
		if value != "" {
			size += len(" ") + len(metadataKeys[i]) + len("=") + len(value)
		}
	}
	size = max(0, size-len(" ")) // none before the first
	b = appendMessage(b, responseMetadata, sizeMessage(structFields, sizeEntry(summaryKey, size)))
	b = appendEntry(b, summaryKey, size)
	start := len(b)
	for i, value := range m {
		if value == "" {
			continue
		}
		if len(b) > start {
			b = append(b, ' ')
		}
		b = append(b, metadataKeys[i]...)
		b = append(b, '=')
		b = append(b, value...)
	}
	return b
}

// appendEntry appends the beginning of an entry of a Struct. The caller appends the bytes of its
// value.
func appendEntry(b []byte, key string, valueSize int) []byte {
	b = appendMessage(b, structFields, sizeEntry(key, valueSize))
	b = appendText(b, entryKey, key)
	b = appendMessage(b, entryValue, sizeMessage(valueString, valueSize))
	return appendMessage(b, valueString, valueSize)
}

func sizeEntry(key string, valueSize int) int {
	return sizeText(entryKey, key) + sizeMessage(entryValue, sizeMessage(valueString, valueSize))
}

// readSummary sets the values that a summary has. It ignores other keys.
func (m *metadata) readSummary(text string) {
	for pair := range strings.SplitSeq(text, " ") {
		if key, value, found := strings.Cut(pair, "="); found {
			m.set(key, value)
		}
	}
}

// set sets the value of a key. It ignores other keys.
func (m *metadata) set(key, value string) {
	if i := slices.Index(metadataKeys[:], key); i >= 0 {
		m[i] = value
	}
}
