package authz_test

import (
	"fmt"
	"testing"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/memory"
	"warder/authz/token"
	"warder/policy"
)

// ErrOverloaded has its own reason. Every other error of a store means that it is
// unavailable.
func TestDecideOverloaded(t *testing.T) {
	t.Parallel()
	secret := []byte("0123456789abcdef0123456789abcdef")
	bearer := "Bearer " + authztest.Mint(t, authztest.Token{Secret: secret, Claims: map[string]any{"sub": "42", "jti": "s", "exp": 4102444800}})
	hash := authz.HashAPIKey("wk_owned_12345")
	good := memory.New(nil)
	good.PutUser("42", authz.User{Active: true})
	good.PutSession("42", "s", 0)
	good.PutAPIKey(hash, authz.APIKey{Active: true, OwnerID: "42"})
	refuses := authztest.Lying{Err: fmt.Errorf("wrapped: %w", authz.ErrOverloaded)}
	fails := authztest.Lying{Err: fmt.Errorf("down")}

	for _, test := range []struct {
		want     authz.Reason
		name     string
		header   authz.Header
		sessions authz.Sessions
		users    authz.Users
		keys     authz.APIKeys
	}{
		{authz.ReasonSession, "user", authz.Header{Name: "authorization", Value: bearer}, good, good, good},
		{authz.ReasonOverloaded, "sessions refuse", authz.Header{Name: "authorization", Value: bearer}, refuses, good, good},
		{authz.ReasonSessionsUnavailable, "sessions fail", authz.Header{Name: "authorization", Value: bearer}, fails, good, good},
		{authz.ReasonOverloaded, "users refuse", authz.Header{Name: "authorization", Value: bearer}, good, refuses, good},
		{authz.ReasonDirectoryUnavailable, "users fail", authz.Header{Name: "authorization", Value: bearer}, good, fails, good},
		{authz.ReasonAPIKey, "key", authz.Header{Name: "x-api-key", Value: "wk_owned_12345"}, good, good, good},
		{authz.ReasonOverloaded, "keys refuse", authz.Header{Name: "x-api-key", Value: "wk_owned_12345"}, good, good, refuses},
		{authz.ReasonDirectoryUnavailable, "keys fail", authz.Header{Name: "x-api-key", Value: "wk_owned_12345"}, good, good, fails},
		{authz.ReasonOverloaded, "owners refuse", authz.Header{Name: "x-api-key", Value: "wk_owned_12345"}, good, refuses, good},
	} {
		d := engine(t, secret, test.sessions, test.users, test.keys).Decide(t.Context(), authz.NewRequest(authz.Attributes{
			Method: "GET", Host: "h", Path: "/", Headers: authz.Headers{test.header},
		}))
		if d.Reason() != test.want || d.Allowed() != test.want.Allows() {
			t.Errorf("%s: %v (%v), want %v", test.name, d.Reason(), d.Allowed(), test.want)
		}
	}
}

func engine(t testing.TB, secret []byte, s authz.Sessions, u authz.Users, k authz.APIKeys) *authz.Engine {
	t.Helper()
	const text = "version: 1\nroutes: [{id: all, match: /**, allow: [{user: {}}, {api_key: {}}]}]\n"
	routes, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(text)}}, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := token.NewVerifier(token.Config{Keys: []token.Key{{Algorithm: "HS256", Secret: secret}}, UserClaim: "sub", SessionClaim: "jti"})
	if err != nil {
		t.Fatal(err)
	}
	e, err := authz.NewEngine(authz.Config{Policy: routes, Tokens: tokens, Sessions: s, Users: u, APIKeys: k})
	if err != nil {
		t.Fatal(err)
	}
	return e
}
