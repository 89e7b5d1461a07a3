package explain

import (
	"net/http"
	"testing"

	"warder/authz"
)

// TestStepOfKnowsEveryReason checks that explain knows every reason. It would show an unknown
// reason as an internal error of warder.
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

// TestExplainIsLocal checks that clients on other machines learn nothing about the policy.
func TestExplainIsLocal(t *testing.T) {
	t.Parallel()
	for peer, want := range map[string]bool{
		"127.0.0.1:4711": true, "127.0.0.6:1": false, "127.8.8.8:1": false, "[::1]:4711": true, "[::ffff:127.0.0.1]:1": true,
		"10.0.0.7:4711": false, "[2001:db8::1]:1": false, "192.0.2.1:80": false, "": false, "@": false, "localhost:1": false,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/explain", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.RemoteAddr = peer
		if got := fromHere(r); got != want {
			t.Errorf("a request from %q is from here: %v", peer, got)
		}
	}
}
