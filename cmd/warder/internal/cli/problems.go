package cli

import (
	"errors"

	"warder/policy/strict"
)

// What is wrong with the files of a run, or worth a warning, by place. A place may be a
// variable too: its file is "the environment", and its field the variable.
type (
	Problem  = strict.Problem
	Problems = strict.Problems
)

// Logged returns a problem for a log line, the message under key. In one text,
// "jwt.keys[0].secret: is empty" would read like a secret and its value.
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

// ProblemsOf takes an error apart: the problems of a policy or of a
// configuration keep their places, any other error is about the file as a whole.
func ProblemsOf(file string, err error) Problems {
	if err == nil {
		return nil
	}
	if ours, ok := errors.AsType[Problems](err); ok {
		return ours
	}
	return Problems{{Position: strict.Position{File: file}, Message: err.Error()}}
}
