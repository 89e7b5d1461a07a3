package policy_test

import (
	"testing"

	"warder/policy"
)

// TestPrincipalSet is not parallel: it counts allocations.
func TestPrincipalSet(t *testing.T) { //nolint:paralleltest // see above
	p, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(`
version: 1
routes:
  - {id: a, match: /a, public: true, principals: ["spiffe://td/sa/*", "spiffe://td/*", web]}
`)}}, badEnv)
	if err != nil {
		t.Fatal(err)
	}
	set := p.Routes()[0].Principals
	for principal, want := range map[string]bool{
		"spiffe://td/sa/a":     true,
		"spiffe://td/sa/*":     true, // a segment like any other
		"spiffe://td/sa":       true, // by the second
		"web":                  true,
		"":                     false,
		"/":                    false,
		"a":                    false,
		"WEB":                  false,
		"web/":                 false,
		"spiffe://td/":         false,
		"spiffe://td":          false,
		"spiffe://td/sa/":      false,
		"spiffe://td/sa/a/b":   false,
		"spiffe://td/sa/.":     false,
		"spiffe://td/sa/..":    false,
		"spiffe://td/sa/...":   true,
		"spiffe://td/sa/a#b":   false,
		"spiffe://td/sa/a?b":   false,
		"x/spiffe://td/sa/a":   false,
		"spiffe://td/sa/a\x00": true, // exactly as it stands in the certificate
	} {
		if got := set.Contains(principal); got != want {
			t.Errorf("Contains(%q) = %v", principal, got)
		}
		if n := testing.AllocsPerRun(10, func() { set.Contains(principal) }); n != 0 {
			t.Errorf("Contains(%q): %v allocations", principal, n)
		}
	}
	if new(policy.PrincipalSet).Contains("web") {
		t.Error("the empty set contains somebody")
	}
}
