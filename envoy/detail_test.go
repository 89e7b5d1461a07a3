package envoy

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"warder/authz"
	"warder/authz/authztest"
)

// lastSeen keeps the last observation.
type lastSeen struct{ Observation }

func (l *lastSeen) Observed(_ context.Context, o Observation) { l.Observation = o }

// TestDetailStaysInside checks that an observer gets the detail of a denial, and that the
// response has nothing of it: all 401s with a refused token are the same bytes but for the
// metadata, which have no detail either.
func TestDetailStaysInside(t *testing.T) {
	t.Parallel()
	const canary = "c4n4ry"
	var seen lastSeen
	s := newTestServer(t, Config{Observer: &seen})
	expires := time.Now().Add(time.Hour).Unix()
	for _, tt := range []struct {
		want   string
		reason authz.Reason
		header map[string]any
		claims map[string]any
	}{
		{"exp missing", authz.ReasonTokenClaims, nil, map[string]any{"sub": adaID, "jti": adaSession}},
		{"jti missing", authz.ReasonTokenClaims, nil, map[string]any{"sub": adaID, "exp": expires}},
		{"typ Refresh", authz.ReasonTokenClaims, nil, map[string]any{"sub": adaID, "jti": adaSession, "exp": expires, "typ": "Refresh"}},
		{"kid " + canary, authz.ReasonTokenKeyUnknown, map[string]any{"kid": canary}, map[string]any{"sub": adaID, "jti": adaSession, "exp": expires}},
		{"kid (withheld)", authz.ReasonTokenKeyUnknown, map[string]any{"kid": "eyJhbGciOiJIUzI1NiJ9"}, map[string]any{"sub": adaID, "jti": adaSession, "exp": expires}},
		{"kid a?b??", authz.ReasonTokenKeyUnknown, map[string]any{"kid": "a\nb\u00e9"}, map[string]any{"sub": adaID, "jti": adaSession, "exp": expires}},
		{"alg " + canary, authz.ReasonTokenAlgorithm, map[string]any{"alg": canary}, map[string]any{"sub": adaID, "jti": adaSession, "exp": expires}},
	} {
		bearer := "Bearer " + authztest.Mint(t, authztest.Token{Secret: []byte(testSecret), Header: tt.header, Claims: tt.claims})
		in, err := proto.Marshal(checkRequest("GET", "/users/x", authz.Header{Name: "authorization", Value: bearer}))
		if err != nil {
			t.Fatal(err)
		}
		out := s.CheckWire(t.Context(), in)
		if got := seen.Decision.Reason(); got != tt.reason {
			t.Errorf("%s: reason %v, want %v", tt.want, got, tt.reason)
		}
		if got := seen.Decision.Detail().String(); got != tt.want {
			t.Errorf("detail %q, want %q", got, tt.want)
		}
		for _, text := range append(strings.Fields(tt.want)[1:], tt.want, canary) {
			if bytes.Contains(out, []byte(text)) {
				t.Errorf("%s: the response has %q: %q", tt.want, text, out)
			}
		}
	}
}
