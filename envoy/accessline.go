package envoy

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"warder/authz/mask"
)

// A lineWriter writes one line at a time. It reuses its buffers for the next line.
type lineWriter struct {
	to      *AccessLog
	entry   accessEntry // of the line
	text    bytes.Buffer
	encoder *json.Encoder // writes to text
	names   []string
	before  string // what comes before the next name
	masked  []byte
}

// maxLineKept bounds the buffers that a lineWriter keeps after an unusually large line.
const maxLineKept = 64 << 10

func newLineWriter(to *AccessLog) *lineWriter {
	w := &lineWriter{to: to}
	w.encoder = json.NewEncoder(&w.text)
	w.encoder.SetEscapeHTML(false)
	return w
}

// write writes the line of the entry.
func (w *lineWriter) write() error {
	w.line()
	w.masked = w.to.mask.Append(w.masked[:0], w.text.Bytes())
	_, err := w.to.lines.Write(w.masked)
	if w.text.Cap() > maxLineKept {
		w.text = bytes.Buffer{}
	}
	if cap(w.masked) > maxLineKept {
		w.masked = nil
	}
	return err
}

// line converts the entry to a line of JSON in w.text. Empty fields are omitted, except for the
// method, the path, the status and the duration. Values that are known to be URLs are masked as
// URLs.
func (w *lineWriter) line() {
	e := &w.entry
	w.text.Reset()
	w.before = `{"`
	if e.started.known { // when the request began, in UTC
		w.field("time", e.started.time().Format(time.RFC3339Nano))
	}
	w.field("log", "access")
	w.field("method", methodName(e.method))
	w.name("path")
	w.string(w.url(e.path))
	w.name("status") // 0 if the client left before there was one
	w.text.Write(strconv.AppendUint(w.text.AvailableBuffer(), uint64(e.status), 10))
	w.field("flags", flagText(e.flags))
	w.field("details", begin(e.details))
	w.name("duration_ms")
	w.text.Write(strconv.AppendFloat(w.text.AvailableBuffer(), float64(e.duration().Microseconds())/1000, 'f', -1, 64))
	w.field("scheme", begin(e.scheme))
	w.field("host", begin(e.authority))
	w.field("protocol", protocolName(e.protocol))
	w.count("bytes_received", e.bytesReceived)
	w.count("bytes_sent", e.bytesSent)
	w.field("request_id", begin(e.requestID))
	w.field("peer", begin(e.peer.text()))
	w.field("forwarded_for", begin(e.forwardedFor))
	w.field("user_agent", begin(e.userAgent))
	w.field("referer", w.url(e.referer))
	if e.originalPath != e.path {
		w.field("original_path", w.url(e.originalPath))
	}
	for i, name := range metadataKeys {
		w.field(name, begin(e.decided[i]))
	}
	w.field("upstream_cluster", begin(e.cluster))
	w.field("upstream", begin(e.upstream.text()))
	w.field("upstream_failure", begin(e.upstreamFailure))
	w.table("tags", e.tags)
	w.table("request_headers", e.requestHeaders)
	w.table("response_headers", e.responseHeaders)
	w.text.WriteString("}\n")
}

// begin truncates a text before it is masked.
func begin(s string) string { return mask.NewExcerpt(s).Marked() }

// url truncates and masks a URL.
func (w *lineWriter) url(s string) string { return w.to.mask.Query(begin(s)) }

// field writes a member of an object, unless its value is empty.
func (w *lineWriter) field(name, value string) {
	if value != "" {
		w.name(name)
		w.string(value)
	}
}

// count writes a member of an object, unless it is 0.
func (w *lineWriter) count(name string, n uint64) {
	if n != 0 {
		w.name(name)
		w.text.Write(strconv.AppendUint(w.text.AvailableBuffer(), n, 10))
	}
}

// table writes a member whose value is an object, sorted by name, unless it is empty.
func (w *lineWriter) table(name string, fields map[string]string) {
	if len(fields) == 0 {
		return
	}
	w.name(name)
	w.text.WriteByte('{')
	w.names = slices.AppendSeq(w.names[:0], maps.Keys(fields))
	slices.Sort(w.names)
	for i, name := range w.names {
		if i > 0 {
			w.text.WriteByte(',')
		}
		w.string(name)
		w.text.WriteByte(':')
		w.string(fields[name])
	}
	w.text.WriteByte('}')
	clear(w.names) // they belong to the entry
	if cap(w.names) > maxTableKept {
		w.names = nil
	}
}

// name writes the name of a member of the line. The first one has written the brace before it.
func (w *lineWriter) name(name string) {
	w.text.WriteString(w.before)
	w.text.WriteString(name)
	w.text.WriteString(`":`)
	w.before = `,"`
}

// string writes a string as [json.Encoder] does, which is asked only if there is something to
// escape.
func (w *lineWriter) string(s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			_ = w.encoder.Encode(s)           // a bytes.Buffer accepts every write
			w.text.Truncate(w.text.Len() - 1) // without the line end
			return
		}
	}
	w.text.WriteByte('"')
	w.text.WriteString(s)
	w.text.WriteByte('"')
}
