package main

import (
	"testing"

	"warder/authz"
)

// TestStepOfKnowsEveryReason: a reason that explain does not know would be shown as a
// fault of warder.
func TestStepOfKnowsEveryReason(t *testing.T) {
	t.Parallel()
	for _, r := range authz.Reasons() {
		step := stepOf(r)
		isFault := r == authz.ReasonInternal || r == authz.ReasonOverloaded
		if (step == stepFault) != isFault || (step == stepAll) != r.Allows() {
			t.Errorf("%s is shown at step %d", r, step)
		}
	}
}
