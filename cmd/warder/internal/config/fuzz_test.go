package config

import (
	"strings"
	"testing"
)

// FuzzConfig checks that reading any file terminates without a panic, gives every problem a
// place, and never shows the value of a variable.
func FuzzConfig(f *testing.F) {
	for _, seed := range []string{
		"",                                     // nothing
		"# only a comment\n",                   // nothing
		"deadline: 300ms\n",                    // a value
		"jwt: {keys: [{secret: ${SECRET}}]}\n", // braces in a flow mapping
		"jwt: {keys: [{secret: \"${SECRET}\"}]}\n",
		"a: &x {b: *x}\n",           // an alias of itself
		"<<: {a: 1}\n? [a]: b\n",    // invalid keys
		"listen: |\n  text\n",       // a literal
		"policy: !!binary aGk=\n",   // a tag
		"--- \na: 1\n--- \nb: 2\n",  // two documents
		"deadline: ${${A}}\n",       // a variable in a variable
		"policy: ${A:-${B}}\n",      // and in a default
		"policy: \"$${A} $1 ${\"\n", // dollars
		"[[[[[[[[[[[[[[[[",          // depth
		"\xff\xfe",                  // no UTF-8
		"policy: a\r\n\tb: c\r\n",   // tabs and carriage returns
		"deadline: .nan\nlisten: ~\n",
	} {
		f.Add(seed)
	}
	const canary = "c4n4ry-value"
	env := func(name string) (string, bool) { return canary, name == "SECRET" }
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<10 || strings.Contains(text, canary) { // the YAML parser is slow on large invalid input
			return
		}
		c := defaultConfig()
		c.reader = newConfigReader()
		c.read("warder.yaml", []byte(text), env)
		for _, p := range c.reader.Problems {
			if p.File != "warder.yaml" || p.Message == "" {
				t.Errorf("a problem without a place or words: %+v", p)
			}
		}
		if text := c.reader.Problems.Error(); strings.Contains(text, canary) && !mayShow(text, canary) {
			t.Errorf("a variable's value is shown: %s", text)
		}
	})
}

// mayShow reports whether text shows canary only in messages about invalid values of enumerations.
// The keys with such values do not hold secrets.
func mayShow(text, canary string) bool {
	for line := range strings.Lines(text) {
		if strings.Contains(line, canary) && !strings.Contains(line, "is unknown; use") {
			return false
		}
	}
	return true
}
