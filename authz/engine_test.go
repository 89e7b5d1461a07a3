package authz_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/token"
	"warder/policy"
)

const engineSecret = "0123456789abcdef0123456789abcdef"

// facts implements every store: the session lives, and the user and the key are active.
type facts struct{ owner string }

func (facts) Alive(context.Context, string, string) (bool, error) { return true, nil }

func (facts) User(context.Context, string) (authz.User, error) {
	return authz.User{Active: true, Roles: authz.Names{"ADMIN"}}, nil
}

func (f facts) APIKey(context.Context, authz.KeyHash) (authz.APIKey, error) {
	return authz.APIKey{Prefix: "wk_live", Active: true, OwnerID: f.owner}, nil
}

func engineOf(t *testing.T, sessions authz.Sessions, users authz.Users, keys authz.APIKeys) *authz.Engine {
	t.Helper()
	p, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(`
version: 1
routes:
  - {id: user, match: /user, allow: [{anonymous: {}}, {user: {}}]}
  - {id: key, match: /key, allow: [{anonymous: {}}, {api_key: {}}]}
`)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := token.NewVerifier(token.Config{Keys: []token.Key{{Algorithm: "HS256", Secret: []byte(engineSecret)}}})
	if err != nil {
		t.Fatal(err)
	}
	e, err := authz.NewEngine(authz.Config{Policy: p, Tokens: v, Sessions: sessions, Users: users, APIKeys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func decide(ctx context.Context, t *testing.T, e *authz.Engine, path string) authz.Decision {
	t.Helper()
	return e.Decide(ctx, authz.NewRequest(authz.Attributes{Method: "GET", Path: path, Headers: authz.Headers{
		{Name: "authorization", Value: "Bearer " + authztest.Mint(t, authztest.Token{Secret: []byte(engineSecret), Claims: map[string]any{
			"sub": "42", "jti": "s-1", "exp": time.Now().Add(time.Hour).Unix(),
		}})},
		{Name: "x-api-key", Value: "wk_live_0123456789"},
	}}))
}

// RD-*, PG-*: a value that a store returns along with an error is ignored. A store that
// fails or does not answer in time leads to a 503 denial, never to an allow or a 401, also
// on a route that allows anonymous access.
func TestDecideFailingStores(t *testing.T) {
	t.Parallel()
	broken := authztest.Lying{Err: errors.New("connection refused")}
	good := facts{owner: "42"}
	for _, test := range []struct {
		name     string
		sessions authz.Sessions
		users    authz.Users
		keys     authz.APIKeys
		path     string
		want     authz.Reason
		who      authz.Principal
	}{
		{"good stores, a token", good, good, good, "/user", authz.ReasonSession, authz.Principal{Method: authz.MethodSession, UserID: "42"}},
		{"good stores, a key", good, good, good, "/key", authz.ReasonAPIKey, authz.Principal{Method: authz.MethodAPIKey, UserID: "42", KeyPrefix: "wk_live"}},
		{"sessions", broken, good, good, "/user", authz.ReasonSessionsUnavailable, authz.Principal{Method: authz.MethodSession, UserID: "42"}},
		{"users", good, broken, good, "/user", authz.ReasonDirectoryUnavailable, authz.Principal{Method: authz.MethodSession, UserID: "42"}},
		{"keys", good, good, broken, "/key", authz.ReasonDirectoryUnavailable, authz.Principal{}},
		{"the owner of a key", good, broken, good, "/key", authz.ReasonDirectoryUnavailable, authz.Principal{Method: authz.MethodAPIKey, KeyPrefix: "wk_live"}},
		{"sessions that hang", authztest.Hanging{}, good, good, "/user", authz.ReasonSessionsUnavailable, authz.Principal{Method: authz.MethodSession, UserID: "42"}},
		{"users that hang", good, authztest.Hanging{}, good, "/user", authz.ReasonDirectoryUnavailable, authz.Principal{Method: authz.MethodSession, UserID: "42"}},
		{"keys that hang", good, good, authztest.Hanging{}, "/key", authz.ReasonDirectoryUnavailable, authz.Principal{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			d := decide(ctx, t, engineOf(t, test.sessions, test.users, test.keys), test.path)
			if d.Reason() != test.want || d.Allowed() != test.want.Allows() {
				t.Errorf("allowed %v, %v; want %v", d.Allowed(), d.Reason(), test.want)
			}
			// Logs and metadata name the principal as far as it was verified.
			who := d.Principal()
			if who.Method != test.who.Method || who.UserID != test.who.UserID || who.KeyPrefix != test.who.KeyPrefix {
				t.Errorf("principal %+v, want %+v", who, test.who)
			}
		})
	}
}

// An owner's id comes from a database that warder does not control. An owner that is not
// a valid user id is not looked up and never reaches a header.
func TestInvalidOwnerID(t *testing.T) {
	t.Parallel()
	for _, owner := range []string{"4 2", "42,43", "42:s", "42\r\nx-warder-roles: ADMIN", "\xff", strings.Repeat("1", 129)} {
		d := decide(t.Context(), t, engineOf(t, facts{}, facts{}, facts{owner: owner}), "/key")
		if d.Allowed() || d.Reason() != authz.ReasonUserUnknown || d.Principal().UserID != "" {
			t.Errorf("owner %q: allowed %v, %v, %+v", owner, d.Allowed(), d.Reason(), d.Principal())
		}
	}
}

// Only the engine can allow. The zero Decision denies, and so does Deny with a reason
// that allows.
func TestDenyNeverAllows(t *testing.T) {
	t.Parallel()
	if d := (authz.Decision{}); d.Allowed() || d.Reason() != authz.ReasonInternal {
		t.Errorf("zero Decision: allowed %v, %v", d.Allowed(), d.Reason())
	}
	for _, reason := range append(authz.Reasons(), 255) {
		d := authz.Deny(reason)
		if d.Allowed() || d.Reason().Allows() {
			t.Errorf("Deny(%v): allowed %v, %v", reason, d.Allowed(), d.Reason())
		}
		if reason.Allows() && d.Reason() != authz.ReasonInternal {
			t.Errorf("Deny(%v) has reason %v, want internal", reason, d.Reason())
		}
	}
}

func TestNewClientIPResolver(t *testing.T) {
	t.Parallel()
	proxies := func(list ...string) authz.ClientIPConfig {
		var c authz.ClientIPConfig
		for _, p := range list {
			c.TrustedProxies = append(c.TrustedProxies, netip.MustParsePrefix(p))
		}
		return c
	}
	for _, test := range []struct {
		ok     bool
		config authz.ClientIPConfig
	}{
		{true, authz.ClientIPConfig{}},
		{true, proxies("10.0.0.0/8", "fd00::/8", "192.0.2.1/32")},
		{false, proxies("10.0.0.0/8", "0.0.0.0/0")},
		{false, proxies("::/0")},
		{false, proxies("10.0.0.1/8")},
		{false, proxies("::ffff:10.0.0.0/104")}, // could match no address, because addresses are unmapped first
		{false, authz.ClientIPConfig{TrustedProxies: make([]netip.Prefix, 1)}},
		{true, authz.ClientIPConfig{Source: authz.SourceTrustedHops}},
		{true, authz.ClientIPConfig{Source: authz.SourceTrustedHops, TrustedHops: 64}},
		{false, authz.ClientIPConfig{Source: authz.SourceTrustedHops, TrustedHops: 65}},
		{false, authz.ClientIPConfig{Source: authz.SourceTrustedHops, TrustedHops: -1}},
		{true, authz.ClientIPConfig{Source: authz.SourceHeader, Header: "X-Real-IP"}},
		{false, authz.ClientIPConfig{Source: authz.SourceHeader}},
		{true, authz.ClientIPConfig{Source: authz.SourcePeer}},
		{true, authz.ClientIPConfig{Source: authz.SourceLeftmostForwardedFor}},
		{false, authz.ClientIPConfig{Source: "x-forwarded-for"}},
	} {
		if _, err := authz.NewClientIPResolver(test.config); (err == nil) != test.ok {
			t.Errorf("%+v: %v", test.config, err)
		}
	}
}

// With n trusted hops, Envoy takes entry n+1 from the right. With 0 it takes the entry
// that it appended itself.
func TestTrustedHops(t *testing.T) {
	t.Parallel()
	peer := netip.MustParseAddr("127.0.0.1")
	for hops, want := range []string{"192.0.2.3", "192.0.2.2", "192.0.2.1", "127.0.0.1", "127.0.0.1"} {
		r, err := authz.NewClientIPResolver(authz.ClientIPConfig{Source: authz.SourceTrustedHops, TrustedHops: hops})
		if err != nil {
			t.Fatal(err)
		}
		for _, headers := range []authz.Headers{
			{{Name: "x-forwarded-for", Value: "192.0.2.1, 192.0.2.2,192.0.2.3"}},
			{{Name: "x-forwarded-for", Value: "192.0.2.1"}, {Name: "x-other", Value: "192.0.2.9"}, {Name: "x-forwarded-for", Value: "192.0.2.2, 192.0.2.3"}},
		} {
			if got := fmt.Sprint(r.Resolve(peer, headers)); got != want {
				t.Errorf("%d hops of %v: %s, want %s", hops, headers, got, want)
			}
		}
	}
}
