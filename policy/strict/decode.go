package strict

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A String is a text of a file with its place, for checks that come later.
type String struct {
	Text  string
	At    Position
	Field string
}

// A ValueReader reads itself from a value, in place of [Reader.Read]'s own rules.
type ValueReader interface {
	ReadValue(r *Reader, field string, v Value)
}

// A KeyHinter says what would be right in the place of a key that its group does not
// have; "" when it has no better idea than the known keys.
type KeyHinter interface {
	HintKey(field, key string) string
}

// A Reader turns values into Go values and collects what is wrong. Reading goes on after a
// problem.
//
// A struct is a group of keys. Its tags say which:
//
//	Roles []string `json:"roles" jsonschema:"minItems=1,uniqueItems=true,example=CONTROL"`
//
// json has the key, and jsonschema what an editor may check too: required, minItems,
// uniqueItems, enum, and an example, which messages show. The tags missing and empty have the
// words for a required key that is not there and for a list with nothing in it.
//
// Texts are never made of numbers or truth values, and the other way round; durations are
// those of [time.ParseDuration]; networks are those of [netip.ParsePrefix]. A slice is not
// nil when its key was given.
type Reader struct {
	// Quiet keeps the values of the file out of messages: some are secrets.
	Quiet bool
	// Digits lets a whole number stand for the text of its digits.
	Digits bool

	// Lines are those of the file, for who looks at how a value is written; see [Lines].
	Lines []string
	// NoPlaces says that nobody will ask for [Reader.Place] or [Reader.Near]: a large file
	// has many places.
	NoPlaces bool

	Problems Problems
	places   map[string]Position
	groups   map[reflect.Type]*group
}

// Fail reports what is wrong at a place.
func (r *Reader) Fail(at Position, field, format string, args ...any) {
	r.Problems = append(r.Problems, Problem{at, field, fmt.Sprintf(format, args...)})
}

// Place returns where a field was given.
func (r *Reader) Place(field string) (at Position, given bool) {
	at, given = r.places[field]
	return at, given
}

// SetPlace notes where a field was given.
func (r *Reader) SetPlace(field string, at Position) {
	if r.NoPlaces {
		return
	}
	if r.places == nil {
		r.places = map[string]Position{}
	}
	r.places[field] = at
}

// Near returns the place of a field, or of the nearest one around it that was given.
func (r *Reader) Near(field string) Position {
	for {
		if at, given := r.places[field]; given || field == "" {
			return at
		}
		field = field[:max(0, strings.LastIndexAny(field, ".["))]
	}
}

// WrongKind reports that a value is not what is wanted.
func (r *Reader) WrongKind(field string, v Value, want string) {
	switch v.Kind {
	case Broken:
	case Null:
		r.Fail(v.At, field, "has no value; write %s", want)
	case Text:
		if !r.Quiet {
			r.Fail(v.At, field, "is the text %s; write %s", Quote(v.Text), want)
			return
		}
		fallthrough
	default:
		if v.Scalar() && v.Kind != Text && !r.Quiet {
			r.Fail(v.At, field, "is %s (%s); write %s", v.Kind, v.Text, want)
			return
		}
		r.Fail(v.At, field, "is %s; write %s", v.Kind, want)
	}
}

// Read reads a value into what into points to. The field is its name in messages.
func (r *Reader) Read(field string, v Value, into any) {
	r.read(field, v, reflect.ValueOf(into).Elem(), tags{})
}

func (r *Reader) read(field string, v Value, into reflect.Value, tag tags) {
	r.SetPlace(field, v.At)
	if v.Kind == Broken {
		return
	}
	if own, ok := reflect.TypeAssert[ValueReader](into.Addr()); ok {
		own.ReadValue(r, field, v)
		return
	}
	switch dst := into.Addr().Interface().(type) {
	case *String:
		if text, ok := r.Text(field, v, tag.example); ok {
			*dst = String{text, v.At, field}
		}
		return
	case *time.Duration:
		r.duration(field, v, dst)
		return
	case *netip.Prefix:
		if text, ok := r.Text(field, v, "10.0.0.0/8"); ok {
			network, err := netip.ParsePrefix(text)
			if err != nil {
				r.Fail(v.At, field, "%s is not a network; write one such as 10.0.0.0/8 or 203.0.113.7/32", Quote(text))
			}
			*dst = network
		}
		return
	case *any:
		*dst = r.plain(field, v)
		return
	}
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		r.read(field, v, into.Elem(), tag)
	case reflect.Struct:
		r.group(field, v, into)
	case reflect.Map:
		r.keyed(field, v, into)
	case reflect.Slice:
		r.list(field, v, into, tag)
	case reflect.Array:
		r.tuple(field, v, into)
	case reflect.String:
		switch text, ok := r.Text(field, v, tag.example); {
		case !ok:
		case len(tag.words) > 0 && !slices.Contains(tag.words, text):
			r.Fail(v.At, field, "%s is unknown; use %s", Quote(text), alternatives(tag.words))
		default:
			into.SetString(text)
		}
	case reflect.Bool:
		if v.Kind == Bool || v.Filled && (v.Text == "true" || v.Text == "false") {
			into.SetBool(v.Text == "true")
			return
		}
		r.WrongKind(field, v, "true or false, without quotes")
	case reflect.Int:
		if n, ok := v.Whole(); ok {
			into.SetInt(int64(n))
			return
		}
		r.WrongKind(field, v, "a whole number such as 2, without quotes")
	default:
		panic("strict: no value of a file is a " + into.Type().String())
	}
}

// Whole returns a number that is whole and has one spelling.
func (v Value) Whole() (int, bool) {
	n, err := strconv.Atoi(v.Text)
	return n, err == nil && (v.Kind == Number || v.Filled) && strconv.Itoa(n) == v.Text
}

// Text reads a text. Numbers and truth values are none.
func (r *Reader) Text(field string, v Value, example string) (string, bool) {
	if v.Kind == Text {
		return v.Text, true
	}
	switch _, whole := v.Whole(); {
	case r.Digits && whole:
		return v.Text, true
	case v.Kind == Group && len(v.Entries) == 1 && v.Entries[0].Value.Scalar():
		r.Fail(v.At, field, "has a colon and a space outside quotes, which makes it a key with a value; put it in quotes")
	case v.Scalar() && !r.Quiet:
		r.Fail(v.At, field, "is %s, not a text; put it in quotes: %q", v.Kind, v.Text)
	case example == "":
		r.WrongKind(field, v, "a text, in quotes if need be")
	default:
		r.WrongKind(field, v, "a text such as "+example)
	}
	return "", false
}

func (r *Reader) duration(field string, v Value, dst *time.Duration) {
	const want = "a duration such as 200ms, 5s or 1m30s"
	if !v.Scalar() {
		r.WrongKind(field, v, want)
		return
	}
	d, err := time.ParseDuration(v.Text)
	if err != nil {
		r.Fail(v.At, field, "is not a duration; write one such as 200ms, 5s or 1m30s")
		return
	}
	*dst = d
}

// list reads a list. An item that is wrong is left out.
func (r *Reader) list(field string, v Value, into reflect.Value, tag tags) {
	out := reflect.MakeSlice(into.Type(), len(v.Items), len(v.Items))
	n := 0 // items that are read
	defer func() { into.Set(out.Slice(0, n)) }()
	switch {
	case v.Kind == Text && !r.Quiet && into.Type().Elem().Kind() != reflect.Struct || v.Kind == Text && !r.Quiet && into.Type().Elem() == reflect.TypeFor[String]():
		r.Fail(v.At, field, "is a text, but must be a list; write [%s]", Quote(v.Text))
		return
	case v.Kind != List:
		want := "a list"
		if tag.example != "" {
			want += " such as [" + tag.example + "]"
		}
		r.WrongKind(field, v, want)
		return
	case len(v.Items) == 0 && tag.atLeastOne:
		r.Fail(v.At, field, "is an empty list%s", tag.whenEmpty())
		return
	}
	var seen map[string]bool
	for i, item := range v.Items {
		field, before := Index(field, i), len(r.Problems)
		one := out.Index(n)
		r.read(field, item, one, tags{example: tag.example})
		wrong := item.Kind == Broken || len(r.Problems) > before
		repeated := false
		if tag.unique && item.Kind == Text && !wrong && len(v.Items) > 1 {
			if repeated = seen[item.Text]; repeated {
				r.Fail(item.At, field, "%s is listed twice; write it once", Quote(item.Text))
			}
			if seen == nil {
				seen = map[string]bool{}
			}
			seen[item.Text] = true
		}
		// A group with something wrong in it is looked at further.
		if repeated || wrong && (one.Kind() != reflect.Struct || one.Type() == reflect.TypeFor[String]() || item.Kind != Group) {
			one.SetZero()
			continue
		}
		n++
	}
}

func (r *Reader) tuple(field string, v Value, into reflect.Value) {
	if v.Kind != List || len(v.Items) != into.Len() {
		r.WrongKind(field, v, fmt.Sprintf("a list of %d items", into.Len()))
		return
	}
	for i, item := range v.Items {
		r.read(Index(field, i), item, into.Index(i), tags{})
	}
}

// keyed reads a group with keys of the writer's own.
func (r *Reader) keyed(field string, v Value, into reflect.Value) {
	if v.Kind != Group {
		r.WrongKind(field, v, "a group of keys")
		return
	}
	into.Set(reflect.MakeMapWithSize(into.Type(), len(v.Entries)))
	for _, e := range v.Entries {
		one, before := reflect.New(into.Type().Elem()).Elem(), len(r.Problems)
		r.read(Join(field, KeyName(e.Key)), e.Value, one, tags{})
		if len(r.Problems) > before && one.Kind() == reflect.String {
			continue // else the empty text would be a second problem
		}
		into.SetMapIndex(reflect.ValueOf(e.Key), one)
	}
}

// plain returns a value as encoding/json does: groups as maps, numbers as float64 unless they
// are whole.
func (r *Reader) plain(field string, v Value) any {
	switch v.Kind {
	case Text:
		return v.Text
	case Bool:
		return v.Text == "true"
	case Number:
		if n, err := strconv.ParseInt(v.Text, 10, 64); err == nil {
			return n
		}
		n, err := strconv.ParseFloat(v.Text, 64)
		if err != nil {
			r.Fail(v.At, field, "%s is a number that YAML may spell in another way; write it in quotes, or with digits", v.Text)
		}
		return n
	case List:
		all := make([]any, len(v.Items))
		for i, item := range v.Items {
			all[i] = r.plain(Index(field, i), item)
		}
		return all
	case Group:
		all := make(map[string]any, len(v.Entries))
		for _, e := range v.Entries {
			all[e.Key] = r.plain(Join(field, KeyName(e.Key)), e.Value)
		}
		return all
	case Null, Broken:
	}
	return nil
}

// group reads a group whose keys are the fields of a struct.
func (r *Reader) group(field string, v Value, into reflect.Value) {
	g := r.groupOf(into.Type())
	if v.Kind != Group {
		r.WrongKind(field, v, "a group of the keys "+strings.Join(g.keys, ", "))
		return
	}
	for _, e := range v.Entries {
		name := Join(field, KeyName(e.Key))
		i := slices.Index(g.keys, e.Key)
		if i < 0 {
			r.SetPlace(name, e.At)
			hint := ""
			if own, ok := reflect.TypeAssert[KeyHinter](into.Addr()); ok {
				hint = own.HintKey(field, e.Key)
			}
			if hint == "" {
				hint = "is unknown; " + DidYouMean(e.Key, g.keys)
			}
			r.Fail(e.At, name, "%s", hint)
			continue
		}
		r.read(name, e.Value, into.FieldByIndex(g.fields[i].index), g.fields[i].tags)
	}
	for i, f := range g.fields {
		if _, given := v.Get(g.keys[i]); f.required && !given && !v.Partial {
			r.Fail(v.At, Join(field, g.keys[i]), "is missing%s", f.whenMissing(g.keys[i]))
		}
	}
}

// A group is what is known of a struct.
type group struct {
	keys   []string
	fields []groupField
}

type groupField struct {
	tags
	index []int
}

// tags are what the tags of a field say.
type tags struct {
	example, missing, empty      string
	words                        []string // of a closed list
	required, atLeastOne, unique bool
}

// alternatives writes "a, b or c".
func alternatives(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func (t tags) whenEmpty() string {
	switch {
	case t.empty != "":
		return t.empty
	case t.example != "":
		return ", which does not mean everything; leave the key out or write a list such as [" + t.example + "]"
	}
	return "; give at least one item"
}

func (t tags) whenMissing(key string) string {
	switch {
	case t.missing != "":
		return t.missing
	case t.example != "":
		return "; write one, such as " + key + ": " + t.example
	}
	return ""
}

// KeysOf returns the keys of a struct, in its order.
func KeysOf[T any]() []string { return new(Reader).groupOf(reflect.TypeFor[T]()).keys }

func (r *Reader) groupOf(t reflect.Type) *group {
	if g, known := r.groups[t]; known {
		return g
	}
	g := new(group)
	for f := range t.Fields() {
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if key == "" || key == "-" {
			continue
		}
		tag := tags{missing: f.Tag.Get("missing"), empty: f.Tag.Get("empty")}
		for word := range strings.SplitSeq(f.Tag.Get("jsonschema"), ",") {
			name, value, _ := strings.Cut(word, "=")
			switch name {
			case "required":
				tag.required = true
			case "minItems":
				tag.atLeastOne = true
			case "uniqueItems":
				tag.unique = true
			case "enum":
				tag.words = append(tag.words, value)
			case "example":
				if tag.example == "" {
					tag.example = value
				}
			}
		}
		g.keys = append(g.keys, key)
		g.fields = append(g.fields, groupField{tag, f.Index})
	}
	if r.groups == nil {
		r.groups = map[reflect.Type]*group{}
	}
	r.groups[t] = g
	return g
}
