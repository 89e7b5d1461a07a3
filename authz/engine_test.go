package authz_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/memory"
	"warder/authz/token"
	"warder/policy"
)

const engineSecret = "0123456789abcdef0123456789abcdef"

// facts implements every store: the session lives, and the user and the key are active.
type facts struct{ owner string }

func (facts) Alive(context.Context, authz.Session) (bool, error) { return true, nil }

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

// RX-01, SK-07: what can be refused without a store is, so that it costs the stores nothing and is
// no outage. The stores of this engine fail, so a question to one would show as a 503.
func TestDecideAsksNothing(t *testing.T) {
	t.Parallel()
	down := authztest.Lying{Err: errors.New("connection refused")}
	e := engineOf(t, down, down, down)
	bearer := func(secret string, claims map[string]any) authz.Headers {
		all := map[string]any{"sub": "42", "jti": "s-1", "exp": time.Now().Add(time.Hour).Unix()}
		maps.Copy(all, claims)
		return authz.Headers{{Name: "authorization", Value: "Bearer " + authztest.Mint(t, authztest.Token{Secret: []byte(secret), Claims: all})}}
	}
	key := func(text string) authz.Headers { return authz.Headers{{Name: "x-api-key", Value: text}} }
	good := bearer(engineSecret, nil)
	for _, test := range []struct {
		name    string
		want    authz.Reason
		path    string
		headers authz.Headers
	}{
		{"a good token", authz.ReasonSessionsUnavailable, "/user", good}, // this one asks
		{"a good key", authz.ReasonDirectoryUnavailable, "/key", key("wk_live_0123456789")},
		{"a forged token", authz.ReasonTokenSignature, "/user", bearer(strings.ToUpper(engineSecret), nil)},
		{"an expired token", authz.ReasonTokenExpired, "/user", bearer(engineSecret, map[string]any{"exp": 1})},
		{"an id with a colon", authz.ReasonTokenClaims, "/user", bearer(engineSecret, map[string]any{"sub": "42:s-1"})},
		{"a text", authz.ReasonTokenMalformed, "/user", authz.Headers{{Name: "authorization", Value: "Bearer x"}}},
		{"two tokens", authz.ReasonCredentialsAmbiguous, "/user", slices.Concat(good, good)},
		{"a short key", authz.ReasonAPIKeyMalformed, "/key", key("wk")},
		{"a key with a quote", authz.ReasonAPIKeyMalformed, "/key", key("wk_live_' OR '1'='1")},
		{"a path with two readings", authz.ReasonPathAmbiguous, "/user/../key", good},
		{"no route", authz.ReasonRouteUnmatched, "/nowhere", good},
	} {
		d := e.Decide(t.Context(), authz.NewRequest(authz.Attributes{Method: "GET", Path: test.path, Headers: test.headers}))
		if d.Allowed() || d.Reason() != test.want {
			t.Errorf("%s: allowed %v, %v; want %v", test.name, d.Allowed(), d.Reason(), test.want)
		}
	}
}

// A token of an issuer whose keys could not be read is neither good nor bad: that is an outage and
// a 503, never a 401, and no reason to take its bearer for nobody.
func TestDecideKeysUnknown(t *testing.T) {
	t.Parallel()
	v, err := token.NewVerifier(token.Config{Issuers: []token.Issuer{{Name: "https://id.example.com", KeysUnknown: true}}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(`
version: 1
routes:
  - {id: user, match: /user, allow: [{anonymous: {}}, {user: {}}]}
`)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := authz.NewEngine(authz.Config{Policy: p, Tokens: v, Sessions: facts{}, Users: facts{}, APIKeys: facts{}})
	if err != nil {
		t.Fatal(err)
	}
	for issuer, want := range map[string]authz.Reason{
		"https://id.example.com":    authz.ReasonKeysUnavailable,
		"https://other.example.com": authz.ReasonTokenClaims,
	} {
		d := e.Decide(t.Context(), authz.NewRequest(authz.Attributes{Method: "GET", Path: "/user", Headers: authz.Headers{
			{Name: "authorization", Value: "Bearer " + authztest.Mint(t, authztest.Token{Secret: []byte(engineSecret), Claims: map[string]any{
				"iss": issuer, "sub": "42", "jti": "s-1", "exp": time.Now().Add(time.Hour).Unix(),
			}})},
		}}))
		if d.Allowed() || d.Reason() != want {
			t.Errorf("%s: allowed %v, %v; want %v", issuer, d.Allowed(), d.Reason(), want)
		}
	}
}

// CA-02: what is cached is a fact about a credential. Each route judges it anew, for the address
// and the session of each request.
func TestDecideOnCachedFacts(t *testing.T) {
	t.Parallel()
	p, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(`
version: 1
routes:
  - {id: user, match: /user, allow: [{user: {roles: [USER]}}]}
  - {id: control, match: /control, allow: [{user: {roles: [CONTROL]}}]}
  - {id: office, match: /office, allow: [{user: {}}], client_ips: [203.0.113.0/24]}
  - {id: read, match: /read, allow: [{api_key: {scopes: [read]}}]}
  - {id: write, match: /write, allow: [{api_key: {scopes: [write]}}]}
`)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := token.NewVerifier(token.Config{Keys: []token.Key{{Algorithm: "HS256", Secret: []byte(engineSecret)}}, Remember: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	store := memory.New(nil)
	store.PutSession("42", "s-1", 0)
	store.PutUser("42", authz.User{Active: true, Roles: authz.Names{"USER"}})
	store.PutAPIKey(authz.HashAPIKey("wk_live_0123456789"), authz.APIKey{Prefix: "wk_live", Active: true, Scopes: authz.Names{"read"}})
	cached := authz.StaleConfig{MaxAge: time.Hour, Timeout: time.Second, Size: 100, Now: time.Now}
	users, keys := authz.NewStaleUsers(store, cached), authz.NewStaleAPIKeys(store, cached)
	e, err := authz.NewEngine(authz.Config{Policy: p, Tokens: v, Sessions: store, Users: users, APIKeys: keys})
	if err != nil {
		t.Fatal(err)
	}
	bearer := authz.Header{Name: "authorization", Value: "Bearer " + authztest.Mint(t, authztest.Token{Secret: []byte(engineSecret), Claims: map[string]any{
		"sub": "42", "jti": "s-1", "exp": time.Now().Add(time.Hour).Unix(),
	}})}
	key := authz.Header{Name: "x-api-key", Value: "wk_live_0123456789"}
	judge := func(want authz.Reason, path, ip string, credential authz.Header) {
		t.Helper()
		d := e.Decide(t.Context(), authz.NewRequest(authz.Attributes{
			Method: "GET", Path: path, ClientIP: netip.MustParseAddr(ip), Headers: authz.Headers{credential},
		}))
		if d.Reason() != want || d.Allowed() != want.Allows() {
			t.Errorf("%s from %s: allowed %v, %v; want %v", path, ip, d.Allowed(), d.Reason(), want)
		}
	}
	for range 2 { // the second time, all facts are cached
		judge(authz.ReasonSession, "/user", "192.0.2.7", bearer)
		judge(authz.ReasonRoleMissing, "/control", "192.0.2.7", bearer)
		judge(authz.ReasonSession, "/office", "203.0.113.9", bearer)
		judge(authz.ReasonClientIPDenied, "/office", "192.0.2.7", bearer)
		judge(authz.ReasonAPIKey, "/read", "192.0.2.7", key)
		judge(authz.ReasonScopeMissing, "/write", "192.0.2.7", key)
		judge(authz.ReasonCredentialsMissing, "/user", "192.0.2.7", key)
	}
	if u, k := users.Counts(), keys.Counts(); u.Hits < 3 || k.Hits < 2 {
		t.Errorf("the caches were hit %d and %d times: this tests too little", u.Hits, k.Hits)
	}
	store.DeleteSession("42", "s-1")
	judge(authz.ReasonSessionRevoked, "/user", "192.0.2.7", bearer)
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
