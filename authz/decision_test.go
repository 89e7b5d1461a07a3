package authz

import (
	"slices"
	"testing"
)

// TestShadowEnforces checks which denials are enforced in shadow mode too, for every
// reason and for values that are not a reason.
func TestShadowEnforces(t *testing.T) {
	t.Parallel()
	enforced := []Reason{ReasonInternal, ReasonRequestMalformed, ReasonPathAmbiguous, reasonCount, reasonCount + 1}
	for _, r := range append(Reasons(), reasonCount, reasonCount+1) {
		if r.Allows() {
			continue // not a denial
		}
		want := VerdictWouldDeny
		if slices.Contains(enforced, r) {
			want = VerdictDeny
		}
		if got := (Decision{reason: r, shadow: true}).Verdict(); got != want {
			t.Errorf("%s (%d): %s, want %s", r, r, got, want)
		}
	}
}
