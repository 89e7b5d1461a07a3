package config

import (
	"fmt"
	"strings"

	"warder/authz"
	"warder/authz/mask"
	"warder/cmd/warder/internal/cli"
	"warder/policy/strict"
)

// A configReader collects what is wrong and where each key was given, for the
// checks that look at more than one key.
type configReader struct {
	strict.Reader

	variables map[string]string // that stand for keys, by key
	warnings  cli.Problems
	// incomplete: the file could not be read in full, so that what is missing
	// may stand there.
	incomplete bool
}

func newConfigReader() *configReader {
	return &configReader{Reader: strict.Reader{Quiet: true}, variables: map[string]string{}}
}

// at is the place of a key, for a message: where it was given, or the bare
// field when it was not.
func (r *configReader) at(field string) cli.Problem {
	for _, name := range []string{field, field + "_file"} {
		if variable, set := r.variables[name]; set {
			return cli.Problem{Position: strict.Position{File: environmentFile}, Field: variable}
		}
		if at, given := r.Place(name); given {
			return cli.Problem{Position: at, Field: name}
		}
	}
	return cli.Problem{Field: field}
}

// failWith reports errors that name their keys, below section, and others as ones about
// the field.
func (r *configReader) failWith(field, section string, err error) {
	for _, e := range authz.ConfigErrors(err) {
		at := field
		if e.Field != "" {
			at = strict.Join(section, e.Field)
		}
		r.fail(at, "%s", e.Problem)
	}
}

func (r *configReader) given(field string) bool {
	_, given := r.Place(field)
	return given || r.variables[field] != ""
}

func (r *configReader) fail(field, format string, args ...any) {
	p := r.at(field)
	p.Message = fmt.Sprintf(format, args...)
	r.Problems = append(r.Problems, p)
}

func (r *configReader) warn(field, format string, args ...any) {
	p := r.at(field)
	p.Message = fmt.Sprintf(format, args...)
	r.warnings = append(r.warnings, p)
}

// maxConfigSize bounds a mistake (the wrong file named), not a configuration.
const maxConfigSize = 1 << 20

// A secretSource says where a secret is: in x itself or in the file that x_file
// names. The zero source is none.
type secretSource struct {
	secretText
	path string
	// field of the secret itself; its twin is this with _file.
	field string
}

func (s secretSource) isSet() bool { return s.given || s.path != "" }

// read returns the secret, or reports why there is none.
func (s secretSource) read(r *configReader) (mask.Secret, bool) {
	switch {
	case s.given && s.path != "":
		r.fail(s.field, "is given twice, as itself and as a file; keep one of the two")
		return mask.Secret{}, false
	case s.path != "":
		data, err := cli.ReadBounded(s.path, 64<<10)
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
