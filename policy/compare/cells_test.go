package compare

import (
	"fmt"
	"slices"
	"testing"

	"warder/policy"
	"warder/policy/pattern"
)

// TestHostsAround holds the list against what [pattern.HostCovers] says.
func TestHostsAround(t *testing.T) {
	t.Parallel()
	all := []string{"", "a", "a.b", "a.b.c", "b.c", "*.c", "*.b.c", "*.b", "*.a.b.c", "c", "x.b.c", "*.bb.c"}
	for _, p := range all {
		around := hostsAround(p)
		for _, q := range all {
			if slices.Contains(around, q) != pattern.HostCovers(q, p) {
				t.Errorf("%q is around %q: %v", q, p, !pattern.HostCovers(q, p))
			}
		}
	}
}

// TestCompareManyHosts: routes for any host are not looked at again on each other host.
func TestCompareManyHosts(t *testing.T) {
	t.Parallel()
	parse := func(role string) *policy.Policy {
		text := "version: 1\nroutes:\n"
		for i := range 400 {
			text += fmt.Sprintf("- {id: any%d, match: /any/p%d, public: true}\n", i, i)
			text += fmt.Sprintf("- {id: own%d, match: {hosts: [h%d.example.com], paths: [/own]}, allow: [{user: {roles: [%s]}}]}\n", i, i, role)
		}
		p, err := policy.Parse([]policy.File{{Name: "p.yaml", Data: []byte(text)}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	d, err := Policies(parse("A"), parse("B"))
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Changes) != 400 {
		t.Errorf("%d changes, want 400", len(d.Changes))
	}
}
