package cli

import (
	"errors"

	"warder/policy/strict"
)

// A Problem is an error or a warning with its place in a file. For an environment variable,
// the file is "the environment" and the field is the variable.
type (
	Problem  = strict.Problem
	Problems = strict.Problems
)

// Logged returns the attributes of a log line for a problem, with the message under key. As
// one text, "jwt.keys[0].secret: is empty" would look like a secret and its value.
func Logged(p Problem, key string) []any {
	var attrs []any
	if p.File != "" {
		attrs = append(attrs, "at", p.Position.String())
	}
	if p.Field != "" {
		attrs = append(attrs, "field", p.Field)
	}
	return append(attrs, key, p.Message)
}

// ProblemsOf returns the problems in an error. The problems of a policy or a configuration
// keep their places. Any other error becomes one problem of the whole file.
func ProblemsOf(file string, err error) Problems {
	if err == nil {
		return nil
	}
	if ours, ok := errors.AsType[Problems](err); ok {
		return ours
	}
	return Problems{{Position: strict.Position{File: file}, Message: err.Error()}}
}
