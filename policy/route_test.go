package policy_test

import (
	"testing"

	"warder/policy"
	"warder/policy/pattern"
)

func TestRouteByID(t *testing.T) {
	t.Parallel()
	p, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(`
version: 1
routes:
  - {id: listed, match: "GET,PURGE /a", public: true}
  - {id: default, match: /b, public: true}
`)}}, badEnv)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", "Listed", "listed ", "nobody"} {
		if r := p.Route(id); r != nil {
			t.Errorf("Route(%q) is %s", id, r.ID)
		}
	}
	for id, takes := range map[string]map[string]bool{
		"listed":  {"GET": true, "HEAD": true, "PURGE": true, "POST": false, "OPTIONS": false, "get": false, "": false},
		"default": {"GET": true, "HEAD": true, "DELETE": true, "OPTIONS": true, "PURGE": false, "TRACE": false, "": false},
	} {
		r := p.Route(id)
		if r == nil || r.ID != id {
			t.Fatalf("Route(%q) is %v", id, r)
		}
		path, err := pattern.ParsePath(map[string]string{"listed": "/a", "default": "/b"}[id])
		if err != nil {
			t.Fatal(err)
		}
		for method, want := range takes {
			if got := r.Takes(method); got != want {
				t.Errorf("%s takes %q: %v", id, method, got)
			}
			if matched := p.Match(method, "x", path) == r; matched != want {
				t.Errorf("Match and Takes disagree about %q for %s", method, id)
			}
		}
	}
}
