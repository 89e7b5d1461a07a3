package policy_test

import (
	"testing"

	"warder/policy/pattern"
)

// TestHostsOfOneAddress: an address in another spelling is the same host, and so is not
// left to the routes for any host.
func TestHostsOfOneAddress(t *testing.T) {
	t.Parallel()
	p := compile(t,
		`{id: own, match: {hosts: ["[2001:db8::1]"], paths: [/x]}, allow: [{user: {}}]}`,
		`{id: any, match: {paths: [/x]}, public: true}`)
	path, err := pattern.ParsePath("/x")
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"[2001:db8::1]", "[2001:DB8::1]:80", "[2001:db8:0:0:0:0:0:1]", "[2001:0db8::0001]", "[2001:db8::0.0.0.1]"} {
		if route := p.Match("GET", host, path); route == nil || route.ID != "own" {
			t.Errorf("%s: %v, want own", host, route)
		}
	}
}
