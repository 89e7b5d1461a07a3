package pattern_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"warder/policy/pattern"
)

const (
	slash   = pattern.EncodedSlash
	percent = pattern.EncodedPercent
	semi    = pattern.Semicolon
)

// TestParsePath: one reading, or none. The tables are those of RFC 3986 and of what
// proxies and applications are known to read differently.
func TestParsePath(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		forms    pattern.Forms
		segments string // joined by |
		path     string
	}{
		{0, "", "/"},
		{0, "", "/?a/../b"},
		{0, "a", "/a"},
		{0, "a", "/a/"},
		{0, "a", "/a?"},
		{0, "a", "/a/?x=//..//%2F%00%zz;#"},
		{0, "a|b", "/a/b"},
		{0, "a|b", "/a/b/"},
		{0, "A|b", "/A/b"},

		// Decoded once, segment by segment.
		{0, "a|b", "/%61/b"},
		{0, "A", "/%41"},
		{0, "a@b", "/a@b"},
		{0, "a@b", "/a%40b"},
		{0, "a#b", "/a%23b"},
		{0, "a?b", "/a%3Fb"},
		{0, "a b", "/a%20b"},
		{0, "a+b", "/a+b"},
		{0, "a+b", "/a%2bb"},
		{0, "caf\u00e9", "/caf%C3%A9"},
		{0, "caf\u00e9", "/caf%c3%a9"},
		{0, "\U0001f600", "/%F0%9F%98%80"},
		{0, "\u00ad", "/%C2%AD"},
		{0, "{id}", "/{id}"},
		{0, "**", "/**"},
		{0, "...", "/..."},
		{0, ".a", "/.a"},
		{0, "a.", "/a."},
		{0, "..a", "/..a"},
		{0, "\u2025", "/%E2%80%A5"},                // a two dot leader is no ..
		{0, "\u2215a", "/%E2%88%95a"},              // and a division slash no /
		{0, "\uff0e\uff0e", "/%EF%BC%8E%EF%BC%8E"}, // nor full-width dots

		// What a route may accept by name.
		{slash, "a/b", "/a%2Fb"},
		{slash, "a/b|c", "/a%2fb/c"},
		{percent, "a%b", "/a%25b"},
		{percent, "%2F", "/%252F"},
		{percent, "%2e%2e", "/%252e%252e"},
		{semi, "a;b", "/a;b"},
		{semi, "a;b", "/a%3Bb"},
		{semi, "a;..", "/a;.."},
		{slash | percent | semi, "a/b;c%", "/a%2Fb;c%25"},
	} {
		got, err := pattern.ParsePath(tt.path)
		if err != nil {
			t.Errorf("%q: %v", tt.path, err)
			continue
		}
		if joined := strings.Join(got.Segments(), "|"); joined != tt.segments || got.Forms() != tt.forms {
			t.Errorf("%q: %q %s, want %q %s", tt.path, joined, got.Forms(), tt.segments, tt.forms)
		}
		if raw, _, _ := strings.Cut(tt.path, "?"); got.Raw() != raw {
			t.Errorf("%q was sent as %q", tt.path, got.Raw())
		}
	}

	for _, path := range []string{
		"", "?", "a", "a/b", "*", "http://example.com/a", "//example.com/a", " /a", "\\a",
		"//", "/a//", "/a//b", "///", "/a/b//", // empty segments
		"/.", "/..", "/./", "/../", "/a/.", "/a/..", "/a/./b", "/a/../b", // dot segments
		"/%2e", "/%2E", "/.%2e", "/%2e.", "/%2e%2E/a", "/a/%2e%2e",
		"/..;", "/..;/a", "/..;x=1/a", "/.;/a", "/%2e%2e;/a", "/..%3B/a", "/;", "/;a/b", "/a/;/b", "/%3B",
		"/%2F", "/a%2F", "/%2Fa", "/a%2F%2Fb", "/a%2F..", "/..%2Fa", "/a%2F..%2Fb", "/a%2f.%2fb", "/a%2F;x", "/a;x%2F..", // after decoding
		"/a\\b", "/a%5Cb", "/a%5cb", "/\\..\\a",
		"/a%00", "/%00", "/a%00.png", "/a%0a", "/a%0D%0Ab", "/a%1F", "/a%1f", "/a%7F", "/a%09",
		"/a\x00", "/a\tb", "/a\nb", "/a\rb", "/a b", "/a\x7f", "/a\x1f",
		"/a#", "/a#b", "/#", "/caf\u00e9", "/\xff", "/\x80",
		"/%", "/a%", "/a%2", "/a%2/", "/%zz", "/%2g", "/%-1", "/%u002e", "/%u002F", "/% 2", "/%%32e", "/%2%65",
		"/%ff", "/%80", "/%C3", "/%c0%af", "/%c0%ae%c0%ae", "/%e0%80%af", "/%ed%a0%80", "/%f4%90%80%80", "/%C3/%A9", "/%C3%A9%A9",
	} {
		got, err := pattern.ParsePath(path)
		if !errors.Is(err, pattern.ErrPath) {
			t.Errorf("%q is read as %q, %v", path, got.Segments(), err)
			continue
		}
		if len(path) > 3 && strings.Contains(err.Error(), path) {
			t.Errorf("%q: the error %q tells the path", path, err)
		}
	}
}

// TestParsePathEveryByte: each byte between two letters, raw and escaped. The sets
// are the contract's words.
func TestParsePathEveryByte(t *testing.T) {
	t.Parallel()
	const (
		refusedRaw = ` \#` // and control, non-ASCII
		refusedEsc = `\`   // and control; non-ASCII alone is no UTF-8
	)
	control := func(b byte) bool { return b < 0x20 || b == 0x7f }
	for i := range 256 {
		b := byte(i)
		var forms pattern.Forms
		switch b {
		case ';':
			forms = semi
		case '/':
			forms = slash
		case '%':
			forms = percent
		}
		escaped := fmt.Sprintf("/a%%%02Xb", b)
		got, err := pattern.ParsePath(escaped)
		refused := control(b) || b >= 0x80 || strings.IndexByte(refusedEsc, b) >= 0
		if refused != (err != nil) {
			t.Errorf("%s is refused: %v, want %v", escaped, err != nil, refused)
		} else if err == nil && (len(got.Segments()) != 1 || got.Segments()[0] != "a"+string(rune(b))+"b" || got.Forms() != forms) {
			t.Errorf("%s is read as %q %s", escaped, got.Segments(), got.Forms())
		}
		if lower, _ := pattern.ParsePath(strings.ToLower(escaped)); !slices.Equal(lower.Segments(), got.Segments()) {
			t.Errorf("%s depends on the case of its escape: %q", escaped, lower.Segments())
		}

		if strings.IndexByte("/?%", b) >= 0 {
			continue // structure, not content: see TestParsePath
		}
		raw := "/a" + string([]byte{b}) + "b"
		got, err = pattern.ParsePath(raw)
		refused = control(b) || b >= 0x80 || strings.IndexByte(refusedRaw, b) >= 0
		if refused != (err != nil) {
			t.Errorf("%q is refused: %v, want %v", raw, err != nil, refused)
		} else if err == nil && (len(got.Segments()) != 1 || got.Segments()[0] != raw[1:] || got.Forms() != forms) {
			t.Errorf("%q is read as %q %s", raw, got.Segments(), got.Forms())
		}
	}
}

func TestFormsString(t *testing.T) {
	t.Parallel()
	for want, forms := range map[string]pattern.Forms{
		"": 0, "encoded_slash": slash, "encoded_percent, semicolon": percent | semi, "encoded_slash, encoded_percent, semicolon": slash | percent | semi,
	} {
		if got := forms.String(); got != want {
			t.Errorf("%d is %q, want %q", forms, got, want)
		}
	}
}

// FuzzPath: a path has one canonical form, which is its own, or none.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{
		"/",                           // no segment
		"/a/b/",                       // a trailing slash makes none
		"/a?b=/../c",                  // what stands in a query is no path
		"//a",                         // empty segments
		"/a/%2e%2E/b",                 // dots in disguise
		"/..;x=1/a",                   // dots in front of a parameter
		"/a%2F..%2Fb",                 // dots between encoded slashes
		"/%252e%252e/a",               // encoded twice
		"/a%5C..%5Cb",                 // backslashes
		"/%c0%ae%c0%ae/",              // overlong UTF-8
		"/caf%C3%A9/%23/%40",          // ordinary escapes
		"/a%00.png",                   // NUL
		"/a;b=c/d%3B",                 // parameters
		"/%F0%9F%98%80/%E2%80%A5",     // beyond the basic plane, and a look-alike
		"/a%",                         // cut off
		"http://example.com/a",        // absolute form
		"/" + strings.Repeat("a/", 9), // many segments
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := pattern.ParsePath(raw)
		if err != nil {
			if !errors.Is(err, pattern.ErrPath) || len(p.Segments()) > 0 || p.Raw() != "" {
				t.Fatalf("%q: %v, %q", raw, err, p.Segments())
			}
			return
		}
		for _, s := range p.Segments() {
			if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }) {
				t.Errorf("%q: segment %q", raw, s)
			}
			for part := range strings.SplitSeq(s, "/") {
				part, _, _ = strings.Cut(part, ";")
				if part == "" || part == "." || part == ".." {
					t.Errorf("%q: segment %q climbs or is empty", raw, s)
				}
			}
		}
		has := func(s string) bool {
			return slices.ContainsFunc(p.Segments(), func(x string) bool { return strings.Contains(x, s) })
		}
		if (p.Forms()&slash != 0) != has("/") || (p.Forms()&percent != 0) != has("%") || (p.Forms()&semi != 0) != has(";") {
			t.Errorf("%q: forms %s of %q", raw, p.Forms(), p.Segments())
		}
		again, err := pattern.ParsePath(p.Canonical())
		if err != nil {
			t.Fatalf("%q: its canonical form %q: %v", raw, p.Canonical(), err)
		}
		if diff := cmp.Diff(p.Segments(), again.Segments()); diff != "" || again.Canonical() != p.Canonical() || again.Forms() != p.Forms() {
			t.Errorf("%q: the canonical form %q is another path: %s", raw, p.Canonical(), diff)
		}

		// The same function reads the paths of a policy: a pattern that is written for this
		// path, in whatever spelling, has its forms and matches it.
		var literal strings.Builder
		for _, segment := range p.Segments() {
			literal.WriteByte('/')
			for i := range len(segment) {
				fmt.Fprintf(&literal, "%%%02x", segment[i])
			}
		}
		if literal.Len() == 0 {
			literal.WriteByte('/')
		}
		for _, text := range []string{literal.String(), strings.TrimSuffix(literal.String(), "/") + "/**", pattern.New(literals(p), false).String()} {
			route, wrong := pattern.Parse(text)
			if wrong != "" || route.Forms() != p.Forms() || !route.Matches(p) || !route.Matches(again) {
				t.Errorf("%q is not matched by its own path in a policy, %q: %s", raw, text, wrong)
			}
		}
	})
}

// literals returns the segments of a pattern that matches the path alone.
func literals(p pattern.Path) (segments []pattern.Segment) {
	for _, s := range p.Segments() {
		segments = append(segments, pattern.Segment{Text: s})
	}
	return segments
}

// BenchmarkParsePath makes the canonical form of an ordinary path.
func BenchmarkParsePath(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pattern.ParsePath("/api/v1/kind9/42/audit?page=2"); err != nil {
			b.Fatal(err)
		}
	}
}
