package policy_test

import (
	"testing"

	"warder/policy"
)

// TestOtherFile: a file is another one when it has a key of that one, and none of its own.
func TestOtherFile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want string // what the message says
		as   string
		keys []string
	}{
		{"is a policy, not a configuration; give it with --policy", "a configuration", []string{"version", "routes"}},
		{"is a policy, not a file of cases; give it with --policy", "a file of cases", []string{"version", "routes"}},
		{"is a configuration, not a file of cases; give it with --config", "a file of cases", []string{"jwt", "sessions"}},
		{"", "a file of cases", []string{"policy", "cases", "users"}},
		{"", "a file of cases", []string{"cases", "routes"}},
		{"", "a policy", []string{"routes", "cases", "openapi"}},
		{"", "a policy", []string{"version", "route"}},
		{"", "a policy", nil},
	} {
		if got := policy.OtherFile(c.as, c.keys); got != c.want {
			t.Errorf("%s with %v: %q, want %q", c.as, c.keys, got, c.want)
		}
	}
}
