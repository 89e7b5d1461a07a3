package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"warder/policy"
)

// A problem is something wrong, or worth a warning, at one place of a file or of
// the environment.
type problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"` // from 1; 0 when it is about the file as a whole
	Column  int    `json:"column,omitempty"`
	Field   string `json:"field,omitempty"` // as in jwt.keys[0].secret
	Message string `json:"message"`         // what is wrong; what would be right
}

func (p problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.place() + ": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// place returns file:line:column, or the file alone.
func (p problem) place() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// logged returns the problem for a log line, the message under key. In one text,
// "jwt.keys[0].secret: is empty" would read like a secret and its value.
func (p problem) logged(key string) []any {
	var attrs []any
	if p.File != "" {
		attrs = append(attrs, "at", p.place())
	}
	if p.Field != "" {
		attrs = append(attrs, "field", p.Field)
	}
	return append(attrs, key, p.Message)
}

// problems are all that is wrong with the files of a run, as one error.
type problems []problem

func (ps problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// sorted returns the problems by place, each once.
func (ps problems) sorted() problems {
	out := slices.Clone(ps)
	slices.SortStableFunc(out, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(out)
}

// err is nil when there are none: a nil slice in an error interface would not be.
func (ps problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps.sorted()
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
	if theirs, ok := errors.AsType[policy.Problems](err); ok {
		return fromPolicy(theirs)
	}
	return problems{{File: file, Message: err.Error()}}
}

func fromPolicy(list []policy.Problem) problems {
	out := make(problems, len(list))
	for i, p := range list {
		out[i] = problem{File: p.Position.File, Line: p.Position.Line, Column: p.Position.Column, Field: p.Field, Message: p.Message}
	}
	return out
}
