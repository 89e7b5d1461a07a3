package main

import (
	"testing"

	"warder/cmd/warder/internal/clitest"
	"warder/policy"
)

// TestShippedPoliciesHaveNoWarnings checks that the policies that people copy are valid and
// give no warnings.
func TestShippedPoliciesHaveNoWarnings(t *testing.T) {
	t.Parallel()
	found := 0
	for file, texts := range clitest.ShippedPolicies(t) {
		for _, text := range texts {
			env := func(string) (string, bool) { return "192.0.2.0/24 198.51.100.7", true }
			p, err := policy.Parse([]policy.File{{Name: file, Data: text}}, env)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			found++
			for _, w := range p.Warnings() {
				t.Errorf("%s", w)
			}
		}
	}
	if found < 6 {
		t.Errorf("%d policies found: this tests too little", found)
	}
}
