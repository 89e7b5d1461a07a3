package envoy

import (
	"net/netip"
	"slices"
	"testing"

	"warder/authz"
	"warder/authz/attribute"
)

// TestWithheld: what is left of header fields that contain a credential among other things.
func TestWithheld(t *testing.T) {
	t.Parallel()
	const removed = "(removed)"
	id, err := newIdentity(IdentityConfig{
		RemoveCredentials: true,
		Sources: authz.Sources{
			Tokens:  []authz.Source{{Cookie: "token"}, {Cookie: "t2"}, {WebSocketProtocol: "bearer"}, {WebSocketProtocol: "b64."}},
			APIKeys: []authz.Source{{Header: "Authorization", Scheme: "ApiKey"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want   string // "" if the field stays as it is
		name   string
		values []string
	}{
		{"", "cookie", []string{"a=1; b=2"}},
		{"", "cookie", []string{"Token=1; xtoken=2; token2=3; a=token=4"}},
		{removed, "cookie", []string{"token"}}, // no name, for some readers
		{removed, "cookie", []string{"token=x"}},
		{removed, "cookie", []string{"token=x; t2=y;token = z"}},
		{removed, "cookie", []string{"token=x", "t2=y"}},
		{removed, "cookie", []string{" token=x ;; "}},
		{"a=1; b=2", "cookie", []string{"a=1; token=x; b=2"}},
		{"a=1; b=2", "cookie", []string{"a=1", "token=x", "b=2"}},
		{"a=1; b=2", "cookie", []string{"a=1;token=x;;\tb=2"}},
		{`a="x y"; =c; d`, "cookie", []string{`token="x"; a="x y"; =c; d`}},
		{"ü=ä", "cookie", []string{"ü=ä; token=x"}},
		{"a=1", "cookie", []string{"token=x; a=1; b=\xff; c=\x01"}}, // Envoy takes UTF-8 only
		{"", "sec-websocket-protocol", []string{"chat, v2"}},
		{"bearer", "sec-websocket-protocol", []string{"bearer, x"}},
		{"chat, bearer, v2", "sec-websocket-protocol", []string{"chat,bearer, x ,v2"}},
		{"chat, bearer", "sec-websocket-protocol", []string{"chat", "bearer", "x"}},
		{"bearer, bearer", "sec-websocket-protocol", []string{"bearer, x, bearer, y"}},
		{removed, "sec-websocket-protocol", []string{"b64.x"}},
		{"chat", "sec-websocket-protocol", []string{"b64.x, chat, b64.y"}},
		{"", "sec-websocket-protocol", []string{"chat, bearer"}},
		{"", "authorization", []string{"Bearer x"}},
		{removed, "authorization", []string{"apikey x"}},
		{removed, "authorization", []string{"Bearer x", "ApiKey y"}},
		{"", "authorization", []string{"ApiKeys x"}},
	} {
		var request authz.Headers
		for _, value := range c.values {
			request = append(request, authz.Header{Name: c.name, Value: value})
		}
		set, remove := id.mutations(values(authz.ReasonPublic, authz.Principal{}, netip.Addr{}), attribute.Set{}, request)
		got := ""
		if slices.Contains(remove, c.name) {
			got = removed
		}
		if i := slices.IndexFunc(set, func(h setHeader) bool { return h.name == c.name }); i >= 0 {
			got += set[i].value
		}
		if got != c.want {
			t.Errorf("%s %q: %q, want %q", c.name, c.values, got, c.want)
		}
		if why := id.misshapenYes(&CheckResponse{set: set, remove: remove}); why != "" {
			t.Errorf("%s %q: the guard refuses the answer: %s", c.name, c.values, why)
		}
	}
}

// A field that strip_headers removes is removed, whatever is left of it without credentials.
func TestWithheldStripped(t *testing.T) {
	t.Parallel()
	for _, strip := range [][]string{{"cookie", "sec-websocket-protocol"}, {"Cookie", "sec_websocket_protocol"}} {
		id, err := newIdentity(IdentityConfig{
			RemoveCredentials: true, StripHeaders: strip,
			Sources: authz.Sources{Tokens: []authz.Source{{Cookie: "token"}, {WebSocketProtocol: "bearer"}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range []authz.Header{{Name: "cookie", Value: "a=1; token=x"}, {Name: "sec-websocket-protocol", Value: "chat, bearer, x"}} {
			set, remove := id.mutations(values(authz.ReasonPublic, authz.Principal{}, netip.Addr{}), attribute.Set{}, authz.Headers{h})
			if why := id.misshapenYes(&CheckResponse{set: set, remove: remove}); why != "" {
				t.Errorf("%q, %s: the guard refuses the answer: %s", strip, h.Name, why)
			}
			if !slices.Contains(remove, h.Name) {
				t.Errorf("%q: %s is not removed", strip, h.Name)
			}
		}
	}
}

// Cookies that are left may take more room than all of them before, by the spaces between them.
func TestWithheldGrows(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Config{
		Decider: denying(authz.ReasonInternal), MaxHeaders: 1, MaxHeaderKB: 1,
		Identity: IdentityConfig{RemoveCredentials: true, Sources: authz.Sources{Tokens: []authz.Source{{Cookie: "t"}}}},
	})
	for cookies, want := range map[string]bool{
		"t=1;a;b;c;d":           true,  // a; b; c; d is shorter
		"t=1;a;b;c;d;e;f":       false, // a; b; c; d; e; f is a byte longer
		"t=1; a; b; c; d; e; f": true,
	} {
		request := authz.Headers{{Name: "cookie", Value: cookies}}
		set := rewrite(nil, nil, s.identity.withheld.left(request))
		if got := s.fits(load{fields: 1, bytes: 1 << 10}, set, request); got != want {
			t.Errorf("%q fits: %v, want %v (%q)", cookies, got, want, set)
		}
	}
}
