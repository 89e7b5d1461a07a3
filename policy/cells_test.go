package policy

import (
	"fmt"
	"slices"
	"testing"

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
	policy := func(role string) *Policy {
		text := "version: 1\nroutes:\n"
		for i := range 400 {
			text += fmt.Sprintf("- {id: any%d, match: /any/p%d, public: true}\n", i, i)
			text += fmt.Sprintf("- {id: own%d, match: {hosts: [h%d.example.com], paths: [/own]}, allow: [{user: {roles: [%s]}}]}\n", i, i, role)
		}
		p, err := Parse([]File{{Name: "p.yaml", Data: []byte(text)}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	d, err := Compare(policy("A"), policy("B"))
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Changes) != 400 {
		t.Errorf("%d changes, want 400", len(d.Changes))
	}
}
