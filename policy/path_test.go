package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"warder/policy"
	"warder/policy/pattern"
)

const (
	slash   = pattern.EncodedSlash
	percent = pattern.EncodedPercent
	semi    = pattern.Semicolon
)

// everyForms are all combinations of path_allows.
func everyForms() (all []pattern.Forms) {
	for f := range (slash | percent | semi) + 1 {
		all = append(all, f)
	}
	return all
}

// allowing compiles one route for a path as it stands in a policy.
func allowing(path string, forms pattern.Forms) (*policy.Policy, error) {
	allows := ""
	if forms != 0 {
		allows = fmt.Sprintf(", path_allows: [%s]", forms)
	}
	return tryCompile(fmt.Sprintf("{id: a, match: {paths: [%q]}, public: true%s}", path, allows))
}

// TestPathAllows: a path of the policy is held to what its route accepts in a
// request, form by form.
func TestPathAllows(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		needs pattern.Forms
		path  string
	}{
		{0, "/a"},
		{0, "/a%20b/{x}/**"},
		{slash, "/a%2Fb"},
		{slash, "/{x}/a%2fb/**"},
		{percent, "/100%25"},
		{percent, "/%252F"},
		{semi, "/a;b"},
		{semi, "/a%3bb"},
		{slash | percent, "/a%2Fb/%25"},
		{slash | semi, "/a%2Fb;c"},
		{percent | semi, "/%25;c"},
		{slash | percent | semi, "/a%2Fb;c%25"},
	} {
		for _, forms := range everyForms() {
			p, err := allowing(tt.path, forms)
			if missing := tt.needs &^ forms; missing == 0 {
				if err != nil || p.Routes()[0].PathAllows != forms {
					t.Errorf("%s with [%s]: %v", tt.path, forms, err)
				}
			} else if want := fmt.Sprintf("add path_allows: [%s] (route a)", missing); err == nil || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%s with [%s]: %v, want it to %s", tt.path, forms, err, want)
			}
		}
	}
	// Nothing that a route may accept opens a way up or to nowhere.
	for _, path := range []string{"/a%2F..%2Fb", "/a%2F%2Fb", "/a%2F", "/%2Fa", "/..;x", "/.%3Bx", "/;x", "/a%2F;x", "/a%5Cb", "/a%00", "/%25/..", "/a%2F%2e"} {
		if _, err := allowing(path, slash|percent|semi); err == nil {
			t.Errorf("%s is a path of a policy", path)
		}
	}
}

// FuzzPath: a route that is written for a path, in whatever spelling, wins that path, and
// loads only with the forms that the path needs.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/", "/a/b/", "/a%2Fb", "/%252e%252e/a", "/caf%C3%A9/%23/%40", "/a;b=c/d%3B", "/a%2Fb;c%25", "/%F0%9F%98%80/%E2%80%A5", "/..;x=1/a", "/{x}/**"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := pattern.ParsePath(raw)
		if err != nil {
			return
		}
		again, err := pattern.ParsePath(p.Canonical())
		if err != nil {
			t.Fatal(err)
		}
		var literal strings.Builder
		for _, s := range p.Segments() {
			literal.WriteByte('/')
			for i := range len(s) {
				fmt.Fprintf(&literal, "%%%02x", s[i])
			}
		}
		if literal.Len() == 0 {
			literal.WriteByte('/')
		}
		for _, forms := range everyForms() {
			routes, err := allowing(literal.String(), forms)
			if (p.Forms()&^forms == 0) != (err == nil) {
				t.Fatalf("%q needs [%s], and with [%s] as %q in a policy: %v", raw, p.Forms(), forms, literal.String(), err)
			}
			if err == nil && (routes.Match("GET", "x", p) == nil || routes.Match("GET", "x", again) == nil) {
				t.Errorf("%q is not matched by its own path in a policy, %q", raw, literal.String())
			}
		}
	})
}
