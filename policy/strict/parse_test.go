package strict_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	yaml3 "go.yaml.in/yaml/v3"

	"warder/policy/strict"
)

var limits = strict.Limits{Bytes: 1 << 16, TooLarge: "split it"}

// TestParseRefuses: what readers of YAML forgive or disagree about is refused, at its place.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	const (
		mark    = "begins with ?, which marks a key for some parsers; put the text in quotes"
		second  = "begins a second YAML document, which other parsers ignore; write one document per file"
		glued   = "has no space after its colon, which makes it one word; write key: value"
		tab     = "has a tab, which some parsers remove from a text; write spaces, or put the text in quotes"
		aliases = "anchors and aliases (& and *) are not supported; write the value out, and quote a text that begins with * or &"
		tags    = "tags (!) are not supported; leave it out, and quote a text that begins with !"
		noKey   = "is not a key; keys are plain words, and any other text is quoted"
		unseen  = "contains an invisible character that YAML does not allow, or that only some parsers read as a line end; remove it"
	)
	for _, c := range []struct{ want, text string }{
		// Documents.
		{"f:2:1: " + second, "---\n---\na: b\n"},
		{"f:3:1: " + second, "---\n# c\n---\na: b\n"},
		{"f:2:1: " + second, "a: b\n---\nc: d\n"},
		{"f:2:1: " + second, "a: b\n---\n"},
		{"f:3:1: " + second, "a: b\n...\nc: d\n"},
		{"f:1:1: directives (%) are not supported; leave it out", "%YAML 1.2\n---\na: b\n"},
		{"f:2:1: directives (%) are not supported; leave it out", "# c\n%TAG ! x\n---\na: b\n"},
		{"f:1:1: ends a YAML document before it begins; leave it out", "...\na: b\n"},
		{"f:2:1: ends a YAML document before it begins; leave it out", "# c\n... # d\n-: a\n"},
		// Characters.
		{"f: is not UTF-8; save it as UTF-8", "a: \xff\n"},
		{"f: contains a NUL byte; save it as UTF-8 text", "a: \x00\n"},
		{"f:2: " + unseen, "a: b\nc: d\u2028\n"},
		{"f:1: " + unseen, "a: b\x1b[0m\n"},
		{"f:1: " + unseen, "a: \"b\u0085\"\n"},
		{"f:1: " + unseen, "a: b\uFEFF\n"},
		{"f: is larger than 64 KiB; split it", strings.Repeat("#", 1<<16+1)},
		{"f:1:4: " + tab, "a: b\tc\n"},
		{"f:1:5: " + tab, "a: [b\tc, d]\n"},
		{"f:2:1: is not YAML: found character that cannot start any token; indent with spaces, not with tabs", "a:\n\tb: c\n"},
		// Keys.
		{"f:1:2: " + glued, "{public:true}\n"},
		{"f:1:11: " + glued, "{a: true, b:c}\n"},
		{"f:1:2: " + glued, "{a:}\n"},
		{"f:1:5: " + glued, "a: [b:]\n"},
		{"f:1:5: " + glued, "a: [b:, c]\n"},
		{"f:1:9: " + glued, "a: {b: [c:]}\n"},
		{"f:1:2: " + glued, "{a:, b: c}\n"},
		{"f:1:2: " + noKey, "{:: []}\n"},
		{"f:2:1: a is repeated; it is already at line 1", "a: b\na: c\n"},
		{"f:1:10: \"a b\" is repeated; it is already at line 1", "{a b: 1, \"a b\": d}\n"},
		{"f:1:1: " + noKey, "1: a\n"},
		{"f:1:1: " + noKey, "true: a\n"},
		{"f:1:1: " + noKey, "~: a\n"},
		{"f:1:1: " + noKey, "[a]: b\n"},
		{"f:1:1: " + noKey, "&a b: c\n"},
		{"f:1:3: keys that are marked with ? are not supported; write key: value", "? a\n: b\n"},
		{"f:2:2: keys that are marked with ? are not supported; write key: value", "?\n a\n: b\n"},
		{"f:2:1: keys that are marked with ? are not supported; write key: value", "?\t\n>\n"},
		{"f:3:3: keys that are marked with ? are not supported; write key: value", "a: b\n?\n  c\n: d\n"},
		{"f:1:4: keys that are marked with ? are not supported; write key: value", "{? a: b}\n"},
		{"f:1:1: merge keys (<<) are not supported; write the keys out", "<<: {a: b}\n"},
		// Values.
		{"f:1:4: " + aliases + "\nf:2:4: " + aliases, "a: &x b\nc: *x\n"},
		{"f:1:4: is not YAML: unknown anchor '.example.com' referenced; " + aliases, "a: *.example.com\n"},
		{"f:1:4: " + tags, "a: !!str b\n"},
		{"f:1:4: " + tags, "a: ! b\n"},
		{"f:1:4: is True, which is a text for some parsers; write true or false, or put the text in quotes", "a: True\n"},
		{"f:1:4: " + mark, "a: ?b\n"},
		{"f:1:5: " + mark, "a: [?b, c]\n"},
		{"f:1:8: " + mark, "a: {b: ?c}\n"},
		{"f:1:5: " + noKey, "a: {?b: c}\n"},
		{"f:1:1: " + noKey, "?a: b\n"},
		// Syntax.
		{"f:1:4: is not YAML: found character that cannot start any token; put a text that begins with @ in quotes", "a: @b\n"},
		{"f:1:4: is not YAML: found character that cannot start any token; put a text that begins with ` in quotes", "a: `b`\n"},
		{"f:2:2: is not YAML: mapping values are not allowed in this context; write a space after each colon, and put other texts with a colon in quotes", "x:y\na: b\n"},
		{"f:1:5: is not YAML: mapping values are not allowed in this context; check the indentation, brackets and quotes of this line and the one before", "a: b: c\n"},
		{"f:1: is not YAML: did not find expected ',' or ']'; check the indentation, brackets and quotes of this line and the one before", "a: [b\n"},
	} {
		_, found := strict.Parse(strict.File{Name: "f", Data: []byte(c.text)}, limits)
		got := ""
		if len(found) > 0 {
			got = found.Err().Error()
		}
		if got != c.want {
			t.Errorf("%.60q\n got %s\nwant %s", c.text, got, c.want)
		}
	}
	deep := strings.Repeat("[", 200) + strings.Repeat("]", 200)
	if _, found := strict.Parse(strict.File{Name: "f", Data: []byte("a: " + deep)}, limits); len(found) != 1 || !strings.HasSuffix(found.Error(), "is nested too deeply for a file of warder") {
		t.Errorf("200 lists in each other: %v", found)
	}
}

// show writes a value as one line.
func show(v strict.Value) string {
	switch v.Kind {
	case strict.Group:
		var parts []string
		for _, e := range v.Entries {
			parts = append(parts, fmt.Sprintf("%s@%d:%d %s", e.Key, e.At.Line, e.At.Column, show(e.Value)))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case strict.List:
		var parts []string
		for _, item := range v.Items {
			parts = append(parts, show(item))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case strict.Null:
		return "null"
	case strict.Text:
		return strconv.Quote(v.Text)
	case strict.Bool, strict.Number:
		return v.Text
	case strict.Broken:
	}
	return "broken"
}

// TestParseReads: what has one reading is read so, with its places.
func TestParseReads(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                        "null",
		"# nothing\n":             "null",
		"---\n# nothing\n":        "null",
		"a: b\n...\n":             `{a@1:1 "b"}`,
		"\uFEFFa: b\n":            `{a@1:1 "b"}`,
		"a: 1\r\nb: 2\rc: 3":      "{a@1:1 1, b@2:1 2, c@3:1 3}",
		"# c\n---\na: b # d\te\n": `{a@3:1 "b"}`,
		"a: 'b\tc'\n":             `{a@1:1 "b\tc"}`,
		"a: b\t\n":                `{a@1:1 "b"}`,
		"a: |\n  b\tc\n":          `{a@1:1 "b\tc\n"}`,
		"a: [::1, 2001:db8::/32, http://b, a:b, 10.0.0.0/8]\n": `{a@1:1 ["::1", "2001:db8::/32", "http://b", "a:b", "10.0.0.0/8"]}`,
		"- ::1\n- 2001:db8::/32\n":                             `["::1", "2001:db8::/32"]`,
		"{\"a\":b, c: {\"d\":[e]}}\n":                          `{a@1:2 "b", c@1:9 {d@1:13 ["e"]}}`,
		"a: yes\nb: on\nc: null\nd:\ne: ''\n":                  `{a@1:1 "yes", b@2:1 "on", c@3:1 null, d@4:1 null, e@5:1 ""}`,
		"a: 2026-01-31\nb: 0x1F\nc: 0660\nd: 1_000\ne: .inf\n": `{a@1:1 "2026-01-31", b@2:1 0x1F, c@3:1 0660, d@4:1 1_000, e@5:1 .inf}`,
		"é: {ü: a}\n":     `{é@1:1 {ü@1:5 "a"}}`,
		"a: b?c\nd?: e\n": `{a@1:1 "b?c", d?@2:1 "e"}`,
		"{a: redis://h/0?b=c, d: '?', e: [f?]}\n": `{a@1:2 "redis://h/0?b=c", d@1:22 "?", e@1:30 ["f?"]}`,
	} {
		v, found := strict.Parse(strict.File{Name: "f", Data: []byte(text)}, limits)
		if got := show(v); got != want || len(found) > 0 {
			t.Errorf("%q\n got %s %v\nwant %s", text, got, found, want)
		}
	}
	shared := limits
	shared.Aliases = true
	v, found := strict.Parse(strict.File{Name: "f", Data: []byte("a: &x {b: c}\nd: [*x, *x]\n")}, shared)
	if got := show(v); got != `{a@1:1 {b@1:8 "c"}, d@2:1 [{b@1:8 "c"}, {b@1:8 "c"}]}` || len(found) > 0 {
		t.Errorf("aliases: %s %v", got, found)
	}
	for text, want := range map[string]string{
		"a: &x {b: &y c, d: *y}\n": "f:1:20: an alias below an anchor is not supported; write the value out",
		"a: &x [*x]\n":             "f:1:8: an alias below an anchor is not supported; write the value out",
		"a: *x\nb: &x c\n":         "f:1:4: is not YAML: unknown anchor 'x' referenced; an alias needs an anchor before it: write & and the name before a value above",
	} {
		if _, found := strict.Parse(strict.File{Name: "f", Data: []byte(text)}, shared); found.Err() == nil || found.Err().Error() != want {
			t.Errorf("%q: %v, want %s", text, found, want)
		}
	}
}

// TestManyKeys: a repeated key is found in a small group and in a large one, each time it stands
// there.
func TestManyKeys(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 15, 16, 17, 40} {
		var text strings.Builder
		for i := range n {
			fmt.Fprintf(&text, "k%d: a\n", i)
		}
		fmt.Fprintf(&text, "k0: b\nother: c\nother: d\nk%d: e\n", n-1)
		want := fmt.Sprintf("f:%d:1: k0 is repeated; it is already at line 1\nf:%d:1: other is repeated; it is already at line %d\nf:%d:1: k%d is repeated; it is already at line %d", n+1, n+3, n+2, n+4, n-1, n)
		v, found := strict.Parse(strict.File{Name: "f", Data: []byte(text.String())}, limits)
		if got := found.Error(); got != want {
			t.Errorf("%d keys:\n%s\nwant\n%s", n, got, want)
		}
		if len(v.Entries) != n+1 || !v.Partial {
			t.Errorf("%d keys: %d entries, partial: %v", n, len(v.Entries), v.Partial)
		}
	}
}

// TestParseKeepsData: the text of the caller stays as it is, also behind its end.
func TestParseKeepsData(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"a: b", "a: b\r\nc: d", "a: b\rc: d"} {
		data := []byte(text + "#")
		if _, found := strict.Parse(strict.File{Name: "f", Data: data[:len(text)]}, limits); len(found) > 0 {
			t.Errorf("%q: %v", text, found)
		}
		if string(data) != text+"#" {
			t.Errorf("%q became %q", text, data)
		}
	}
}

// TestProblemsAreAll: one run finds everything that is wrong.
func TestProblemsAreAll(t *testing.T) {
	t.Parallel()
	_, found := strict.Parse(strict.File{Name: "f", Data: []byte("a: True\nb: !x c\na: d\ne: f\tg\n<<: h\n")}, limits)
	if lines := strings.Split(found.Err().Error(), "\n"); len(lines) != 5 {
		t.Errorf("%d problems: %v", len(lines), found)
	}
}

// FuzzParse: what is taken is one document that another reader reads alike, and what is
// refused has a place and words.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"version: 1\nroutes:\n  - {id: a, match: \"GET /a\", allow: [{user: {roles: [A, B]}}]}\n",
		"listen: {grpc: unix:///run/w.sock}\njwt:\n  keys:\n    - secret: ${A}\n", "a: |\n  b\n   c\n\nd: >-\n  e\n  f\n", "- - a\n  - b\n-\n  c: d\n",
		"'a''b': \"c\\n\\u00e9\"\n", "a: [b, {c: d}, 'e']\n", "a: b\n  c\nd: - e\n", "a: &b c\nd: *b\n", "? a\n: b\n", "a:\tb\n", "a: {b: c}}\n", "a: b #c\n#d\n", "[a: b, c]\n",
		"a: 1e3\nb: 0o7\nc: ~\nd: TRUE\n", "--- a\n", "a: !!binary aGk=\n", "{a: , b}\n", "a: >+2\n   b\n\n",
		"listen: {grpc: unix:?/run/w.sock, redis_url: redis://h/0?a=b}", "listen: {grpc: :9191, admin: [:9192]}", "{\"a\" :b}", "a: [?x]\n", "a: {?b: c}\n", "a: {b: ?c}\n", "?a: b\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<12 {
			return
		}
		v, found := strict.Parse(strict.File{Name: "f", Data: data}, limits)
		for _, p := range found {
			if p.File != "f" || p.Message == "" || p.Line < 0 || p.Line > 2+bytes.Count(data, []byte("\n"))+bytes.Count(data, []byte("\r")) {
				t.Fatalf("%+v", p)
			}
		}
		if len(found) > 0 || v.Kind != strict.Group { // no file is anything else
			return
		}
		lines := strings.Join(strict.Lines(data), "\n")
		if !strings.HasSuffix(lines, "\n") {
			lines += "\n" // a file ends with a line
		}
		decoder := yaml3.NewDecoder(strings.NewReader(lines))
		var other any
		if err := decoder.Decode(&other); err != nil && !errors.Is(err, io.EOF) {
			if newer.MatchString(lines) {
				return
			}
			t.Fatalf("another reader refuses it: %v", err)
		}
		if ours := plain(v); !reflect.DeepEqual(ours, texts(other)) {
			t.Fatalf("%q is\n%#v, and to another reader\n%#v", data, ours, texts(other))
		}
		if err := decoder.Decode(&other); !errors.Is(err, io.EOF) {
			t.Fatalf("a second document: %v", err)
		}
	})
}

// newer matches the texts that may hold what is YAML since 1.2 only: question marks and colons
// in words between brackets (7.3.3), tabs between words (6.2), the escape \/ (5.7), and keys of
// more than about 1000 characters. The other reader, which is older, may refuse such a text. It
// must never read it differently.
var newer = regexp.MustCompile(`[{\[\t]|\\/|.{1000}`)

// plain returns a value with all numbers as one.
func plain(v strict.Value) any {
	switch v.Kind {
	case strict.Group:
		m := map[string]any{}
		for _, e := range v.Entries {
			m[e.Key] = plain(e.Value)
		}
		return m
	case strict.List:
		l := []any{}
		for _, item := range v.Items {
			l = append(l, plain(item))
		}
		return l
	case strict.Text:
		return v.Text
	case strict.Bool:
		return v.Text == "true"
	case strict.Number:
		return "a number"
	case strict.Null, strict.Broken:
	}
	return nil
}

func texts(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for k, item := range v {
			m[k] = texts(item)
		}
		return m
	case []any:
		l := []any{}
		for _, item := range v {
			l = append(l, texts(item))
		}
		return l
	case int, int64, uint64, float64:
		return "a number"
	case string, bool, nil:
		return v
	}
	return fmt.Sprintf("%T", v)
}
