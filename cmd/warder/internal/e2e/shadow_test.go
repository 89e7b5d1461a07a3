package e2e

import (
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"testing"
	"time"

	"warder/authz"
)

// withoutOwnGuard removes Envoy's own protection against forged identity headers, so that the
// tests test warder.
func withoutOwnGuard(root map[string]any) {
	m := manager(root)
	m["common_http_protocol_options"].(map[string]any)["headers_with_underscores_action"] = "ALLOW"
	m["http_filters"].([]any)[0].(map[string]any)["typed_config"].(map[string]any)["mutations"] = map[string]any{}
}

// anyIdentity matches the header names that an application could mistake for those of warder.
var anyIdentity = regexp.MustCompile(`(?i)^x[^a-z0-9]warder[^a-z0-9]`)

// testShadow sends the same requests to a warder that enforces denials, to one in shadow mode,
// and to one with a next policy. Only the second does not enforce denials, except for ambiguous
// requests.
func testShadow(t *testing.T, r *rig, base, token, apiKey string) {
	const next = `
version: 1
routes:
  - {id: open, match: /open, allow: [{user: {}}]}
  - {id: all, match: "/**", public: true}
`
	forged := map[string]string{
		"X-Warder-User": "1", "X_Warder_Roles": "ADMIN", "X.Warder.Scopes": "all", "x-warder_auth-method": "session", "X-Warder-New": "1",
	}
	with := func(headers map[string]string) map[string]string {
		all := maps.Clone(forged)
		maps.Copy(all, headers)
		return all
	}
	requests := []struct {
		path    string
		headers map[string]string
		status  int // where it is enforced
		reason  authz.Reason
		nextly  authz.Reason
	}{
		{"/user", nil, 401, authz.ReasonCredentialsMissing, authz.ReasonPublic},
		{"/user", bearer(token + "x"), 401, authz.ReasonTokenSignature, authz.ReasonPublic},
		{"/key", key(apiKey + "x"), 401, authz.ReasonAPIKeyUnknown, authz.ReasonPublic},
		{"/nowhere", bearer(token), 403, authz.ReasonRouteUnmatched, authz.ReasonPublic},
		{"/user", bearer(token), 200, authz.ReasonSession, authz.ReasonPublic},
		{"/key", key(apiKey), 200, authz.ReasonAPIKey, authz.ReasonPublic},
		{"/open", nil, 200, authz.ReasonPublic, authz.ReasonCredentialsMissing},
		{"/user;x", bearer(token), 400, authz.ReasonPathAmbiguous, authz.ReasonPathAmbiguous},
	}
	for _, run := range []struct {
		name   string
		shadow bool
		flags  []string
	}{
		{"enforced", false, nil},
		{"in shadow", true, []string{"--shadow"}},
		{"with a policy to come", false, []string{"--shadow-policy", r.write("next.yaml", next)}},
	} {
		t.Run(run.name, func(t *testing.T) {
			r.startWarder(t, faultPolicy, nil, run.flags...)
			for _, request := range requests {
				status, verdict := request.status, authz.VerdictDeny
				switch {
				case request.reason.Allows():
					verdict = authz.VerdictAllow
				case run.shadow && status != http.StatusBadRequest:
					status, verdict = http.StatusOK, authz.VerdictWouldDeny
				}
				before, _ := r.upstream.seen()
				r.expect(t, base, request.path, with(request.headers), status)
				after, arrived := r.upstream.seen()
				if reached := after - before; reached != 0 && status != http.StatusOK || reached != 1 && status == http.StatusOK {
					t.Errorf("%s: the application got it %d times", request.path, reached)
				}
				want := said{Decision: verdict, Reason: request.reason.String()}
				if len(run.flags) > 1 && request.nextly != request.reason {
					r.expectSaid(t, request.path, r.warder.decisions, want, said{want.Decision, want.Reason, request.nextly.String()})
				} else {
					r.expectSaid(t, request.path, r.warder.decisions, want)
				}
				r.expectSaid(t, request.path, r.warder.accesses, want)
				if status == http.StatusOK {
					expectArrived(t, request.path, arrived, verdict, request.reason, run.shadow, request.headers)
				}
			}
		})
	}
}

// A said is the content of a line of one of the two logs.
type said struct {
	Decision string `json:"decision"`
	Reason   string `json:"reason"`
	Next     string `json:"next_reason"`
}

// expectSaid reads one line of a log for each wanted content, in any order.
func (r *rig) expectSaid(t *testing.T, path string, lines <-chan []byte, wanted ...said) {
	t.Helper()
	missing := map[said]bool{}
	for _, w := range wanted {
		missing[w] = true
	}
	for range wanted {
		select {
		case line := <-lines:
			var got said
			if err := json.Unmarshal(line, &got); err != nil || !missing[got] {
				t.Errorf("%s: %v in %s; want %v", path, err, line, wanted)
			}
			delete(missing, got)
		case <-time.After(patience):
			t.Fatalf("%s: no line for %v", path, missing)
		}
	}
}

// expectArrived checks the headers that the application received: an identity for an allowed
// principal, otherwise no identity in any spelling, and in shadow mode the credentials.
func expectArrived(t *testing.T, path string, arrived http.Header, verdict string, reason authz.Reason, shadow bool, credentials map[string]string) {
	t.Helper()
	known := verdict == authz.VerdictAllow && (reason == authz.ReasonSession || reason == authz.ReasonAPIKey)
	for name, values := range arrived {
		switch {
		case !anyIdentity.MatchString(name):
		case verdict != authz.VerdictAllow:
			t.Errorf("%s: %s: %q reached the application", path, name, values)
		case name == "X-Warder-New", name == "X-Warder-User" && !known, regexp.MustCompile(`[_.]`).MatchString(name):
			t.Errorf("%s: forged %s: %q reached the application", path, name, values)
		}
	}
	if got := arrived.Get("X-Warder-User"); known && got != goodUser {
		t.Errorf("%s: the application got user %q, want %q", path, got, goodUser)
	}
	for name, value := range credentials {
		if got := arrived.Values(name); shadow && (len(got) != 1 || got[0] != value) {
			t.Errorf("%s: the application got %s %q, want what was sent", path, name, got)
		}
	}
}
