package authz

import (
	"slices"
	"testing"
)

// TestShadowEnforces: which denials are enforced in shadow too, of all that there are and
// of a reason that is none.
func TestShadowEnforces(t *testing.T) {
	t.Parallel()
	enforced := []Reason{ReasonInternal, ReasonRequestMalformed, ReasonPathAmbiguous, reasonCount, reasonCount + 1}
	for _, r := range append(Reasons(), reasonCount, reasonCount+1) {
		if r.Allows() {
			continue // Deny makes no denial of it
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
