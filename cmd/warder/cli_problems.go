package main

import (
	"errors"

	"warder/policy/strict"
)

// What is wrong with the files of a run, or worth a warning, by place. A place may be a
// variable too: its file is [environmentFile], and its field the variable.
type (
	problem  = strict.Problem
	problems = strict.Problems
)

// logged returns a problem for a log line, the message under key. In one text,
// "jwt.keys[0].secret: is empty" would read like a secret and its value.
func logged(p problem, key string) []any {
	var attrs []any
	if p.File != "" {
		attrs = append(attrs, "at", p.Position.String())
	}
	if p.Field != "" {
		attrs = append(attrs, "field", p.Field)
	}
	return append(attrs, key, p.Message)
}

// problemsOf takes an error apart: the problems of a policy or of a
// configuration keep their places, any other error is about the file as a whole.
func problemsOf(file string, err error) problems {
	if err == nil {
		return nil
	}
	if ours, ok := errors.AsType[problems](err); ok {
		return ours
	}
	return problems{{Position: strict.Position{File: file}, Message: err.Error()}}
}
