package envoy

import (
	"slices"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"warder/authz"
)

// usual are the header fields of a browser's request as Envoy sends them in a check.
var usual = []authz.Header{
	{Name: "user-agent", Value: "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"},
	{Name: "accept", Value: "application/json, text/plain, */*"},
	{Name: "accept-language", Value: "en-US,en;q=0.5"},
	{Name: "accept-encoding", Value: "gzip, deflate, br"},
	{Name: "origin", Value: "https://app.example.com"},
	{Name: "referer", Value: "https://app.example.com/assets"},
	{Name: "x-forwarded-for", Value: "203.0.113.9"},
	{Name: "x-forwarded-proto", Value: "https"},
	{Name: "x-request-id", Value: "9f3c2f6e-2b7a-4c1d-8a55-0f4a4b7f1f10"},
	{Name: "traceparent", Value: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
}

// BenchmarkCheck measures a check without the network: from the bytes of the request to the
// bytes of the response, with stores that answer at once.
func BenchmarkCheck(b *testing.B) {
	s := newTestServer(b, Config{})
	for _, bench := range []struct {
		name, path, reason string
		credential         authz.Header
	}{
		{"public", "/public/x", "public", authz.Header{Name: "a", Value: "b"}},
		{"session", "/users/x?page=2", "session", authz.Header{Name: "authorization", Value: bearer(b)}},
		{"api_key", "/keys/x", "api_key", authz.Header{Name: "x-api-key", Value: adaKey}},
		{"nobody", "/users/x", "credentials_missing", authz.Header{Name: "a", Value: "b"}},
	} {
		text, err := proto.Marshal(checkRequest("GET", bench.path, append(slices.Clip(usual), bench.credential)...))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			var answer []byte
			for b.Loop() {
				in := new(CheckRequest)
				in.decode(text)
				out := s.Check(b.Context(), in)
				if out.about[1] != bench.reason {
					b.Fatalf("%+v", out)
				}
				answer = out.appendTo(answer[:0])
			}
		})
	}
}

// usualSession is a check of a browser that is signed in.
func usualSession(t testing.TB) *authv3.CheckRequest {
	t.Helper()
	return checkRequest("GET", "/users/x?page=2", append(slices.Clip(usual), authz.Header{Name: "authorization", Value: bearer(t)})...)
}

// BenchmarkDecode measures reading a check.
func BenchmarkDecode(b *testing.B) {
	text := marshal(b, usualSession(b))
	b.ReportAllocs()
	for b.Loop() {
		in := new(CheckRequest)
		if in.decode(text); !in.readable {
			b.Fatal("it is not readable")
		}
	}
}

// BenchmarkServeFrames measures what the server does for a check, from the frames of its call to
// those of the response. The peer costs little and allocates nothing.
func BenchmarkServeFrames(b *testing.B) {
	_, address := serveAddress(b, newTestServer(b, Config{}), nil)
	p := newRawPeer(b, address, marshal(b, usualSession(b)))
	const batch = 16
	p.send(b, batch)
	b.ReportAllocs()
	b.ResetTimer()
	for n := b.N; n > 0; n -= batch {
		p.send(b, min(n, batch))
	}
}

// BenchmarkServe measures checks over gRPC on loopback, many at a time.
func BenchmarkServe(b *testing.B) {
	_, conn := serve(b, newTestServer(b, Config{}))
	client := authv3.NewAuthorizationClient(conn)
	in := usualSession(b)
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if out, err := client.Check(b.Context(), in); err != nil || !isAllow(out) {
				b.Errorf("%v %v", out, err)
				return
			}
		}
	})
}
