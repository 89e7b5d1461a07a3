package envoy

import (
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"warder/authz"
)

// FuzzCheckRequest tests that the response to any bytes is one of the two shapes, can be
// encoded, and lets no spelling of an identity header through.
func FuzzCheckRequest(f *testing.F) {
	token := bearer(f)
	both := func(joined map[string]string, raw ...*corev3.HeaderValue) *authv3.CheckRequest {
		in := checkRequest("GET", "/public/x")
		in.GetAttributes().GetRequest().GetHttp().Headers = joined
		in.GetAttributes().GetRequest().GetHttp().HeaderMap = &corev3.HeaderMap{Headers: raw}
		return in
	}
	for _, in := range []*authv3.CheckRequest{
		// One request for each kind of allow.
		checkRequest("GET", "/public/x"),
		checkRequest("GET", "/open/x"),
		checkRequest("GET", "/users/x", authz.Header{Name: "authorization", Value: token}),
		checkRequest("GET", "/keys/x", authz.Header{Name: "x-api-key", Value: adaKey}),
		// A preflight, a denial that the origin may read, and one that it may not.
		checkRequest("OPTIONS", "/users/x", authz.Header{Name: "origin", Value: "https://app.example.com"}, authz.Header{Name: "access-control-request-method", Value: "GET"}),
		checkRequest("GET", "/users/x", authz.Header{Name: "origin", Value: "https://app.example.com"}),
		checkRequest("GET", "/users/x", authz.Header{Name: "origin", Value: "https://other.example.com"}),
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
		// Bytes that are not valid UTF-8 where Envoy sends raw values.
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
	for _, text := range oddForms(f) {
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

		in := compareRequest(t, text)
		if in == nil {
			if !isDeny(out) || saidOf(out, "reason") != "request_malformed" {
				t.Fatalf("what cannot be decoded gets %v", out)
			}
			return
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

// compareRequest tests that the generated decoder accepts what our decoder accepts, and reads
// the same values. It returns the generated message, or nil if it is not valid.
func compareRequest(t *testing.T, text []byte) *authv3.CheckRequest {
	t.Helper()
	in, request := new(authv3.CheckRequest), new(CheckRequest)
	request.decode(text)
	err := proto.Unmarshal(text, in)
	if (err == nil) != request.readable {
		t.Fatalf("%x: readable: %v, and the generated decoder says %v", text, request.readable, err)
	}
	if err != nil {
		return nil
	}
	slices.Reverse(request.joined)
	slices.SortStableFunc(request.joined, func(a, b authz.Header) int { return strings.Compare(a.Name, b.Name) })
	request.joined = slices.CompactFunc(request.joined, func(a, b authz.Header) bool { return a.Name == b.Name }) // the last one counts
	if diff := cmp.Diff(readByGenerated(in, len(text)), request, cmp.AllowUnexported(CheckRequest{}), cmpopts.IgnoreFields(CheckRequest{}, "message", "calls"), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%x: (-generated +ours):\n%s", text, diff)
	}
	return in
}

// readByGenerated returns the values of a message as the generated code reads them.
func readByGenerated(in *authv3.CheckRequest, size int) *CheckRequest {
	http := in.GetAttributes().GetRequest().GetHttp()
	r := &CheckRequest{
		readable: true, size: size, hasHTTP: http != nil,
		id: http.GetId(), method: http.GetMethod(), host: http.GetHost(), path: http.GetPath(),
		peer:      in.GetAttributes().GetSource().GetAddress().GetSocketAddress().GetAddress(),
		principal: in.GetAttributes().GetSource().GetPrincipal(),
	}
	r.route, r.chosen = in.GetAttributes().GetContextExtensions()["warder.route"]
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

// oddForms are messages that the generated encoder does not write. The generated decoder
// accepts some of them.
func oddForms(f *testing.F) [][]byte {
	f.Helper()
	marshal := func(m proto.Message) []byte {
		text, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		return text
	}
	good := marshal(checkRequest("GET", "/public/x"))
	in := func(numbers []protowire.Number, text []byte) []byte { // text as a field in fields
		for _, num := range slices.Backward(numbers) {
			text = protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), text)
		}
		return text
	}
	http := []protowire.Number{checkAttributes, attributesRequest, requestHTTP}
	text := func(num protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), s)
	}
	entry := func(key, value string) []byte {
		return in([]protowire.Number{httpHeaders}, append(text(entryKey, key), text(entryValue, value)...))
	}
	deep := []byte{}
	for range 300 {
		deep = in([]protowire.Number{5, 1, 2}, deep) // Value.struct_value, Struct.fields, value
	}
	metadata, err := structpb.NewStruct(map[string]any{"a": map[string]any{"b": []any{1, "c", nil}}})
	if err != nil {
		f.Fatal(err)
	}
	full := checkRequest("GET", "/public/x")
	full.Attributes.Source.Principal = "spiffe://cluster.local/ns/web/sa/a"
	full.Attributes.Destination = &authv3.AttributeContext_Peer{Address: socketAddress("198.51.100.1"), Principal: "p", Labels: map[string]string{"a": "b"}}
	full.Attributes.ContextExtensions = map[string]string{"a": "b"}
	full.Attributes.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"x": metadata}}
	full.Attributes.TlsSession = &authv3.AttributeContext_TLSSession{Sni: "api.example.com"}
	pipe := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Source: &authv3.AttributeContext_Peer{
		Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/s"}}},
	}}}
	principal := func(s string) []byte { // of the source
		return in([]protowire.Number{checkAttributes, attributesSource}, text(peerPrincipal, s))
	}
	choose := func(fields ...[]byte) []byte { // an entry of context_extensions
		return in([]protowire.Number{checkAttributes, attributesContext}, slices.Concat(fields...))
	}
	return [][]byte{
		append(slices.Clone(good), choose(text(entryKey, "warder.route"), text(entryValue, "users"))...),
		append(slices.Clone(good), choose(text(entryKey, "warder.route"))...), // chosen, and nothing
		append(slices.Clone(good), choose(text(entryValue, "public"))...),
		slices.Concat(good, choose(text(entryKey, "warder.route"), text(entryValue, "users")), choose(text(entryKey, "a")), choose(text(entryValue, "public"), text(entryKey, "a"), text(entryKey, "warder.route"))),
		append(slices.Clone(good), choose(text(entryKey, "warder.route"), text(entryValue, "\xff"))...),
		marshal(full),
		append(marshal(full), principal("spiffe://cluster.local/ns/web/sa/b")...), // the last one counts
		append(marshal(full), principal("")...),                                   // also when it is empty
		principal("\xff"),
		append(slices.Clone(good), good...),                           // twice: merged
		append(slices.Clone(good), marshal(pipe)...),                  // the address in another form
		append(marshal(pipe), good...),                                // and back
		append(slices.Clone(good), in(http, text(httpPath, "/y"))...), // the path once more
		append(slices.Clone(good), in(http, nil)...),                  // an empty message changes nothing
		in(http, slices.Concat(entry("a", "1"), entry("a", "2"), entry("", ""))),
		in(http, in([]protowire.Number{httpHeaders}, slices.Concat(text(entryKey, "a"), text(entryKey, "b"), text(7, "c")))),
		in(http, protowire.AppendVarint(protowire.AppendTag(nil, httpPath, protowire.VarintType), 7)), // another type: unknown
		in(http, text(httpPath, "\xff")),
		in(http, text(httpHost, "\xff")),
		in(http, text(99, "\xff")), // unknown: not looked at
		in([]protowire.Number{checkAttributes, 10}, text(entryKey, "\xff")),
		in([]protowire.Number{checkAttributes, 11, 1, entryValue}, deep),
		protowire.AppendTag(protowire.AppendTag(nil, 9, protowire.StartGroupType), 9, protowire.EndGroupType),
		protowire.AppendTag(nil, 9, protowire.StartGroupType),
		protowire.AppendTag(nil, 9, protowire.EndGroupType),
		{0x00, 0x00}, // the number 0
		protowire.AppendVarint(nil, uint64(protowire.MaxValidNumber+1)<<3), // a number that is too large
		{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		{0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02},
		{0x0a, 0x7f},
	}
}

// TestDecodeDepth tests that our decoder and the generated one have the same depth limit.
func TestDecodeDepth(t *testing.T) {
	t.Parallel()
	for _, levels := range []int{10, 3320, 3331, 3332, 3333, 3334, 3340, 5000} {
		var deep []byte
		for range levels {
			for _, num := range []protowire.Number{entryValue, structFields, 5} { // Value.struct_value, Struct.fields, its value
				deep = protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), deep)
			}
		}
		for _, num := range []protowire.Number{entryValue, 1, 11, checkAttributes} {
			deep = protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), deep)
		}
		err := proto.Unmarshal(deep, new(authv3.CheckRequest))
		ours := new(CheckRequest)
		ours.decode(deep)
		if ours.readable != (err == nil) {
			t.Errorf("%d levels: readable %v, the generated decoder says %v", levels, ours.readable, err)
		}
	}
}

// TestDecodeSiblings tests that the depth is limited, not the number of messages.
func TestDecodeSiblings(t *testing.T) {
	t.Parallel()
	headers := make([]authz.Header, protowire.DefaultRecursionLimit+1)
	for i := range headers {
		headers[i] = authz.Header{Name: "a", Value: "b"}
	}
	if r := decoded(t, checkRequest("GET", "/x", headers...)); !r.readable || len(r.raw) <= len(headers) {
		t.Errorf("readable %v, %d headers", r.readable, len(r.raw))
	}
}

// TestDecodeManyHeaders tests that a request with too many headers is not readable.
func TestDecodeManyHeaders(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Config{MaxHeaders: 2 * MaxHeaders, MaxHeaderKB: 1 << 20})
	for n, want := range map[int]string{MaxHeaders: "public", MaxHeaders + 1: "request_malformed"} {
		in := checkRequest("GET", "/public/x")
		http := in.GetAttributes().GetRequest().GetHttp()
		http.HeaderMap.Headers = nil
		for range n {
			http.HeaderMap.Headers = append(http.HeaderMap.Headers, rawHeader("a", ""))
		}
		r := decoded(t, in)
		if out := onWire(t, s.Check(t.Context(), r)); saidOf(out, "reason") != want || len(r.raw) > MaxHeaders {
			t.Errorf("%d headers: %v, %d kept; want %s", n, out, len(r.raw), want)
		}
	}
}

// TestBufferPool tests that the pool does not keep the buffer of an unusually large response.
func TestBufferPool(t *testing.T) {
	t.Parallel()
	var p bufferPool
	large := make([]byte, 0, maxKept+1)
	p.Put(&large)
	if got := cap(*p.Get(0)); got > maxKept {
		t.Errorf("a buffer of %d bytes is kept", got)
	}
}
