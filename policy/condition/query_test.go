package condition_test

import (
	"strings"
	"testing"

	"warder/policy/condition"
	"warder/policy/pattern"
)

// TestConditionSeparators: whatever byte stands between the words of a header's name, no
// condition believes it, and one in two spellings is an error.
func TestConditionSeparators(t *testing.T) {
	t.Parallel()
	is := conditionOf(t, `request.headers["x-tenant"] == "acme"`)
	lacks := conditionOf(t, `!("x-tenant" in request.headers)`)
	path := pathOf(t, "/x")
	for c := range 256 {
		name := "x" + strings.ToLower(string([]byte{byte(c)})) + "tenant"
		if c >= 0x80 {
			name = "x" + string([]byte{byte(c)}) + "tenant"
		}
		folded := pattern.FoldHeader(name) == "x-tenant"
		for _, all := range []fields{{{name, "acme"}}, {{"x-tenant", "acme"}, {name, "evil"}}, {{name, "evil"}, {"x-tenant", "acme"}}} {
			in := &condition.Input{Path: path, Fields: all}
			if holds, _ := is.Holds(t.Context(), in); holds != (!folded && len(all) == 2 || name == "x-tenant" && len(all) == 1) {
				t.Errorf("%s with %q: %v", is, all, holds)
			}
			if holds, _ := lacks.Holds(t.Context(), in); holds != (!folded && len(all) == 1) {
				t.Errorf("%s with %q: %v", lacks, all, holds)
			}
		}
		for _, hidden := range []string{"x-warder-user", "proxy-authorization", "x-user-id"} {
			forged := strings.ReplaceAll(hidden, "-", name[1:len(name)-len("tenant")])
			in := &condition.Input{Path: path, Fields: fields{{forged, "1"}}, HiddenFields: []string{"x_user.id"}}
			seen := conditionOf(t, `request.headers.exists(h, true)`)
			if holds, _ := seen.Holds(t.Context(), in); holds != (pattern.FoldHeader(forged) != hidden) {
				t.Errorf("%q is seen: %v", forged, holds)
			}
		}
	}
}
