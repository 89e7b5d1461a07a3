package policy_test

import (
	"strings"
	"testing"

	"warder/policy"
)

// TestFoldField: of all bytes, letters and digits are themselves, in lower case, and all
// others are one separator, each for itself.
func TestFoldField(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		b := string([]byte{byte(c)})
		want := "-"
		if strings.Contains("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", b) {
			want = strings.ToLower(b)
		}
		for _, pair := range [][2]string{{b, want}, {"x" + b + "tenant", "x" + want + "tenant"}, {b + b, want + want}, {"x-a" + b, "x-a" + want}} {
			if got := policy.FoldField(pair[0]); got != pair[1] {
				t.Errorf("%q folds to %q, want %q", pair[0], got, pair[1])
			}
		}
	}
	if got := policy.FoldField("x-\u212Aey-ü"); got != "x----ey---" {
		t.Errorf("characters beyond ASCII fold to %q", got)
	}
}

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
		folded := policy.FoldField(name) == "x-tenant"
		for _, all := range []fields{{{name, "acme"}}, {{"x-tenant", "acme"}, {name, "evil"}}, {{name, "evil"}, {"x-tenant", "acme"}}} {
			in := &policy.ConditionInput{Path: path, Fields: all}
			if holds, _ := is.Holds(t.Context(), in); holds != (!folded && len(all) == 2 || name == "x-tenant" && len(all) == 1) {
				t.Errorf("%s with %q: %v", is, all, holds)
			}
			if holds, _ := lacks.Holds(t.Context(), in); holds != (!folded && len(all) == 1) {
				t.Errorf("%s with %q: %v", lacks, all, holds)
			}
		}
		for _, hidden := range []string{"x-warder-user", "proxy-authorization", "x-user-id"} {
			forged := strings.ReplaceAll(hidden, "-", name[1:len(name)-len("tenant")])
			in := &policy.ConditionInput{Path: path, Fields: fields{{forged, "1"}}, HiddenFields: []string{"x_user.id"}}
			seen := conditionOf(t, `request.headers.exists(h, true)`)
			if holds, _ := seen.Holds(t.Context(), in); holds != (policy.FoldField(forged) != hidden) {
				t.Errorf("%q is seen: %v", forged, holds)
			}
		}
	}
}
