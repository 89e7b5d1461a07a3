package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"warder/authz/mask"
)

// A fieldReader takes the value of one key of the configuration. The same ones
// serve the file and the environment.
type fieldReader func(r *configReader, field string, v yamlValue)

// A configReader collects what is wrong and where each key was given, for the
// checks that look at more than one key.
type configReader struct {
	dir      string // paths of the file are relative to its folder
	places   map[string]problem
	problems problems
	warnings problems
	// incomplete: the file could not be read in full, so that what is missing
	// may stand there.
	incomplete bool
}

// at is the place of a key, for a message: where it was given, or the bare
// field when it was not.
func (r *configReader) at(field string) problem {
	for _, name := range []string{field, field + "_file"} {
		if place, given := r.places[name]; given {
			return place
		}
	}
	return problem{Field: field}
}

// failWith reports an error that names its own field, as in
// "sessions.key_template: …", or is about the given one.
func (r *configReader) failWith(field string, err error) {
	for _, e := range split(err) {
		at, message := field, e.Error()
		if own, rest, ok := strings.Cut(message, ": "); ok && strings.HasPrefix(own, section(field)+".") && !strings.Contains(own, " ") {
			at, message = own, rest
		}
		r.fail(at, "%s", message)
	}
}

func section(field string) string {
	name, _, _ := strings.Cut(field, ".")
	return name
}

func (r *configReader) given(field string) bool {
	_, given := r.places[field]
	return given
}

func (r *configReader) fail(field, format string, args ...any) {
	p := r.at(field)
	p.Message = fmt.Sprintf(format, args...)
	r.problems = append(r.problems, p)
}

func (r *configReader) warn(field, format string, args ...any) {
	p := r.at(field)
	p.Message = fmt.Sprintf(format, args...)
	r.warnings = append(r.warnings, p)
}

// group reads a mapping, key by key, and refuses the keys that it does not know: each
// has a field in the shape and a reader here.
func group(shape any, keys map[string]fieldReader) fieldReader {
	all := keysOf(shape)
	return func(r *configReader, field string, v yamlValue) {
		if v.kind != yamlMap {
			r.wrongKind(field, v, "a group of keys")
			return
		}
		for _, e := range v.entries {
			name := join(field, e.key)
			place := e.place
			place.Field = name
			r.places[name] = place
			read, known := keys[e.key]
			if !known || !slices.Contains(all, e.key) {
				hint := didYouMean(e.key, all)
				switch {
				case name == "shadow":
					hint = "; it is a flag, warder serve --shadow, so that no file can open everything; for one route it is a key of the policy"
				case hint == "":
					hint = "; known here: " + strings.Join(all, ", ")
				}
				r.fail(name, "unknown key%s", hint)
				continue
			}
			read(r, name, e.value)
		}
	}
}

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

func (r *configReader) wrongKind(field string, v yamlValue, want string) {
	switch v.kind {
	case yamlBroken:
	case yamlNull:
		r.fail(field, "has no value; give %s or leave the key out", want)
	default:
		r.fail(field, "is %s; give %s", v.kind, want)
	}
}

func text(dst *string) fieldReader {
	return func(r *configReader, field string, v yamlValue) {
		if v.kind != yamlString {
			r.wrongKind(field, v, "a text, in quotes if need be")
			return
		}
		*dst = v.text
	}
}

// oneOf reads a word of a closed list.
func oneOf[T ~string](dst *T, words ...T) fieldReader {
	return func(r *configReader, field string, v yamlValue) {
		known := make([]string, len(words))
		for i, w := range words {
			known[i] = string(w)
		}
		switch {
		case !v.isScalar():
			r.wrongKind(field, v, alternatives(known))
		case !slices.Contains(known, v.text):
			r.fail(field, "%q is unknown; use %s", v.text, alternatives(known))
		default:
			*dst = T(v.text)
		}
	}
}

// alternatives writes "a, b or c".
func alternatives(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// file reads the path of a file or folder. In a file it is relative to that
// file's folder, in the environment to the working directory.
func file(dst *string) fieldReader {
	return func(r *configReader, field string, v yamlValue) {
		var path string
		text(&path)(r, field, v)
		if v.kind != yamlString {
			return
		}
		if path == "" {
			r.fail(field, "is empty; name a file or leave the key out")
			return
		}
		if r.dir != "" && !filepath.IsAbs(path) {
			path = filepath.Join(r.dir, path)
		}
		*dst = path
	}
}

func duration(dst *time.Duration) fieldReader {
	return func(r *configReader, field string, v yamlValue) {
		if !v.isScalar() {
			r.wrongKind(field, v, "a duration such as 200ms")
			return
		}
		d, err := time.ParseDuration(v.text)
		if err != nil {
			r.fail(field, "is not a duration; write one such as 200ms, 5s or 1m30s")
			return
		}
		*dst = d
	}
}

func boolean(dst *bool) fieldReader {
	return func(r *configReader, field string, v yamlValue) {
		switch {
		case !v.isScalar():
			r.wrongKind(field, v, "true or false")
		case v.kind != yamlBool && !v.fromEnv, v.text != "true" && v.text != "false":
			r.fail(field, "is neither true nor false; write one of them, without quotes")
		default:
			*dst = v.text == "true"
		}
	}
}

func integer(dst *int) fieldReader {
	return func(r *configReader, field string, v yamlValue) {
		n, err := strconv.Atoi(v.text)
		switch {
		case !v.isScalar():
			r.wrongKind(field, v, "a whole number")
		case v.kind != yamlNumber && !v.fromEnv, err != nil:
			r.fail(field, "is not a whole number; write one such as 2, without quotes")
		default:
			*dst = n
		}
	}
}

// textList reads a list of texts. A text that comes from a variable is a list
// too, separated by commas or spaces.
func textList(dst *[]string) fieldReader {
	return func(r *configReader, field string, v yamlValue) {
		if v.kind == yamlString && v.fromEnv {
			*dst = fieldsOf(v.text)
			return
		}
		if v.kind != yamlList {
			r.wrongKind(field, v, "a list such as [a, b]")
			return
		}
		list := make([]string, 0, len(v.items))
		for i, item := range v.items {
			name := fmt.Sprintf("%s[%d]", field, i)
			item.place.Field = name
			r.places[name] = item.place
			switch {
			case item.kind != yamlString:
				r.wrongKind(name, item, "a text, in quotes if need be")
			case item.fromEnv:
				list = append(list, fieldsOf(item.text)...)
			case item.text == "":
				r.fail(name, "is empty; leave it out")
			default:
				list = append(list, item.text)
			}
		}
		*dst = list
	}
}

// notEmptied refuses an empty value that comes from a variable, for keys that turn
// a check off when they are empty: who writes ${AUDIENCE} wants it checked.
func notEmptied(read fieldReader) fieldReader {
	return func(r *configReader, field string, v yamlValue) {
		for _, part := range append([]yamlValue{v}, v.items...) {
			if part.kind == yamlString && part.fromEnv && len(fieldsOf(part.text)) == 0 {
				r.fail(field, "comes from a variable that is empty, which would turn the check off; set the variable or leave the key out")
				return
			}
		}
		read(r, field, v)
	}
}

func fieldsOf(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' || c == '\n' || c == '\r' })
}

// listOf reads a list whose items are groups of keys.
func listOf(item func(i int) fieldReader) fieldReader {
	return func(r *configReader, field string, v yamlValue) {
		if v.kind != yamlList {
			r.wrongKind(field, v, "a list, each item on a line that begins with -")
			return
		}
		if len(v.items) == 0 {
			r.fail(field, "is an empty list; give at least one item")
		}
		for i, it := range v.items {
			name := fmt.Sprintf("%s[%d]", field, i)
			it.place.Field = name
			r.places[name] = it.place
			item(i)(r, name, it)
		}
	}
}

// A secretSource says where a secret is: in x itself or in the file that x_file
// names. The zero source is none.
type secretSource struct {
	value mask.Secret
	given bool
	path  string
	// field of the secret itself; its twin is this with _file.
	field string
	// literal: it stands in the file in plain, not in a variable.
	literal bool
}

func (s *secretSource) isSet() bool { return s.given || s.path != "" }

func secretText(dst *secretSource) fieldReader {
	return func(r *configReader, field string, v yamlValue) {
		dst.field = field
		if v.kind != yamlString {
			r.wrongKind(field, v, "a text, in quotes if need be")
			return
		}
		dst.value, dst.given, dst.literal = mask.New(v.text), true, !v.fromEnv
	}
}

func secretFile(dst *secretSource) fieldReader {
	return func(r *configReader, field string, v yamlValue) {
		dst.field = strings.TrimSuffix(field, "_file")
		file(&dst.path)(r, field, v)
	}
}

// read returns the secret, or reports why there is none.
func (s *secretSource) read(r *configReader) (mask.Secret, bool) {
	switch {
	case s.given && s.path != "":
		r.fail(s.field, "is given twice, as itself and as a file; keep one of the two")
		return mask.Secret{}, false
	case s.path != "":
		data, err := readBounded(s.path, 64<<10)
		if err != nil {
			r.fail(s.field+"_file", "%s %v", s.path, err)
			return mask.Secret{}, false
		}
		secret := string(data)
		if line, ended := strings.CutSuffix(secret, "\n"); ended {
			secret = strings.TrimSuffix(line, "\r")
		}
		if secret == "" {
			r.fail(s.field+"_file", "%s is empty; write the secret into it", s.path)
			return mask.Secret{}, false
		}
		return mask.New(secret), true
	case s.given && s.value.Reveal() == "":
		r.fail(s.field, "is empty; give the secret, or leave it out")
		return mask.Secret{}, false
	}
	return s.value, s.given
}
