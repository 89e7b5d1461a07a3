package mask

import (
	"strings"
	"testing"
)

// The work is linear in the length of the text. Each shape is one that a naive scanner would
// search repeatedly.
func TestLinear(t *testing.T) {
	t.Parallel()
	for name, shape := range map[string][3]string{ // beginning, repeated part, end
		"plain":                 {"", "word ", ""},
		"keys":                  {"", "password=x ", ""},
		"signs":                 {"", "=", ""},
		"colons":                {"", ":", ""},
		"spaced signs":          {"", "= ", ""},
		"blanks":                {"password" + strings.Repeat(" ", 100), " ", "="},
		"separators":            {"", "_", "="},
		"separators and signs":  {"", "_=", ""},
		"commas":                {"password=", ",a", ""},
		"semicolons":            {"cookie=", ";a", ""},
		"pairs":                 {"password=", ",a=", ""},
		"ampersands":            {"password=", "&a", ""},
		"brackets":              {"", "[", ""},
		"braces":                {"", `{"a":`, ""},
		"braces and brackets":   {"", `{"a":[`, ""},
		"masked braces":         {"", `{"pin":[`, ""},
		"torn masked braces":    {"", `{"pin":[`, strings.Repeat("]:", 100)},
		"text braces":           {"", `{"pin" [`, ""},
		"torn strings":          {"", `{"`, ""},
		"JSON in quotes":        {"", `{"a":"{"b":1}"}`, ""},
		"numbers":               {"", "[1", ""},
		"torn numbers":          {`["`, "[1,", `" x`},
		"values":                {"", `"password":{`, ""},
		"values in lines":       {"", "\"password\":\n", ""},
		"parentheses":           {"", "password=(", ""},
		"quotes":                {"", `password="`, ""},
		"two quotes":            {"", `password="'`, ""},
		"apostrophes":           {"password='", "it's", ""},
		"backslashes":           {"", `\`, ""},
		"escaped quotes":        {"", `\"`, ""},
		"percent":               {"", "%25", ""},
		"percent and text":      {"", "%2525x%3d", ""},
		"unicode":               {"", `\u005c`, ""},
		"eyJ":                   {"", "eyJ", ""},
		"eyJ.":                  {"", "eyJ.", ""},
		"wk_":                   {"", "wk_", ""},
		"wk_a_":                 {"", "wk_a_", ""},
		"bearer":                {"", "bearer ", ""},
		"basic":                 {"", "basic basic:", ""},
		"URLs":                  {"", "http://a:b/", ""},
		"userinfo":              {"", "://a:", ""},
		"userinfo at the end":   {"", "://a:b/", "@"},
		"flags":                 {"", "--token ", ""},
		"dashes":                {"", "-", ""},
		"curl":                  {"", " -u", ""},
		"tuples":                {"", "('a',", ""},
		"long tuples":           {"", "('" + strings.Repeat("a", 60), ""},
		"dispositions":          {"", "content-disposition: name=", ""},
		"dispositions in lines": {"", "content-disposition: name=pin\n\n", ""},
		"PEM":                   {"", "-----BEGIN ", ""},
		"PEM in lines":          {"", "-----BEGIN PRIVATE KEY-----\n", ""},
		"names":                 {"", `"name":"`, ""},
		"strings in JSON":       {`{"a":"`, `\\\"`, `"}`},
		"escapes in JSON":       {"[", `"\n",`, "1]"},
		"escapes in JSON, torn": {"[", `"\n",`, ""},
		"JSON in JSON, torn":    {"", `["\n",`, ""},
		"escaped JSON, torn":    {"", `{"a":"\n",`, ""},
		"rest of lines":         {"password: a", " b", ""},
		"rest of lines, names":  {"password: a", " b-", ":c"},
		"header":                {"cookie: a", "; b=c", ""},
		"foreign":               {"", "\u212a=", ""},
		"non-ASCII":             {"", "é", "="},
	} {
		work := func(n int) int {
			text := []byte(shape[0] + strings.Repeat(shape[1], n/len(shape[1])) + shape[2])
			s := scanner{words: builtinWords}
			s.append(nil, text)
			return s.work
		}
		const n = 1 << 14
		one, two := work(n), work(2*n)
		if two > 2*one+one/4+1000 {
			t.Errorf("%s: %d steps for %d bytes, %d for twice as many", name, one, n, two)
		}
		if one > 100*n {
			t.Errorf("%s: %d steps for %d bytes", name, one, n)
		}
		if one < n-n/100 {
			t.Errorf("%s: %d steps for %d bytes: not all steps are counted", name, one, n)
		}
	}
}
