package envoy

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"warder/authz"
)

// FuzzCheckRequest: whatever Envoy, or somebody in its place, sends, the answer is
// one of the two shapes, can be encoded, and lets no spelling of an identity
// header through.
func FuzzCheckRequest(f *testing.F) {
	token := bearer(f)
	both := func(joined map[string]string, raw ...*corev3.HeaderValue) *authv3.CheckRequest {
		in := checkRequest("GET", "/public/x")
		in.GetAttributes().GetRequest().GetHttp().Headers = joined
		in.GetAttributes().GetRequest().GetHttp().HeaderMap = &corev3.HeaderMap{Headers: raw}
		return in
	}
	for _, in := range []*authv3.CheckRequest{
		// One for each kind of yes.
		checkRequest("GET", "/public/x"),
		checkRequest("GET", "/open/x"),
		checkRequest("GET", "/users/x", authz.Header{Name: "authorization", Value: token}),
		checkRequest("GET", "/keys/x", authz.Header{Name: "x-api-key", Value: adaKey}),
		// Nothing at all, and a path that is not there.
		{},
		checkRequest("GET", ""),
		// Forged identity headers in spellings that an application may fold.
		checkRequest("GET", "/public/x", authz.Header{Name: "X_Warder.User", Value: "1"}, authz.Header{Name: "x-warder-user", Value: "1"}),
		// Two credentials, and one of each kind.
		checkRequest("GET", "/users/x", authz.Header{Name: "authorization", Value: token}, authz.Header{Name: "authorization", Value: token}),
		checkRequest("GET", "/keys/x", authz.Header{Name: "authorization", Value: token}, authz.Header{Name: "x-api-key", Value: adaKey}),
		// A line end in a value, and in a name.
		checkRequest("GET", "/public/x", authz.Header{Name: "a", Value: "1\r\nx-warder-user: 1"}),
		checkRequest("GET", "/public/x", authz.Header{Name: "a\nx-warder-user", Value: "1"}),
		// Bytes that are no UTF-8 where Envoy sends raw ones.
		checkRequest("GET", "/public/x", authz.Header{Name: "x-forwarded-for", Value: "\xff"}),
		// Both forms, which agree, and which do not.
		both(map[string]string{"a": "1,2"}, rawHeader("a", "1"), rawHeader("a", "2")),
		both(map[string]string{"a": "1"}, rawHeader("authorization", token)),
		// Entries with nothing in them.
		both(nil, nil, &corev3.HeaderValue{}),
	} {
		text, err := proto.Marshal(in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	s := newTestServer(f, Config{})
	f.Fuzz(func(t *testing.T, text []byte) {
		in := new(authv3.CheckRequest)
		if proto.Unmarshal(text, in) != nil {
			return
		}
		out, err := s.Check(t.Context(), in)
		if err != nil {
			t.Fatalf("an error: %v", err)
		}
		if isAllow(out) == isDeny(out) {
			t.Fatalf("neither shape: %v", out)
		}
		if why := s.misshapen(out, nil); why != "" {
			t.Fatalf("%s: %v", why, out)
		}
		if metadata(out, "reason") == "internal" {
			t.Fatalf("a fault: %v", out)
		}
		if _, err := proto.Marshal(out); err != nil {
			t.Fatalf("cannot be sent: %v", err)
		}
		if isDeny(out) {
			return
		}
		http := in.GetAttributes().GetRequest().GetHttp()
		set, removed := sent(out)
		gone := map[string]bool{}
		for _, name := range removed {
			gone[name] = true
		}
		names := map[string]bool{}
		for name := range http.GetHeaders() {
			names[lower(name)] = true
		}
		for _, h := range http.GetHeaderMap().GetHeaders() {
			names[lower(h.GetKey())] = true
		}
		for name := range names {
			if _, isSet := set[name]; !isSet && !gone[name] && s.identity.reserves(name) {
				t.Fatalf("%q gets through", name)
			}
		}
		if len(http.GetHeaders()) > 0 && len(http.GetHeaderMap().GetHeaders()) > 0 {
			http.Headers["x-more"] += "1"
			if out, _ := s.Check(t.Context(), in); isAllow(out) {
				t.Fatal("two forms that disagree are allowed")
			}
		}
	})
}
