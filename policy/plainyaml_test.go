package policy_test

import (
	"strings"
	"testing"

	"warder/policy"
)

// TestPlainYAML: what the parser passes over in silence is told, in any file.
func TestPlainYAML(t *testing.T) {
	t.Parallel()
	const (
		hidden = "is a YAML document behind another one, which hides it; use one document"
		glued  = "has no space after its colon, which makes it one word to most readers; write key: value"
		tab    = "has a tab, which the parser leaves out of a word and takes for indentation; write spaces"
	)
	for text, want := range map[string]string{
		"":                                    "",
		"# nothing\n":                         "",
		"a: b\n":                              "",
		"\uFEFFa: b\n":                        "",
		"---\na: b\n":                         "",
		"# c\n---\na: b\n":                    "",
		"a: b\n...\n":                         "",
		"a: b\r\nc: d\r":                      "",
		"a: {b: c, \"d\":e, f: [g]}\n":        "",
		"a: [http://b, 2001:db8::/32, ::1]\n": "",
		"a: 'b\tc'\n":                         "",
		"a: b # c\td\n":                       "",
		"a: b\t\n":                            "",
		"a: |\n  b\tc\n":                      "",
		"---\n---\na: b\n":                    "f:2:1: " + hidden,
		"---\n# c\n---\na: b\n":               "f:3:1: " + hidden,
		"# c\n---\n\n---\na: b\n":             "f:4:1: " + hidden,
		"a: b\n...\nc: d\n":                   "f:3:1: " + hidden,
		"...\na: b\n":                         "f:2:1: " + hidden,
		"a: {b:c}\n":                          "f:1:5: " + glued,
		"{a:true}\n":                          "f:1:2: " + glued,
		"a: [{b:c, d:e}]\n":                   "f:1:6: " + glued + "\nf:1:11: " + glued,
		"a: b\tc\n":                           "f:1:4: " + tab,
		"a: \xff\n":                           "f: is not UTF-8; save it as UTF-8",
		"a: \x00\n":                           "f: holds a NUL byte; save it as UTF-8 text",
		"a: b\u2028\n":                        "f:1: holds a character that is not seen and that YAML has no place for, or that ends the line for some readers only; take it out",
	} {
		data, found := policy.PlainYAML(policy.File{Name: "f", Data: []byte(text)})
		got := ""
		if len(found) > 0 {
			got = found.Error()
		}
		if got != want {
			t.Errorf("%q: %s\nwant %s", text, got, want)
		}
		if got == "" && strings.ContainsAny(string(data), "\r\uFEFF") {
			t.Errorf("%q becomes %q", text, data)
		}
	}
}
