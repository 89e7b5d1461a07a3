package envoy

import (
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
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
		request := new(CheckRequest)
		request.decode(text)
		answer := s.Check(t.Context(), request)
		if why := s.misshapen(answer, nil); why != "" {
			t.Fatalf("%s: %+v", why, answer)
		}
		out := onWire(t, answer)
		if want := message(answer); !proto.Equal(out, want) {
			t.Fatalf("on the wire %v, want %v", out, want)
		}
		if why := s.identity.misshapenMessage(out); why != "" || isAllow(out) == isDeny(out) {
			t.Fatalf("%s: %v", why, out)
		}
		if saidOf(out, "reason") == "internal" {
			t.Fatalf("a fault: %v", out)
		}

		// The generated decoder takes what we take, and reads the same in it.
		in := new(authv3.CheckRequest)
		err := proto.Unmarshal(text, in)
		if (err == nil) != request.readable {
			t.Fatalf("readable: %v, and the generated decoder says %v", request.readable, err)
		}
		if err != nil {
			if !isDeny(out) || saidOf(out, "reason") != "request_malformed" {
				t.Fatalf("what cannot be decoded gets %v", out)
			}
			return
		}
		request.decode(text) // anew: Check has put the headers in order
		slices.Reverse(request.joined)
		slices.SortStableFunc(request.joined, func(a, b authz.Header) int { return strings.Compare(a.Name, b.Name) })
		request.joined = slices.CompactFunc(request.joined, func(a, b authz.Header) bool { return a.Name == b.Name }) // the last one counts
		if diff := cmp.Diff(readByGenerated(in, len(text)), request, cmp.AllowUnexported(CheckRequest{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("(-generated +ours):\n%s", diff)
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
			if out := check(t.Context(), t, s, in); isAllow(out) {
				t.Fatal("two forms that disagree are allowed")
			}
		}
	})
}

// readByGenerated returns what is to be read of a message, by way of the generated code.
func readByGenerated(in *authv3.CheckRequest, size int) *CheckRequest {
	http := in.GetAttributes().GetRequest().GetHttp()
	r := &CheckRequest{
		readable: true, size: size, hasHTTP: http != nil,
		id: http.GetId(), method: http.GetMethod(), host: http.GetHost(), path: http.GetPath(),
		peer: in.GetAttributes().GetSource().GetAddress().GetSocketAddress().GetAddress(),
	}
	for name, value := range http.GetHeaders() {
		r.joined = append(r.joined, authz.Header{Name: name, Value: value})
	}
	slices.SortFunc(r.joined, func(a, b authz.Header) int { return strings.Compare(a.Name, b.Name) })
	for _, h := range http.GetHeaderMap().GetHeaders() {
		value := string(h.GetRawValue())
		if value == "" {
			value = h.GetValue()
		}
		r.odd = r.odd || h.GetValue() != "" && h.GetValue() != value
		r.raw = append(r.raw, authz.Header{Name: h.GetKey(), Value: value})
	}
	return r
}
