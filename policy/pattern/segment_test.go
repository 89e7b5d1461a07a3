package pattern_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"warder/policy/pattern"
)

// segment parses one segment of a pattern.
func segment(t testing.TB, text string) pattern.Segment {
	t.Helper()
	p, wrong := pattern.Parse("/" + strings.NewReplacer("é", "%C3%A9", "ß", "%C3%9F").Replace(text))
	if wrong != "" {
		t.Fatal(text, wrong)
	}
	return p.Segments()[0]
}

// TestMixedSegments: the values of the parameters, or "-" for a text that does not match.
func TestMixedSegments(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ want, segment, text string }{
		{"a", "{b}.json", "a.json"},
		{".", "{b}.json", "..json"},
		{".json", "{b}.json", ".json.json"},
		{"-", "{b}.json", ".json"},
		{"-", "{b}.json", "a.json.json"},
		{"-", "{b}.json", "a.jsonx"},
		{"-", "{b}.json", "a.JSON"},
		{"a|b", "{x}-{y}", "a-b"},
		{"a|b-c", "{x}-{y}", "a-b-c"},
		{"-|b", "{x}-{y}", "--b"},
		{"a|-", "{x}-{y}", "a--"},
		{"-", "{x}-{y}", "a-"},
		{"-", "{x}-{y}", "-b"},
		{"-", "{x}-{y}", "ab"},
		{"x", "{name}:cancel", "x:cancel"},
		{"x:undelete", "{name}:cancel", "x:undelete:cancel"},
		{"-", "{name}:cancel", "x:cancel:cancel"},
		{"7", "Orders({id})", "Orders(7)"},
		{"-", "Orders({id})", "Orders()"},
		{"-", "Orders({id})", "Orders(7"},
		{"-", "Orders({id})", "Orders(7))"},
		{"a|tar.gz", "{id}.{format}", "a.tar.gz"},
		{"1|2|3", "v{a}.{b}.{c}", "v1.2.3"},
		{"é|ß", "{a}-{b}", "é-ß"},
		{"\U0001f600", "{a}é", "\U0001f600é"},
		{"é", "{a}é", "éé"},
		{"aa", "{x}ab", "aaab"},
		{"-", "{x}ab", "aabab"},
		{"a", "x{y}", "xa"},
		{"-", "x{y}", "x"},
	} {
		s := segment(t, tt.segment)
		path, err := pattern.ParsePath("/" + escaped(tt.text))
		if err != nil {
			t.Fatal(tt.text, err)
		}
		p := pattern.New([]pattern.Segment{s}, false)
		var got []string
		for _, name := range p.Params() {
			if value, found := p.Param(name, path); found {
				got = append(got, value)
			}
		}
		matched := s.Matches(tt.text)
		if joined := strings.Join(got, "|"); matched != p.Matches(path) || matched && joined != tt.want || !matched && tt.want != "-" {
			t.Errorf("%s of %q: %v %q, want %q", tt.segment, tt.text, matched, joined, tt.want)
		}
	}
}

func escaped(text string) string {
	var b strings.Builder
	for i := range len(text) {
		fmt.Fprintf(&b, "%%%02X", text[i])
	}
	return b.String()
}

var params = regexp.MustCompile(`\{\w+\}`)

// reference matches a text against a segment as it is written, without escapes. It takes
// the contract's words one after the other, character by character.
func reference(written, text string) bool { return refer(params.Split(written, -1), text) }

func refer(parts []string, text string) bool {
	runes := []rune(text)
	take := func(literal string) bool {
		want := []rune(literal)
		if len(runes) < len(want) || string(runes[:len(want)]) != literal {
			return false
		}
		runes = runes[len(want):]
		return true
	}
	if !take(parts[0]) {
		return false
	}
	for i, literal := range parts[1:] {
		if len(runes) == 0 {
			return false
		}
		runes = runes[1:] // at least one character
		if last := i == len(parts)-2; last && literal == "" {
			return true
		}
		for !take(literal) {
			if len(runes) == 0 {
				return false
			}
			runes = runes[1:]
		}
	}
	return len(runes) == 0
}

// texts are all texts of a few characters, at most n long.
func texts(alphabet string, n int) []string {
	all := []string{""}
	for from := 0; n > 0; n-- {
		upTo := len(all)
		for _, text := range all[from:upTo] {
			for _, r := range alphabet {
				all = append(all, text+string(r))
			}
		}
		from = upTo
	}
	return all[1:]
}

// randomSegment writes a mixed segment with few characters.
func randomSegment(random *rand.Rand) string {
	literal := func(least int) string {
		var b strings.Builder
		for range least + random.IntN(3) {
			b.WriteByte("ab."[random.IntN(3)])
		}
		return b.String()
	}
	for {
		s := literal(0) + "{p}"
		for i := range random.IntN(3) {
			s += literal(1) + fmt.Sprintf("{p%d}", i)
		}
		s += literal(0)
		if _, wrong := pattern.Parse("/" + s); wrong == "" {
			return s
		}
	}
}

// TestMixedAgainstReference holds the matcher, the overlap, the cover and the search against
// every short text.
func TestMixedAgainstReference(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	all := slices.DeleteFunc(texts("ab.x", 6), func(s string) bool { return s == "." || s == ".." })
	overlaps, covers, apart := 0, 0, 0
	for range 400 {
		a, b := randomSegment(random), randomSegment(random)
		x, y := segment(t, a), segment(t, b)
		partsA, partsB := params.Split(a, -1), params.Split(b, -1)
		both, onlyX := false, false
		for _, text := range all {
			inX, inY := refer(partsA, text), refer(partsB, text)
			if x.Matches(text) != inX || y.Matches(text) != inY {
				t.Fatalf("%s or %s of %q: %v %v, want %v %v", a, b, text, x.Matches(text), y.Matches(text), inX, inY)
			}
			both, onlyX = both || inX && inY, onlyX || inX && !inY
		}
		common, found, err := pattern.FindText([]pattern.Segment{x, y}, nil, 0)
		if err != nil || both && !found || found && (!reference(a, common) || !reference(b, common)) {
			t.Fatalf("%s and %s: %q, %v, %v, and there is a text: %v", a, b, common, found, err, both)
		}
		if x.Overlap(y) != found || y.Overlap(x) != found {
			t.Fatalf("%s and %s overlap: %v, want %v", a, b, x.Overlap(y), found)
		}
		if found && len(common) <= 6 && !both {
			t.Fatalf("%s and %s: %q is none of all texts", a, b, common)
		}
		alone, found, err := pattern.FindText([]pattern.Segment{x}, []pattern.Segment{y}, 0)
		if err != nil || onlyX && !found || found && (!reference(a, alone) || reference(b, alone)) {
			t.Fatalf("%s without %s: %q, %v, %v, and there is a text: %v", a, b, alone, found, err, onlyX)
		}
		one, other := pattern.New([]pattern.Segment{x}, false), pattern.New([]pattern.Segment{y}, false)
		if other.Covers(one) == found {
			t.Fatalf("%s covers %s: %v", b, a, !found)
		}
		switch {
		case both && !found:
			covers++
		case both:
			overlaps++
		default:
			apart++
		}
	}
	if overlaps < 40 || covers < 5 || apart < 50 {
		t.Errorf("%d overlap, %d cover, %d are apart: this tests too little", overlaps, covers, apart)
	}
}

// TestFindText: the shortest text that a path can hold, with the forms that it must have.
func TestFindText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		want    string // "-" for none
		in, out string // separated by spaces
		form    pattern.Forms
	}{
		{"a-b", "{x}-b a-{y}", "", 0},
		{"a--b", "{x}-b a-{y}", "a-b", 0},
		{"-", "{x}.json {y}.xml", "", 0},
		{"-", "{x}a {y}b", "", 0},
		{"-", "{x}.json", "{y}.json", 0},
		{"-", "{x}.json", "{y}.{z}", 0},
		{"x.x", "{y}.{z}", "{x}.json", 0},
		{".x", ".{a}", "", 0}, // neither . nor ..
		{".x.", ".{a} {b}.", "", 0},
		{"x;", "{a}", "", semi},
		{"x;", "{a}", "{b};{c}", semi},
		{"x/x", "{a}", "", slash},
		{"x;b", "{a};b", "", 0},
		{"%-b", "{a}-b", "", percent},
		{"-", "a", "", semi},
		{"y", "{a}", "x{b} x", 0},
	} {
		list := func(text string) (all []pattern.Segment) {
			for s := range strings.FieldsSeq(text) {
				all = append(all, segment(t, s))
			}
			return all
		}
		got, found, err := pattern.FindText(list(tt.in), list(tt.out), tt.form)
		if err != nil || found != (tt.want != "-") || found && got != tt.want && (len(got) != len(tt.want) || tt.form == 0) {
			t.Errorf("in %s, not in %s: %q, %v, %v; want %q", tt.in, tt.out, got, found, err, tt.want)
		}
	}
}

// TestMixedAllocates: a mixed segment is matched without an allocation.
func TestMixedAllocates(t *testing.T) {
	p := pattern.New([]pattern.Segment{segment(t, "a{x}-{y}.json")}, false)
	path, err := pattern.ParsePath("/a" + strings.Repeat("-.jso", 1000) + ".json")
	if err != nil {
		t.Fatal(err)
	}
	if got := testing.AllocsPerRun(100, func() { p.Matches(path) }); got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}

// FuzzSegment holds a pattern and a text against the reference.
func FuzzSegment(f *testing.F) {
	for _, seed := range [][2]string{
		{"{b}.json", "a.json.json"},     // the literal twice
		{"{x}-{y}", "--"},               // a value that is the literal
		{"Orders({id})", "Orders((1))"}, // brackets
		{"{a}aab{c}", "aaaab"},          // a literal that begins in a value
		{"é{a}é", "ééé"},                // more than one byte
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, written, text string) {
		if strings.ContainsAny(written, "/%") || strings.ContainsAny(text, "/%") {
			return
		}
		p, wrong := pattern.Parse("/" + written)
		path, err := pattern.ParsePath("/" + escaped(text))
		if wrong != "" || err != nil || len(p.Segments()) != 1 || p.Rest() {
			return
		}
		if got, want := p.Matches(path), reference(written, text); got != want {
			t.Errorf("%q matches %q: %v, want %v", written, text, got, want)
		}
		again, wrong := pattern.Parse(p.String())
		if wrong != "" || again.Key() != p.Key() {
			t.Errorf("%q is written as %q: %s", written, p.String(), wrong)
		}
	})
}
