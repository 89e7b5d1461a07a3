package policy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"warder/policy"
)

func goodEnv(name string) (string, bool) {
	value, set := map[string]string{"OFFICE": "203.0.113.0/24, 2001:db8:7::/48", "PARTNERS": "198.51.100.7\n198.51.100.8\t192.0.2.0/25"}[name]
	return value, set
}

// describe writes what a policy asks of whom, one route a paragraph.
func describe(p *policy.Policy) string {
	var b strings.Builder
	fmt.Fprintf(&b, "admin role %q\n", p.AdminRole())
	for _, r := range p.Routes() {
		fmt.Fprintf(&b, "%s: %s\n", r.Position, r.ID)
		if r.Public {
			b.WriteString("\tpublic\n")
		}
		if r.Anonymous {
			b.WriteString("\tanonymous\n")
		}
		if r.User != nil {
			fmt.Fprintf(&b, "\tuser: one of %q, all of %q\n", r.User.Roles, r.User.AllRoles)
		}
		if r.APIKey != nil {
			fmt.Fprintf(&b, "\tapi_key: all of %q, one of %q\n", r.APIKey.Scopes, r.APIKey.AnyScopes)
		}
		if r.ClientIPs != nil {
			fmt.Fprintf(&b, "\tfrom %v: %v\n", r.ClientIPs.Names(), r.ClientIPs.Prefixes())
		}
		if r.Principals != nil {
			fmt.Fprintf(&b, "\tprincipals %q\n", r.Principals.Patterns())
		}
		if r.Origins != nil {
			fmt.Fprintf(&b, "\torigins %q\n", r.Origins.Origins())
		}
		if r.Condition != nil {
			fmt.Fprintf(&b, "\twhen %s\n", r.Condition)
		}
		if r.PathAllows != 0 {
			fmt.Fprintf(&b, "\tpaths with %s\n", r.PathAllows)
		}
		if r.Shadow {
			b.WriteString("\tin shadow\n")
		}
	}
	for _, w := range p.Warnings() {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	return b.String()
}

// TestGood: each testdata/*.good.yaml loads, asks what stands beside it, and its
// comments "#> ROUTE METHOD HOST PATH" say which route wins a request; "-" is none.
func TestGood(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.good.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".good.yaml"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			p, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: data}}, goodEnv)
			if err != nil {
				t.Fatal(err)
			}
			wanted := strings.TrimSuffix(path, ".yaml") + ".txt"
			got := describe(p)
			if *update {
				if err := os.WriteFile(wanted, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(wanted)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}

			won := map[string]int{}
			for line := range strings.Lines(string(data)) {
				request, found := strings.CutPrefix(strings.TrimSpace(line), "#> ")
				if !found {
					continue
				}
				want, request, _ := strings.Cut(request, " ")
				got := winner(t, p, request)
				if got == "" {
					got = "-"
				}
				if got != want {
					t.Errorf("%s: %s wins, want %s", request, got, want)
				}
				won[got]++
			}
			for _, r := range p.Routes() {
				if won[r.ID] == 0 {
					t.Errorf("route %s wins no request of the file", r.ID)
				}
			}
			if won["-"] == 0 {
				t.Error("no request of the file is one that no route is for")
			}
		})
	}
}
