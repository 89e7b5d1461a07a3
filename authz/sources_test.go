package authz_test

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"warder/authz"
)

func TestSourcesCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want    string // "" for good
		sources authz.Sources
	}{
		{"", authz.Sources{}},
		{"", authz.Sources{APIKeyHeader: "X-Key"}},
		{"", authz.Sources{Tokens: []authz.Source{{Header: "Authorization"}, {Cookie: "__Host-session"}, {Query: "access_token"}, {WebSocketProtocol: "bearer"}}}},
		{"", authz.Sources{Tokens: []authz.Source{{Header: "Authorization"}, {Header: "authorization", Scheme: "JWT"}}}},
		{"", authz.Sources{APIKeys: []authz.Source{{Header: "Authorization", Scheme: "ApiKey"}}}},
		{"", authz.Sources{Tokens: []authz.Source{{Cookie: "token", Scheme: "Bearer"}}}},
		{"jwt.sources: is empty", authz.Sources{Tokens: []authz.Source{}}},
		{"api_key.sources: is empty", authz.Sources{APIKeys: []authz.Source{}}},
		{"jwt.sources[0]: names 0 places", authz.Sources{Tokens: []authz.Source{{}}}},
		{"jwt.sources[0]: names 0 places", authz.Sources{Tokens: []authz.Source{{Scheme: "Bearer"}}}},
		{"jwt.sources[1]: names 2 places", authz.Sources{Tokens: []authz.Source{{Header: "a"}, {Header: "b", Cookie: "c"}}}},
		{"write {cookie: NAME}", authz.Sources{Tokens: []authz.Source{{Header: "Cookie"}}}},
		{"write {websocket_protocol: NAME}", authz.Sources{Tokens: []authz.Source{{Header: "sec-websocket-protocol"}}}},
		{`jwt.sources[0]: "a b" is not a name`, authz.Sources{Tokens: []authz.Source{{Cookie: "a b"}}}},
		{`"a=b" is not a name`, authz.Sources{Tokens: []authz.Source{{Cookie: "a=b"}}}},
		{`"a,b" is not a name`, authz.Sources{Tokens: []authz.Source{{WebSocketProtocol: "a,b"}}}},
		{`"to ken" is not a plain name`, authz.Sources{Tokens: []authz.Source{{Query: "to ken"}}}},
		{`"t%6Fken" is not a plain name`, authz.Sources{Tokens: []authz.Source{{Query: "t%6Fken"}}}},
		{"has a scheme", authz.Sources{Tokens: []authz.Source{{Query: "token", Scheme: "Bearer"}}}},
		{`the scheme "Bea rer"`, authz.Sources{Tokens: []authz.Source{{Header: "Authorization", Scheme: "Bea rer"}}}},
		{"jwt.sources[1]: the cookie a is read by jwt.sources[0] too", authz.Sources{Tokens: []authz.Source{{Cookie: "a"}, {Cookie: "a", Scheme: "Bearer"}}}},
		{"is read by jwt.sources[0] too", authz.Sources{Tokens: []authz.Source{{Header: "Authorization"}, {Header: "AUTHORIZATION", Scheme: "bearer"}}}},
		{"api_key.header: the header X_Key is read by jwt.sources[0] too", authz.Sources{Tokens: []authz.Source{{Header: "X-Key"}}, APIKeyHeader: "X_Key"}},
		{"api_key.sources[0]: the query parameter t is read by", authz.Sources{Tokens: []authz.Source{{Query: "t"}}, APIKeys: []authz.Source{{Query: "t"}}}},
		{"reads as a whole", authz.Sources{Tokens: []authz.Source{{Header: "X-Auth"}, {Header: "x-auth", Scheme: "JWT"}}}},
		{"", authz.Sources{Tokens: []authz.Source{{WebSocketProtocol: "bearer"}, {WebSocketProtocol: "bearer."}, {WebSocketProtocol: "bearers."}}}},
		{"jwt.sources[0]: the WebSocket subprotocol b.token. begins as that of jwt.sources[1]", authz.Sources{Tokens: []authz.Source{{WebSocketProtocol: "b.token."}, {WebSocketProtocol: "b."}}}},
		{"jwt.sources[1]: the WebSocket subprotocol b.token begins as that of jwt.sources[0]", authz.Sources{Tokens: []authz.Source{{WebSocketProtocol: "b."}, {WebSocketProtocol: "b.token"}}}},
		{"api_key.sources[0]: an API key is read from a header of its own", authz.Sources{APIKeys: []authz.Source{{Cookie: "key"}}}},
		{"an API key is read from a header of its own", authz.Sources{APIKeys: []authz.Source{{WebSocketProtocol: "key"}}}},
		{"an API key is read from a header of its own", authz.Sources{APIKeys: []authz.Source{{Header: "Cookie"}}}},
		{"api_key.sources: [{header: Authorization, scheme: ApiKey}]", authz.Sources{APIKeys: []authz.Source{{Header: "Authorization"}}}},
		{"api_key.header: is set together with api_key.sources", authz.Sources{APIKeys: []authz.Source{{Header: "X-Key"}}, APIKeyHeader: "X-Key"}},
	} {
		err := errors.Join(c.sources.Check()...)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%+v: %v", c.sources, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%+v: %v\nwant %s", c.sources, err, c.want)
		}
		if _, readable := authz.NewSourceReader(c.sources); (readable == nil) != (err == nil) {
			t.Errorf("%+v: NewSourceReader gives %v", c.sources, readable)
		}
	}
}

// TestCredentialsAreSeen: whatever carries a credential, logs learn of it, also where no route
// would look at it.
func TestCredentialsAreSeen(t *testing.T) {
	t.Parallel()
	const secret = "secret-0123456789"
	sources := authz.Sources{
		Tokens: []authz.Source{
			{Header: "Authorization"}, {Header: "X-Auth"}, {Header: "X-Auth2", Scheme: "JWT"}, {Cookie: "c"}, {Cookie: "d", Scheme: "Bearer"},
			{Query: "q"}, {WebSocketProtocol: "bearer"}, {WebSocketProtocol: "b."},
		},
		APIKeys: []authz.Source{{Header: "X-Key"}, {Header: "Authorization", Scheme: "ApiKey"}, {Query: "k"}},
	}
	reader, err := authz.NewSourceReader(sources)
	if err != nil {
		t.Fatal(err)
	}
	tokens, apiKeys := sources.All()
	requests := map[string]authz.Attributes{
		"another scheme": {Headers: authz.Headers{{Name: "authorization", Value: "Basic " + secret}}},
		"a cookie without its scheme, from another site": {
			Method: "POST", Headers: authz.Headers{{Name: "cookie", Value: "d=" + secret}, {Name: "sec-fetch-site", Value: "cross-site"}},
		},
		"joined keys":         {Headers: authz.Headers{{Name: "x-key", Value: "other-0123456789," + secret}}},
		"joined schemes":      {Headers: authz.Headers{{Name: "authorization", Value: "Bearer other-0123456789, ApiKey " + secret}}},
		"joined, and strange": {Headers: authz.Headers{{Name: "authorization", Value: "Basic other-0123456789,Digest " + secret}}},
		"the second cookie":   {Headers: authz.Headers{{Name: "cookie", Value: "c=x; c=" + secret}}},
	}
	for _, source := range slices.Concat(tokens, apiKeys) {
		fields, query := source.Carry(secret)
		requests[source.String()] = authz.Attributes{Headers: fields, Path: authz.AddQuery("/", query)}
	}
	for name, a := range requests {
		if a.Path == "" {
			a.Path = "/"
		}
		a.Method, a.Host = "POST", "localhost"
		if seen := reader.Credentials(authz.NewRequest(a)); !slices.Contains(seen, secret) {
			t.Errorf("%s: the logs learn of %q", name, seen)
		}
	}
	// Authorization is a credential in every log, whatever the sources.
	only, err := authz.NewSourceReader(authz.Sources{Tokens: []authz.Source{{Cookie: "c"}}})
	if err != nil {
		t.Fatal(err)
	}
	if seen := only.Credentials(authz.NewRequest(requests["another scheme"])); !slices.Contains(seen, secret) {
		t.Errorf("without a source in Authorization: the logs learn of %q", seen)
	}
}

// FuzzSameSite compares the rule for cookies with the one of the standard library, which decides
// the same for every request without an upgrade, but for what a browser never sends: there, ours
// may only be stricter.
func FuzzSameSite(f *testing.F) {
	f.Add("POST", "app.example.com", "https://app.example.com", "", uint8(0))
	f.Add("POST", "app.example.com:443", "https://app.example.com", "same-site", uint8(1))
	f.Add("PUT", "app.example.com", "null", "cross-site", uint8(3))
	f.Add("GET", "[::1]:8080", "http://[::1]:8080", "same-origin", uint8(2))
	f.Fuzz(func(t *testing.T, method, host, origin, site string, given uint8) {
		var headers authz.Headers
		standard := &http.Request{Method: method, Host: host, Header: http.Header{}, URL: new(url.URL)}
		if given&1 != 0 {
			headers = append(headers, authz.Header{Name: "origin", Value: origin})
			standard.Header.Set("Origin", origin)
		}
		if given&2 != 0 {
			headers = append(headers, authz.Header{Name: "sec-fetch-site", Value: site})
			standard.Header.Set("Sec-Fetch-Site", site)
		}
		ours := authz.SameSite(authz.Attributes{Method: method, Host: host, Headers: headers})
		// The default port is the same origin for us; the standard library compares texts.
		standard.Host = strings.TrimSuffix(strings.TrimSuffix(host, ":443"), ":80")
		standard.Header.Set("Origin", strings.TrimSuffix(strings.TrimSuffix(standard.Header.Get("Origin"), ":443"), ":80"))
		standard.Host = strings.ToLower(standard.Host)
		standard.Header.Set("Origin", strings.ToLower(standard.Header.Get("Origin")))
		theirs := http.NewCrossOriginProtection().Check(standard) == nil
		if ours && !theirs {
			t.Errorf("%s %s with Origin %q and Sec-Fetch-Site %q is accepted", method, host, origin, site)
		}
	})
}
