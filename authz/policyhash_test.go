package authz_test

import (
	"sync"
	"testing"

	"warder/authz"
	"warder/authz/memory"
	"warder/authz/token"
	"warder/policy"
)

// TestPolicyHash checks that a decision names the policy that made it, also while the policy is
// replaced, and that a denial without a policy names none.
func TestPolicyHash(t *testing.T) {
	t.Parallel()
	routeOf := map[string]string{} // hash to the one route
	var policies []*policy.Policy
	for _, id := range []string{"before", "after"} {
		p, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte("version: 1\nroutes:\n  - {id: " + id + ", match: /a, public: true}\n")}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		routeOf[p.Hash()] = id
		policies = append(policies, p)
	}
	tokens, err := token.NewVerifier(token.Config{Keys: []token.Key{{Algorithm: "HS256", Secret: []byte("a-secret-of-more-than-thirty-two-bytes")}}})
	if err != nil {
		t.Fatal(err)
	}
	store := memory.New(nil)
	engine, err := authz.NewEngine(authz.Config{Policy: policies[0], Tokens: tokens, Sessions: store, Users: store, APIKeys: store})
	if err != nil {
		t.Fatal(err)
	}
	var deciding sync.WaitGroup
	for range 4 {
		deciding.Go(func() {
			for range 500 {
				d := engine.Decide(t.Context(), authz.NewRequest(authz.Attributes{Method: "GET", Host: "example.com", Path: "/a"}))
				if !d.Allowed() || routeOf[d.PolicyHash()] != d.Route() {
					t.Errorf("route %q has the hash of the policy of %q", d.Route(), routeOf[d.PolicyHash()])
				}
			}
		})
	}
	for n := range 500 {
		engine.SetPolicy(policies[n%2])
	}
	deciding.Wait()

	refused := engine.Decide(t.Context(), authz.NewRequest(authz.Attributes{Method: "GET", Host: "example.com", Path: "/nowhere"}))
	if refused.Allowed() || routeOf[refused.PolicyHash()] == "" {
		t.Errorf("a request without a route: hash %q", refused.PolicyHash())
	}
	if hash := authz.Deny(authz.ReasonOverloaded).PolicyHash(); hash != "" {
		t.Errorf("no policy was asked, and the hash is %q", hash)
	}
}
