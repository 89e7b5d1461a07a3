package config

import (
	"strings"

	"warder/cmd/warder/internal/cli"
	"warder/policy/strict"
)

// A filler replaces the variables in the texts of a file.
type filler struct {
	env      cli.LookupEnv
	problems cli.Problems
}

// fill replaces each ${VAR} and ${VAR:-default} in a value and in all nested values. It replaces
// $${ with ${. It keeps any other $, because queries contain many. A newline at the end of a
// variable is left out inside of a text; at its end, it is for the reader of the text.
func (f *filler) fill(v strict.Value) strict.Value {
	switch v.Kind {
	case strict.Text:
		v.Text, v.Filled = f.text(&v)
	case strict.List:
		for i, item := range v.Items {
			v.Items[i] = f.fill(item)
		}
	case strict.Group:
		for i, e := range v.Entries {
			v.Entries[i].Value = f.fill(e.Value)
		}
	case strict.Broken, strict.Null, strict.Bool, strict.Number:
	}
	return v
}

func (f *filler) report(at strict.Position, message string) {
	f.problems = append(f.problems, cli.Problem{Position: at, Message: message})
}

func (f *filler) text(v *strict.Value) (text string, filled bool) {
	var b strings.Builder
	for text := v.Text; ; {
		before, after, found := strings.Cut(text, "${")
		if !found {
			b.WriteString(text)
			return b.String(), filled
		}
		if escaped, ok := strings.CutSuffix(before, "$"); ok {
			b.WriteString(escaped + "${")
			text = after
			continue
		}
		b.WriteString(before)
		expression, rest, closed := strings.Cut(after, "}")
		if !closed {
			f.report(v.At, "${ is not closed; write ${VAR}, or $${ for the two characters themselves")
			v.Kind = strict.Broken
			return "", false
		}
		value, ok := f.variable(v.At, expression)
		if !ok {
			v.Kind = strict.Broken
		}
		if rest != "" {
			value = withoutNewline(value) // such as that of a password in a URL
		}
		b.WriteString(value)
		filled, text = true, rest
	}
}

func (f *filler) variable(at strict.Position, expression string) (value string, ok bool) {
	name, fallback, hasFallback := strings.Cut(expression, ":-")
	if !validVariable(name) {
		// Do not show the expression, because it may be part of a secret.
		f.report(at, "${…} does not contain the name of a variable; write ${VAR} or ${VAR:-default}, or $${ for the two characters themselves")
		return "", false
	}
	value, set := f.env(name)
	switch {
	case hasFallback && value == "":
		return fallback, true
	case !set:
		f.report(at, "${"+name+"} is not set in the environment; set it, or write ${"+name+":-default}")
	}
	return value, set
}

func validVariable(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}
