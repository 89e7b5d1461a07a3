package strict_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"warder/policy/strict"
)

type level string

func (l *level) ReadValue(r *strict.Reader, field string, v strict.Value) {
	text, ok := r.Text(field, v, "high")
	if ok && text != "high" {
		r.Fail(v.At, field, "is not high")
	}
	*l = level(text)
}

type item struct {
	Name string `json:"name" jsonschema:"required,example=ada"`
	On   bool   `json:"on"`
}

type all struct {
	Text    string            `json:"text" jsonschema:"example=a text"`
	Located strict.String     `json:"located"`
	Word    string            `json:"word" jsonschema:"enum=one,enum=two,enum=three"`
	Flag    bool              `json:"flag"`
	Number  int               `json:"number"`
	Wait    time.Duration     `json:"wait"`
	Network netip.Prefix      `json:"network"`
	Names   []string          `json:"names" jsonschema:"minItems=1,uniqueItems=true,example=ada"`
	Few     []string          `json:"few" jsonschema:"minItems=1" empty:", which is nobody; write one"`
	Items   []item            `json:"items"`
	Pair    [2]string         `json:"pair"`
	Words   map[string]string `json:"words"`
	Any     any               `json:"any"`
	Level   level             `json:"level"`
	Item    *item             `json:"item"`
	Needed  []item            `json:"needed" jsonschema:"required" missing:"; write needed: []"`

	inside string
}

func (*all) HintKey(_, key string) string {
	if key == "old" {
		return "was renamed; write text"
	}
	return ""
}

func TestRead(t *testing.T) {
	t.Parallel()
	const text = `
text: a
located: b
word: two
flag: true
number: -7
wait: 1m30s
network: 10.0.0.0/8
names: [x, y]
items: [{name: a, on: true}, {name: b}]
pair: [c, d]
words: {e: f, "g h": i}
any: {a: [1, 1.5, true, null, x], b: {c: d}}
level: high
item: {name: z}
needed: []
`
	v, found := strict.Parse(strict.File{Name: "f", Data: []byte(text)}, limits)
	r := &strict.Reader{Problems: found}
	got := all{inside: "kept"}
	r.Read("", v, &got)
	want := all{
		Text: "a", Located: strict.String{Text: "b", At: strict.Position{File: "f", Line: 3, Column: 10}, Field: "located"}, Word: "two", Flag: true, Number: -7,
		Wait: 90 * time.Second, Network: netip.MustParsePrefix("10.0.0.0/8"), Names: []string{"x", "y"}, Items: []item{{"a", true}, {"b", false}},
		Pair: [2]string{"c", "d"}, Words: map[string]string{"e": "f", "g h": "i"}, Level: "high", Item: &item{Name: "z"}, Needed: []item{},
		Any: map[string]any{"a": []any{int64(1), 1.5, true, nil, "x"}, "b": map[string]any{"c": "d"}}, inside: "kept",
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(all{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" || len(r.Problems) > 0 {
		t.Errorf("%v\n%s", r.Problems, diff)
	}
	if at, given := r.Place("items[1].name"); !given || at.String() != "f:10:37" {
		t.Errorf("items[1].name is at %v", at)
	}
	if at := r.Near("items[0].gone[3].x"); at.String() != "f:10:9" {
		t.Errorf("what is not there is near %v", at)
	}
	if keys := strings.Join(strict.KeysOf[item](), " "); keys != "name on" {
		t.Errorf("keys: %s", keys)
	}
}

// TestReadRefuses: each wrong value has its place, its field and what would be right.
func TestReadRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ want, text string }{
		{`1:7: text: is a number, not a text; put it in quotes: "042"`, "text: 042"},
		{`1:7: text: is true or false, not a text; put it in quotes: "true"`, "text: true"},
		{"1:6: text: has no value; write a text such as a text", "text:"},
		{"1:7: text: is a list; write a text such as a text", "text: []"},
		{"1:7: text: has a colon and a space outside quotes, which makes it a key with a value; put it in quotes", "text: {a: b}"},
		{"1:10: located: is a list; write a text, in quotes if need be", "located: []"},
		{`1:7: word: "four" is unknown; use one, two or three`, "word: four"},
		{`1:7: flag: is the text "yes"; write true or false, without quotes`, "flag: yes"},
		{`1:7: flag: is the text "true"; write true or false, without quotes`, `flag: "true"`},
		{`1:9: number: is the text "7"; write a whole number such as 2, without quotes`, `number: "7"`},
		{"1:9: number: is a number (07); write a whole number such as 2, without quotes", "number: 07"},
		{"1:9: number: is a number (1_0); write a whole number such as 2, without quotes", "number: 1_0"},
		{"1:9: number: is a number (0x7); write a whole number such as 2, without quotes", "number: 0x7"},
		{"1:9: number: is a number (1.0); write a whole number such as 2, without quotes", "number: 1.0"},
		{"1:9: number: is a number (1e3); write a whole number such as 2, without quotes", "number: 1e3"},
		{"1:9: number: is a number (99999999999999999999); write a whole number such as 2, without quotes", "number: 99999999999999999999"},
		{"1:7: wait: is not a duration; write one such as 200ms, 5s or 1m30s", "wait: 5"},
		{"1:7: wait: is a list; write a duration such as 200ms, 5s or 1m30s", "wait: []"},
		{`1:10: network: "10.0.0.1" is not a network; write one such as 10.0.0.0/8 or 203.0.113.7/32`, "network: 10.0.0.1"},
		{`1:8: names: is a text, but must be a list; write ["ada"]`, "names: ada"},
		{"1:8: names: is an empty list, which does not mean everything; leave the key out or write a list such as [ada]", "names: []"},
		{`1:12: names[1]: "a" is listed twice; write it once`, "names: [a, a, b]"},
		{"1:9: names[0]: has no value; write a text such as ada", "names: [~, a]"},
		{"1:6: few: is an empty list, which is nobody; write one", "few: []"},
		{"1:9: items[0].name: is missing; write one, such as name: ada\n1:20: items[1].name: is a list; write a text such as ada", "items: [{}, {name: []}]"},
		{`1:9: items[0]: is the text "a"; write a group of the keys name, on`, "items: [a]"},
		{"1:10: items[0].nam: is unknown; did you mean name?\n1:20: items[0].b: is unknown; use name, on", "items: [{nam: x,   b: z, name: a}]"},
		{"1:7: pair: is a list; write a list of 2 items", "pair: [a]"},
		{"1:12: words.a: is a number, not a text; put it in quotes: \"1\"", "words: {a: 1}"},
		{"1:8: words: is a list; write a group of keys", "words: []"},
		{"1:6: any: .nan is a number that YAML may spell in another way; write it in quotes, or with digits", "any: .nan"},
		{"1:8: level: is not high", "level: low"},
		{"1:1: old: was renamed; write text", "old: a"},
		{"1:1: inside: is unknown; use text, located, word, flag, number, wait, network, names, few, items, pair, words, any, level, item, needed", "inside: a"},
	} {
		v, found := strict.Parse(strict.File{Name: "f", Data: []byte(c.text + "\nneeded: []\n")}, limits)
		r := &strict.Reader{Problems: found}
		r.Read("", v, new(all))
		got := ""
		if err := r.Problems.Err(); err != nil {
			got = strings.ReplaceAll(err.Error(), "f:", "")
		}
		if got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.text, got, c.want)
		}
	}
	r := new(strict.Reader)
	v, _ := strict.Parse(strict.File{Name: "f", Data: []byte("text: a")}, limits)
	if r.Read("", v, new(all)); r.Problems.Error() != "f:1:1: needed: is missing; write needed: []" {
		t.Errorf("a missing key: %v", r.Problems)
	}
}

// TestQuiet: what may be a secret is in no message.
func TestQuiet(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"text: [canary]", "flag: canary", "number: canary", "wait: canary", "names: canary", "items: canary", "pair: canary", "words: canary", "level: [canary]", "item: canary",
		"text: {a: [canary]}", "needed: canary", "canary",
	} {
		v, found := strict.Parse(strict.File{Name: "f", Data: []byte(text)}, limits)
		r := &strict.Reader{Quiet: true, Problems: found}
		if r.Read("", v, new(all)); len(r.Problems) == 0 || strings.Contains(r.Problems.Error(), "canary") {
			t.Errorf("%s: %v", text, r.Problems)
		}
	}
}

// TestFilled: what comes from a variable is what it reads as, and digits may stand for a text.
func TestFilled(t *testing.T) {
	t.Parallel()
	filled := func(text string) strict.Value { return strict.Value{Kind: strict.Text, Text: text, Filled: true} }
	r := new(strict.Reader)
	var got all
	r.Read("flag", filled("true"), &got.Flag)
	r.Read("number", filled("12"), &got.Number)
	r.Read("wait", filled("2s"), &got.Wait)
	if !got.Flag || got.Number != 12 || got.Wait != 2*time.Second || len(r.Problems) > 0 {
		t.Errorf("%+v %v", got, r.Problems)
	}
	for _, text := range []string{"TRUE", "1", ""} {
		r := new(strict.Reader)
		if r.Read("flag", filled(text), &got.Flag); len(r.Problems) != 1 {
			t.Errorf("flag: %q is taken", text)
		}
	}
	digits := &strict.Reader{Digits: true}
	digits.Read("text", strict.Value{Kind: strict.Number, Text: "42"}, &got.Text)
	if got.Text != "42" || len(digits.Problems) > 0 {
		t.Errorf("%q %v", got.Text, digits.Problems)
	}
	for _, text := range []string{"042", "1.5", "1e3", "-0"} {
		r := &strict.Reader{Digits: true}
		if r.Read("text", strict.Value{Kind: strict.Number, Text: text}, &got.Text); len(r.Problems) != 1 {
			t.Errorf("%s is taken for a text", text)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{"rolse": "did you mean roles?", "zzz": "use roles, scopes", "": "use roles, scopes", strings.Repeat("roles", 20): "use roles, scopes"} {
		if got := strict.DidYouMean(word, []string{"roles", "scopes"}); got != want {
			t.Errorf("%q: %s, want %s", word, got, want)
		}
	}
}
