package pattern_test

import (
	"strings"
	"testing"

	"warder/policy/pattern"
)

func parse(t *testing.T, text string) pattern.Pattern {
	t.Helper()
	p, wrong := pattern.Parse(text)
	if wrong != "" {
		t.Fatal(text, wrong)
	}
	return p
}

// TestPatterns: two patterns beside each other. The first is the more specific one.
func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		first, second string
		segment       int  // of the first difference, -1 for none
		covers        bool // the second matches all that the first matches
	}{
		{"/a/b", "/a/{x}", 1, true},
		{"/a/{x}", "/{x}/a", 0, false},
		{"/a/b", "/a/**", 1, true},
		{"/a/{x}", "/a/**", 1, true},
		{"/a", "/a/**", 1, true},
		{"/", "/**", 0, true},
		{"/a/{x}", "/a", 1, false},
		{"/a/{x}", "/a/{y}/", -1, true},
		{"/{x}/**", "/{y}/**", -1, true},
		{"/a", "/b", -1, false},
		{"/a/**", "/{x}/b/**", 0, false},
	} {
		first, second := parse(t, row.first), parse(t, row.second)
		segment, found := first.FirstDifference(second)
		if found != (row.segment >= 0) || found && segment != row.segment {
			t.Errorf("%s and %s differ at %d, %v", row.first, row.second, segment, found)
		}
		if order := first.Compare(second); order > 0 || order != -second.Compare(first) || found && order == 0 {
			t.Errorf("%s and %s compare as %d", row.first, row.second, order)
		}
		if second.Covers(first) != row.covers {
			t.Errorf("%s covers %s: %v", row.second, row.first, !row.covers)
		}
		if same := first.Key() == second.Key(); same != (first.Compare(second) == 0) {
			t.Errorf("%s and %s have the same key: %v", row.first, row.second, same)
		}
	}
}

// TestPrefix: how much of a path a pattern matches.
func TestPrefix(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		pattern, path string
		n             int
		whole         bool
	}{
		{"/", "/", 0, true},
		{"/", "/a", 0, false},
		{"/**", "/", 0, true},
		{"/**", "/a/b", 0, true},
		{"/a/{x}", "/a/b", 2, true},
		{"/a/{x}", "/a/b/", 2, true},
		{"/a/{x}", "/a", 1, false},
		{"/a/{x}", "/a/b/c", 2, false},
		{"/a/{x}/c", "/a/b/d", 2, false},
		{"/a/**", "/b", 0, false},
	} {
		path, err := pattern.ParsePath(row.path)
		if err != nil {
			t.Fatal(err)
		}
		if n, whole := parse(t, row.pattern).Prefix(path); n != row.n || whole != row.whole {
			t.Errorf("%s matches %d segments of %s, the whole path: %v", row.pattern, n, row.path, whole)
		}
	}
	if parse(t, "/**").Matches(pattern.Path{}) || parse(t, "/").Matches(pattern.Path{}) {
		t.Error("the path of no request is matched")
	}
}

// TestString: a pattern is written in a form that Parse reads as the same one.
func TestString(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"/": "/", "/**": "/**", "/a/": "/a", "/a/{x}/**": "/a/{x}/**", "/caf%c3%a9": "/caf%C3%A9", "/%2A": "/%2A", "/a%2A%2a": "/a%2A%2A", "/%3Aid": "/%3Aid", "/a:b": "/a:b", "/%7Bx%7D": "/%7Bx%7D",
	} {
		p := parse(t, text)
		if got := p.String(); got != want || parse(t, got).Key() != p.Key() {
			t.Errorf("%s is written as %s, want %s", text, got, want)
		}
	}
}

func TestWrongPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/a/{x}/**": "",
		"/a%2Fb":    "path_allows: [encoded_slash]",
		"/a;b":      "path_allows: [semicolon]",
		"/a//b":     "empty segment",
		"a":         "does not begin with /",
	} {
		if got := pattern.WrongPath(path); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if pattern.PathKey("/a/{x}/") != pattern.PathKey("/a/{y}") || pattern.PathKey("/a/{x}") == pattern.PathKey("/a/x") {
		t.Error("PathKey tells apart by names, or not by literals")
	}
}
