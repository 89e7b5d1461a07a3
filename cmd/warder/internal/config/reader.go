package config

import (
	"errors"
	"fmt"

	"warder/authz"
	"warder/authz/mask"
	"warder/cmd/warder/internal/cli"
	"warder/policy/strict"
)

// A configReader collects problems, and records where each key was given for the checks that
// involve more than one key.
type configReader struct {
	strict.Reader

	variables map[string]string // names of the variables that set keys, by key
	warnings  cli.Problems
	// incomplete reports that the file could not be read in full. Keys that seem to be
	// missing may be in the part that was not read.
	incomplete bool
}

func newConfigReader() *configReader {
	return &configReader{Reader: strict.Reader{Quiet: true}, variables: map[string]string{}}
}

// at returns the place of a key for a message. If the key was not given, the place is only
// the field.
func (r *configReader) at(field string) cli.Problem {
	for _, name := range []string{field, field + "_file"} {
		if variable, set := r.variables[name]; set {
			return cli.Problem{Position: strict.Position{File: placeOf(variable)}, Field: variable}
		}
		if at, given := r.Place(name); given {
			return cli.Problem{Position: at, Field: name}
		}
	}
	return cli.Problem{Field: field}
}

// failWith reports all errors in err. An error that names a key is reported at that key below
// section, and any other error at field.
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

// maxConfigSize is the maximum size of a configuration, in bytes. It only catches mistakes,
// such as the name of a wrong file.
const maxConfigSize = 1 << 20

// A secretSource is the source of a secret: either the key x itself or the file that the key
// x_file names. The zero value means that there is no secret.
type secretSource struct {
	secretText
	path string
	// field is the key of the secret itself. The key of the file is field + "_file".
	field string
}

func (s secretSource) isSet() bool { return s.given || s.path != "" }

// read returns the secret. If it cannot, it reports a problem and returns false.
func (s secretSource) read(r *configReader) (mask.Secret, bool) {
	switch {
	case s.given && s.path != "":
		r.fail(s.field, "is given twice, as itself and as a file; keep one of the two")
		return mask.Secret{}, false
	case s.path != "":
		secret, err := readSecretFile(s.path)
		if err != nil {
			r.fail(s.field+"_file", "%s %v", s.path, err)
			return mask.Secret{}, false
		}
		return secret, true
	case !s.given:
		return mask.Secret{}, false
	}
	secret, err := cleanSecret(s.value.Reveal())
	if errors.Is(err, errEmptySecret) {
		err = fmt.Errorf("%w; give the secret, or leave it out", err)
	}
	if err != nil {
		r.fail(s.field, "%v", err)
		return mask.Secret{}, false
	}
	return mask.New(secret), true
}
