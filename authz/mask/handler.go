package mask

import (
	"bytes"
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
)

// maxGroups is the greatest nesting depth of groups. It bounds LogValuers that return groups
// without end.
const maxGroups = 32

// NewHandler returns a handler that masks records and passes them to next. It masks the
// message and each attribute, by its key and by its value:
//
//   - The value of a sensitive key becomes [Replacement], and so does a group with a
//     sensitive name. A key may be sensitive together with the name of its group, such as
//     id in a group session.
//   - Strings are masked as text. Errors, TextMarshalers, Stringers and byte slices are
//     converted to text, which is masked.
//   - Other values (maps, structs, slices, pointers) are converted to JSON, which is masked.
//   - Booleans, numbers, times and durations are kept.
//
// A value whose methods panic is replaced by a description of the panic.
func NewHandler(next slog.Handler, m *Masker) slog.Handler {
	return &handler{next: next, masker: m}
}

type handler struct {
	next   slog.Handler
	masker *Masker
	group  string // name of the innermost open group
	hidden bool   // an open group has a sensitive name
}

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	masked := slog.NewRecord(r.Time, r.Level, h.masker.String(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		masked.AddAttrs(h.attr(h.group, a, h.hidden, 0))
		return true
	})
	return h.next.Handle(ctx, masked)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	masked := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		masked[i] = h.attr(h.group, a, h.hidden, 0)
	}
	inner := *h
	inner.next = h.next.WithAttrs(masked)
	return &inner
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	inner := *h
	inner.next = h.next.WithGroup(h.masker.String(name))
	inner.hidden = h.hidden || h.sensitive(h.group, name)
	inner.group = name
	return &inner
}

func (h *handler) sensitive(group, key string) bool {
	return h.masker.SensitiveKey(key) || group != "" && h.masker.SensitiveKey(group+"."+key)
}

func (h *handler) attr(group string, a slog.Attr, hidden bool, depth int) slog.Attr {
	if a.Equal(slog.Attr{}) { // handlers ignore it
		return a
	}
	hidden = hidden || a.Key != "" && h.sensitive(group, a.Key)
	kind := a.Value.Kind()
	if hidden && kind != slog.KindGroup || depth == maxGroups {
		return slog.String(h.masker.String(a.Key), Replacement)
	}
	v := a.Value
	if kind == slog.KindLogValuer {
		v = v.Resolve()
	}
	a.Key, a.Value = h.masker.String(a.Key), h.value(group, a.Key, v, hidden, depth)
	return a
}

func (h *handler) value(group, key string, v slog.Value, hidden bool, depth int) slog.Value {
	switch v.Kind() {
	case slog.KindString:
		return slog.StringValue(h.masker.String(v.String()))
	case slog.KindGroup:
		attrs := v.Group()
		switch {
		case len(attrs) == 0: // handlers ignore it
			return v
		case hidden && key != "":
			return slog.StringValue(Replacement)
		}
		if key != "" {
			group = key
		}
		masked := make([]slog.Attr, len(attrs))
		for i, a := range attrs {
			masked[i] = h.attr(group, a, hidden, depth+1)
		}
		return slog.GroupValue(masked...)
	case slog.KindAny:
		return h.any(v.Any())
	case slog.KindLogValuer: // cannot happen after Resolve
		return slog.StringValue(Replacement)
	default:
		return v
	}
}

// any returns the masked text or JSON of a value.
func (h *handler) any(value any) (masked slog.Value) {
	defer func() {
		if p := recover(); p != nil {
			masked = slog.StringValue(h.masker.String(panicText(value, p)))
		}
	}()
	switch v := value.(type) {
	case nil:
		return slog.AnyValue(nil)
	case error:
		return slog.StringValue(h.masker.String(v.Error()))
	case encoding.TextMarshaler:
		text, err := v.MarshalText()
		if err != nil {
			text = []byte("!ERROR:" + err.Error())
		}
		return slog.StringValue(h.masker.String(string(text)))
	case fmt.Stringer:
		return slog.StringValue(h.masker.String(v.String()))
	case []byte:
		return slog.StringValue(h.masker.String(string(v)))
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return slog.StringValue(h.masker.String("!ERROR:" + err.Error()))
	}
	text := h.masker.Bytes(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	if !json.Valid(text) { // a JSON handler would reject it
		return slog.StringValue(string(text))
	}
	return slog.AnyValue(maskedJSON(text))
}

// panicText describes a value whose methods panic. Usually it is a nil pointer.
func panicText(value, p any) (text string) {
	if v := reflect.ValueOf(value); v.Kind() == reflect.Pointer && v.IsNil() {
		return "<nil>"
	}
	defer func() {
		if recover() != nil { // formatting the value of the panic panicked too
			text = "!PANIC"
		}
	}()
	return fmt.Sprintf("!PANIC: %v", p)
}

// maskedJSON is a value that JSON handlers write as JSON and other handlers as text.
type maskedJSON []byte

func (j maskedJSON) MarshalJSON() ([]byte, error) { return j, nil }
func (j maskedJSON) String() string               { return string(j) }
