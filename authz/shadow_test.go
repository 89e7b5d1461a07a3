package authz_test

import (
	"errors"
	"testing"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/memory"
	"warder/authz/token"
	"warder/policy"
)

const shadowPolicy = `
version: 1
ip_lists: {office: [203.0.113.0/24]}
routes:
  - {id: watched, match: "GET /watched/**", allow: [{user: {roles: [CONTROL]}}], shadow: true}
  - {id: office, match: GET /office, public: true, client_ips: [office], shadow: true}
  - {id: closed, match: "GET /closed/**", allow: [{user: {roles: [CONTROL]}}]}
  - {id: open, match: GET /open, public: true, shadow: true}
`

// TestShadow checks which denials shadow mode does not enforce and which it does.
func TestShadow(t *testing.T) {
	t.Parallel()
	p, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(shadowPolicy)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := token.NewVerifier(token.Config{Keys: []token.Key{{Algorithm: "HS256", Secret: []byte(engineSecret)}}})
	if err != nil {
		t.Fatal(err)
	}
	store := memory.New(nil)
	down := authztest.Lying{Err: errors.New("connection refused")}
	for _, test := range []struct {
		want   string // with the policy's own shadow settings
		all    string // with Config.Shadow
		reason authz.Reason
		path   string
	}{
		{"allow", "allow", authz.ReasonPublic, "/open"},
		{"would_deny", "would_deny", authz.ReasonCredentialsMissing, "/watched/7"},
		{"would_deny", "would_deny", authz.ReasonClientIPUnknown, "/office"},
		{"deny", "would_deny", authz.ReasonCredentialsMissing, "/closed/7"},
		{"deny", "would_deny", authz.ReasonRouteUnmatched, "/none"},
		{"deny", "deny", authz.ReasonPathAmbiguous, "/watched/%2e%2e/closed/7"},
		{"deny", "deny", authz.ReasonPathAmbiguous, "/watched/a%2Fb"},
		{"deny", "deny", authz.ReasonPathAmbiguous, "//watched"},
	} {
		for _, all := range []bool{false, true} {
			e, err := authz.NewEngine(authz.Config{Policy: p, Tokens: verifier, Sessions: store, Users: store, APIKeys: store, Shadow: all})
			if err != nil {
				t.Fatal(err)
			}
			want := test.want
			if all {
				want = test.all
			}
			d := e.Decide(t.Context(), authz.NewRequest(authz.Attributes{Method: "GET", Path: test.path}))
			if d.Verdict() != want || d.Reason() != test.reason || d.WouldDeny() != (want == "would_deny") || d.Allowed() != (want == "allow") {
				t.Errorf("%s, all in shadow %v: %s %s, want %s %s", test.path, all, d.Verdict(), d.Reason(), want, test.reason)
			}
		}
	}

	e, err := authz.NewEngine(authz.Config{Policy: p, Tokens: verifier, Sessions: down, Users: down, APIKeys: down})
	if err != nil {
		t.Fatal(err)
	}
	if d := decide(t.Context(), t, e, "/watched/7"); d.Verdict() != "would_deny" || d.Reason() != authz.ReasonSessionsUnavailable {
		t.Errorf("store down, shadow route: %s %s", d.Verdict(), d.Reason())
	}
	if d := decide(t.Context(), t, e, "/closed/7"); d.Verdict() != "deny" || d.Reason() != authz.ReasonSessionsUnavailable {
		t.Errorf("store down, enforced route: %s %s", d.Verdict(), d.Reason())
	}
}

// TestShadowOnlyByEngine checks that a Decision that the engine did not make is enforced.
func TestShadowOnlyByEngine(t *testing.T) {
	t.Parallel()
	for _, d := range []authz.Decision{{}, authz.Deny(authz.ReasonInternal), authz.Deny(authz.ReasonRoleMissing), authz.Deny(authz.ReasonRequestMalformed)} {
		if d.WouldDeny() || d.Shadow() || d.Allowed() || d.Verdict() != "deny" {
			t.Errorf("%s %s: would deny %v", d.Verdict(), d.Reason(), d.WouldDeny())
		}
	}
}
