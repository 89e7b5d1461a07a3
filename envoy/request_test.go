package envoy

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"

	"warder/authz"
)

func TestHeadersFrom(t *testing.T) {
	t.Parallel()
	type m = map[string]string
	raw := func(pairs ...string) (list []*corev3.HeaderValue) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, rawHeader(pairs[i], pairs[i+1]))
		}
		return list
	}
	for _, test := range []struct {
		want   string // name=value pairs; "refused"
		name   string
		joined m
		raw    []*corev3.HeaderValue
	}{
		{"", "neither form", nil, nil},
		{"a=1 b=2", "joined form, sorted", m{"b": "2", "a": "1"}, nil},
		{"a=1 b=2", "joined form, names in lower case", m{"B": "2", "A": "1"}, nil},
		{"refused", "joined form, two spellings of a name", m{"A": "2", "a": "1"}, nil},
		{"refused", "joined form, two spellings that do not sort side by side", m{"AB": "2", "B": "x", "ab": "1"}, nil},
		{"b=2 a=1 b=3", "raw form, in order and apart", nil, raw("b", "2", "a", "1", "b", "3")},
		{"a=1", "raw form, names in lower case", nil, raw("A", "1")},
		{"a=\xff\xfe", "raw form, bytes that are no UTF-8", nil, raw("a", "\xff\xfe")},
		{"a=1", "raw form in the plain field", nil, []*corev3.HeaderValue{{Key: "a", Value: "1"}}},
		{"a=1", "raw form in both fields, the same", nil, []*corev3.HeaderValue{{Key: "a", Value: "1", RawValue: []byte("1")}}},
		{"refused", "raw form in both fields, not the same", nil, []*corev3.HeaderValue{{Key: "a", Value: "1", RawValue: []byte("2")}}},
		{"a=", "an empty value is a value", nil, raw("a", "")},

		{"b=2 a=1 b=3", "both forms agree, repeated fields joined", m{"a": "1", "b": "2,3"}, raw("b", "2", "a", "1", "b", "3")},
		{"a=1", "both forms agree, names in any case", m{"A": "1"}, raw("a", "1")},
		{"refused", "both forms, another value", m{"a": "1"}, raw("a", "2")},
		{"refused", "both forms, another order of repeated fields", m{"b": "3,2"}, raw("b", "2", "b", "3")},
		{"refused", "both forms, one repetition less", m{"b": "2"}, raw("b", "2", "b", "2")},
		{"refused", "both forms, a name only in the joined", m{"a": "1", "authorization": "x"}, raw("a", "1")},
		{"refused", "both forms, a name only in the raw", m{"a": "1"}, raw("a", "1", "authorization", "x")},
		{"refused", "both forms, an empty value against none", m{"a": "1", "c": ""}, raw("a", "1", "d", "")},

		{"a=1", "pseudo-headers that say the same are left out", nil, raw(":method", "GET", ":path", "/p?q", ":authority", "h", ":scheme", "http", "a", "1")},
		{"host=h", "host that says the same", nil, raw("host", "h")},
		{"refused", "another :method", nil, raw(":method", "POST")},
		{"refused", "another :path", nil, raw(":path", "/other")},
		{"refused", "another :path in the joined form", m{":path": "/other"}, nil},
		{"refused", "another :authority", nil, raw(":authority", "evil")},
		{"refused", "a second :path", nil, raw(":path", "/p?q", ":path", "/other")},
		{"refused", "another host", nil, raw("host", "evil")},

		{"refused", "no name", nil, raw("", "1")},
		{"refused", "only a colon", nil, raw(":", "1")},
		{"refused", "a colon inside", nil, raw("a:b", "1")},
		{"refused", "a space in the name", nil, raw("x-warder-user ", "1")},
		{"refused", "a line end in the name", m{"a\r\nx-warder-user": "1"}, nil},
		{"refused", "a name that is no ASCII", nil, raw("x-warder-üser", "1")},
		{"refused", "a name with a Kelvin sign, which folds to k", nil, raw("x-api-\u212Aey", "1")},
		{"refused", "NUL in a value", nil, raw("a", "1\x002")},
		{"refused", "CR in a value", nil, raw("a", "1\r2")},
		{"refused", "LF in a value", m{"a": "1\n2"}, nil},
		{"a=1\t2", "a tab in a value", nil, raw("a", "1\t2")},
	} {
		http := &authv3.AttributeContext_HttpRequest{Method: "GET", Path: "/p?q", Host: "h", Headers: test.joined}
		if test.raw != nil {
			http.HeaderMap = &corev3.HeaderMap{Headers: test.raw}
		}
		headers, _, ok := headersFrom(decoded(t, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: http}}}))
		var parts []string
		for _, h := range headers {
			parts = append(parts, h.Name+"="+h.Value)
		}
		got := strings.Join(parts, " ")
		if !ok {
			got = "refused"
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// TestJoinedTwice tests that the last of several map entries with the same name counts.
func TestJoinedTwice(t *testing.T) {
	t.Parallel()
	got, ok := joinedHeaders(authz.Headers{{Name: "b", Value: "1"}, {Name: "a", Value: "1"}, {Name: "b", Value: "2"}})
	if want := (authz.Headers{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}}); !ok || !slices.Equal(got, want) {
		t.Errorf("%v %v, want %v", got, ok, want)
	}
}

func TestRequestFrom(t *testing.T) {
	t.Parallel()
	proxies, err := authz.NewClientIPResolver(authz.ClientIPConfig{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	if err != nil {
		t.Fatal(err)
	}
	s := newTestServer(t, Config{Decider: denying(authz.ReasonInternal), ClientIP: proxies})
	in := checkRequest("POST", "/a/b?token=secret",
		authz.Header{Name: "X-Forwarded-For", Value: "203.0.113.9"}, authz.Header{Name: "X-Request-Id", Value: "id-1"})
	r, _, ok := s.requestFrom(decoded(t, in))
	if !ok {
		t.Fatal("a plain request is refused")
	}
	want := authz.Attributes{
		Method: "POST", Host: "api.example.com", Path: "/a/b?token=secret", ID: "id-1", ClientIP: netip.MustParseAddr("203.0.113.9"),
		Headers: authz.Headers{{Name: "x-forwarded-for", Value: "203.0.113.9"}, {Name: "x-request-id", Value: "id-1"}},
	}
	if diff := cmp.Diff(want, r.Attributes, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if got := r.ParsedPath().Raw(); got != "/a/b" {
		t.Errorf("canonical path %q", got)
	}
}

func TestRequestFromUnreadable(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*authv3.CheckRequest) *authv3.CheckRequest{
		"nil":           func(*authv3.CheckRequest) *authv3.CheckRequest { return nil },
		"empty":         func(*authv3.CheckRequest) *authv3.CheckRequest { return &authv3.CheckRequest{} },
		"no attributes": func(in *authv3.CheckRequest) *authv3.CheckRequest { in.Attributes = nil; return in },
		"no request":    func(in *authv3.CheckRequest) *authv3.CheckRequest { in.Attributes.Request = nil; return in },
		"no http":       func(in *authv3.CheckRequest) *authv3.CheckRequest { in.Attributes.Request.Http = nil; return in },
		"no method":     func(in *authv3.CheckRequest) *authv3.CheckRequest { in.Attributes.Request.Http.Method = ""; return in },
		"another method": func(in *authv3.CheckRequest) *authv3.CheckRequest {
			in.Attributes.Request.Http.Method = "PUT"
			return in
		},
		"another path": func(in *authv3.CheckRequest) *authv3.CheckRequest { in.Attributes.Request.Http.Path = "/x"; return in },
		"another host": func(in *authv3.CheckRequest) *authv3.CheckRequest { in.Attributes.Request.Http.Host = "x"; return in },
		"headers of two mind": func(in *authv3.CheckRequest) *authv3.CheckRequest {
			in.Attributes.Request.Http.Headers = map[string]string{"a": "b"}
			return in
		},
		"more than a MiB": func(in *authv3.CheckRequest) *authv3.CheckRequest {
			in.Attributes.Request.Http.RawBody = bytes.Repeat([]byte("x"), DefaultMaxRequestBytes)
			return in
		},
	} {
		asked := false
		s := newTestServer(t, Config{Decider: decider(func(context.Context, *authz.Request) authz.Decision { asked = true; return authz.Decision{} })})
		out := check(t.Context(), t, s, change(checkRequest("GET", "/public/x")))
		if !isDeny(out) || out.GetDeniedResponse().GetStatus().GetCode() != 400 || saidOf(out, "reason") != "request_malformed" {
			t.Errorf("%s: %v, want a 400 request_malformed", name, out)
		}
		if asked {
			t.Errorf("%s: the decider was asked", name)
		}
	}
}

func TestPeer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		want string
		name string
		peer *authv3.AttributeContext_Peer
	}{
		{"invalid IP", "no peer", nil},
		{"invalid IP", "no address", &authv3.AttributeContext_Peer{}},
		{"invalid IP", "unix socket", &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/s"}}}}},
		{"invalid IP", "a name", &authv3.AttributeContext_Peer{Address: socketAddress("localhost")}},
		{"invalid IP", "empty", &authv3.AttributeContext_Peer{Address: socketAddress("")}},
		{"192.0.2.1", "IPv4", &authv3.AttributeContext_Peer{Address: socketAddress("192.0.2.1")}},
		{"2001:db8::1", "IPv6", &authv3.AttributeContext_Peer{Address: socketAddress("2001:db8::1")}},
	} {
		in := decoded(t, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Source: test.peer}})
		if got := peerOf(in.peer).String(); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	h := func(ids ...string) (h authz.Headers) {
		for _, id := range ids {
			h = append(h, authz.Header{Name: "x-request-id", Value: id})
		}
		return h
	}
	for _, test := range []struct {
		want    string
		headers authz.Headers
		stream  string
	}{
		{"9f3c2f6e-2b7a-4c1d-8a55-0f4a4b7f1f10", h("9f3c2f6e-2b7a-4c1d-8a55-0f4a4b7f1f10"), "17"},
		{"17", nil, "17"},
		{"17", h("a", "b"), "17"},
		{"17", h(""), "17"},
		{"17", h("two words"), "17"},
		{"17", h("line\x1b[31m"), "17"},
		{"17", h(strings.Repeat("a", 129)), "17"},
		{strings.Repeat("a", 128), h(strings.Repeat("a", 128)), "17"},
		{"", nil, ""},
		{"", nil, "a\nb"},
	} {
		if got := requestID(test.headers, test.stream); got != test.want {
			t.Errorf("requestID(%q, %q) = %q, want %q", test.headers, test.stream, got, test.want)
		}
	}
}
