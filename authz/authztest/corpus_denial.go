package authztest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// bodies are what a client reads; the first is the one that the contract spells out.
var bodies = map[int]string{
	401: `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"Authentication required."}`,
}

// checkDenial: a client learns the status and nothing else. All answers with one
// status are the same, byte for byte, but for the challenge of a 401 and for the three
// headers that let the scripts of an origin read them.
func (r *corpusRun) checkDenial(t *testing.T, c *Case, w Wanted, got Outcome) {
	t.Helper()
	seen := denial{name: c.file.Name + "/" + c.Name, body: got.Body}
	var challenges []string
	cors := map[string]string{"access-control-allow-origin": "", "access-control-allow-credentials": "", "vary": ""}
	for _, h := range got.Response {
		name := strings.ToLower(h[0])
		if name == "www-authenticate" {
			challenges = append(challenges, h[1])
			continue
		}
		if _, is := cors[name]; is {
			cors[name] += h[1]
			continue
		}
		seen.response = append(seen.response, [2]string{name, h[1]})
	}
	slices.SortFunc(seen.response, func(a, b [2]string) int { return strings.Compare(a[0]+": "+a[1], b[0]+": "+b[1]) })

	var want []string
	if w.Challenge != "" {
		want = []string{w.Challenge}
	}
	if diff := cmp.Diff(want, challenges); diff != "" {
		t.Errorf("WWW-Authenticate (-want +got):\n%s", diff)
	}
	wantCORS := map[string]string{"access-control-allow-origin": "", "access-control-allow-credentials": "", "vary": ""}
	if c.CORS != "" {
		wantCORS = map[string]string{"access-control-allow-origin": c.CORS, "access-control-allow-credentials": "true", "vary": "Origin"}
	}
	if diff := cmp.Diff(wantCORS, cors); diff != "" {
		t.Errorf("CORS headers (-want +got):\n%s", diff)
	}
	first, known := r.denials[w.Status]
	switch head := strings.HasPrefix(c.Request, "HEAD "); {
	case head && got.Body == "" && known:
		seen.body = first.body // an answer to HEAD has none (RFC 9110, 9.3.2)
	case head && got.Body == "":
		return
	case !known:
		r.denials[w.Status] = seen
		first = seen
	}
	if body, fixed := bodies[w.Status]; fixed && seen.body != body {
		t.Errorf("body = %s, want %s", seen.body, body)
	}
	if first.body != seen.body || !slices.Equal(first.response, seen.response) {
		t.Errorf("status %d looks like\n%v %s\nand for %s it looked like\n%v %s", w.Status, seen.response, seen.body, first.name, first.response, first.body)
	}
	for _, secret := range c.Build(t, time.Now()).Secrets {
		for _, h := range got.Response {
			if strings.Contains(h[1], secret) {
				t.Errorf("%s tells a credential to the client", h[0])
			}
		}
		if strings.Contains(got.Body, secret) {
			t.Error("the body tells a credential to the client")
		}
	}
}
