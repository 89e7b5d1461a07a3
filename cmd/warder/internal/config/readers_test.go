package config

import (
	"strings"
	"testing"

	"warder/authz/memory"
	"warder/authz/policytest"
	"warder/cmd/warder/internal/clitest"
	"warder/policy"
)

// TestReadersAreStrict checks that the readers of all kinds of files refuse text with a misleading
// meaning.
func TestReadersAreStrict(t *testing.T) {
	t.Parallel()
	noEnv := func(string) (string, bool) { return "", false }
	readers := map[string]func(text string) error{
		"policy": func(text string) error {
			_, err := policy.Parse([]policy.File{{Name: "f.yaml", Data: []byte(text)}}, noEnv)
			return err
		},
		"configuration": func(text string) error {
			c := defaultConfig()
			c.reader = newConfigReader()
			c.read("f.yaml", []byte(text), noEnv)
			return c.reader.Problems.Err()
		},
		"directory": func(text string) error {
			_, err := memory.Load(clitest.WriteFile(t, t.TempDir(), "f.yaml", text), nil)
			return err
		},
		"cases": func(text string) error {
			_, err := policytest.Load(clitest.WriteFile(t, t.TempDir(), "f.yaml", text))
			return err
		},
	}
	for name, read := range readers {
		for _, c := range []struct{ text, want string }{
			{"---\n---\na: b\n", "document"},
			{"# nothing\n---\n# nothing\n---\na: b\n", "document"},
			{"a: b\n---\nc: d\n", "document"},
			{"a: b\n...\nc: d\n", "document"},
			{"a: {b:true}\n", "no space after its colon"},
			{"a: [{b: c, d:e}]\n", "no space after its colon"},
			{"a: b\tc\n", "has a tab"},
			{"a: \xff\n", "not UTF-8"},
			{"a: \x00\n", "NUL"},
			{"a: b\u2028c: d\n", "invisible character"},
			{"a: b\x1bc\n", "invisible character"},
			{"a: b\na: c\n", ""},
			{"a: &b c\nd: *b\n", ""},
			{"a: !!str b\n", ""},
			{"<<: {a: b}\n", ""},
			{"{a: b\n", ""},
		} {
			switch err := read(c.text); {
			case err == nil:
				t.Errorf("%s: %q is taken", name, c.text)
			case !strings.Contains(err.Error(), c.want):
				t.Errorf("%s: %q: %v, want one that says %s", name, c.text, err, c.want)
			}
		}
	}
}
