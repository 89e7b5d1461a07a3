package envoy

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"

	"warder/authz"
	"warder/authz/authztest"
)

// TestCorpus plays the decision corpus over gRPC, in both forms in which Envoy sends
// headers, and applies the answers as Envoy does.
func TestCorpus(t *testing.T) {
	t.Parallel()
	authztest.RunCorpus(t, "../testdata/decisions", func(t *testing.T, f *authztest.CorpusFile) authztest.Depth {
		resolver, err := authz.NewClientIPResolver(f.ClientIPConfig())
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		_, conn := serve(t, newTestServer(t, Config{
			Decider: f.Engine(t, now), ClientIP: resolver, Deadline: time.Minute,
			Identity: IdentityConfig{
				Headers: f.Config.Identity.Headers, APIKeyHeader: f.Config.APIKey.Header, KeepAPIKey: f.KeepsAPIKey(),
				RemoveAuthorization: f.Config.Identity.RemoveAuthorization, StripHeaders: f.Config.StripHeaders,
			},
		}))
		return &grpcDepth{checks: authv3.NewAuthorizationClient(conn), now: now}
	})
}

// A grpcDepth stands where Envoy would, and counts what it would send upstream.
type grpcDepth struct {
	checks authv3.AuthorizationClient
	now    time.Time
	hits   int64
}

func (*grpcDepth) Kind() authztest.DepthKind { return authztest.DepthGRPC }

func (d *grpcDepth) Do(t *testing.T, c *authztest.Case) authztest.Outcome {
	t.Helper()
	r := c.Build(t, d.now)
	raw := d.check(t, r, rawForm(r))
	if joined, ok := joinedForm(r); ok {
		other := d.check(t, r, joined)
		// What the upstream gets of other headers is joined by then.
		other.HitsBefore, other.HitsAfter, other.Upstream = raw.HitsBefore, raw.HitsAfter, raw.Upstream
		if diff := cmp.Diff(raw, other); diff != "" {
			t.Errorf("the two forms of headers get different answers (-raw +joined):\n%s", diff)
		}
	}
	return raw
}

func (d *grpcDepth) check(t *testing.T, r authztest.CorpusRequest, in *authv3.AttributeContext_HttpRequest) authztest.Outcome {
	t.Helper()
	source := &authv3.AttributeContext_Peer{Principal: r.Principal}
	if r.Peer.IsValid() {
		source.Address = socketAddress(r.Peer.String())
	}
	extensions := map[string]string{"warder.routes": "public", "route": "public"} // of other filters
	if r.Route != nil {
		extensions["warder.route"] = *r.Route
	}
	response, err := d.checks.Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		// What Envoy is called itself proves nothing of the client.
		Source: source, Destination: &authv3.AttributeContext_Peer{Principal: "spiffe://cluster.local/ns/web/sa/envoy"}, ContextExtensions: extensions, Request: &authv3.AttributeContext_Request{Http: in},
	}})
	if err != nil {
		t.Fatalf("a gRPC error, which an Envoy may let through: %v", err)
	}
	out := authztest.Outcome{HitsBefore: d.hits, HitsAfter: d.hits, Reason: saidOf(response, "reason")}
	switch {
	case isAllow(response) == isDeny(response):
		t.Fatalf("neither a yes nor a no: %v", response)
	case isDeny(response):
		denied := response.GetDeniedResponse()
		out.Status, out.Body = int(denied.GetStatus().GetCode()), denied.GetBody()
		for _, h := range denied.GetHeaders() {
			out.Response = append(out.Response, [2]string{h.GetHeader().GetKey(), h.GetHeader().GetValue()})
		}
	default:
		d.hits++
		out.Allowed, out.Status, out.HitsAfter = true, http.StatusOK, d.hits
		out.Upstream = applied(t, r, response.GetOkResponse())
	}
	return out
}

// applied returns the headers that reach the upstream: Envoy sets first, and
// removes then, by the exact name in lower case.
func applied(t *testing.T, r authztest.CorpusRequest, ok *authv3.OkHttpResponse) [][2]string {
	t.Helper()
	var upstream [][2]string
	for _, h := range r.Headers {
		upstream = append(upstream, [2]string{lower(h[0]), h[1]})
	}
	without := func(name string) {
		upstream = slices.DeleteFunc(upstream, func(h [2]string) bool { return h[0] == name })
	}
	for _, h := range ok.GetHeaders() {
		if h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD || h.GetAppend().GetValue() { //nolint:staticcheck // some Envoys read only this
			t.Errorf("%s is added to what the client sent", h.GetHeader().GetKey())
		}
		without(h.GetHeader().GetKey())
		upstream = append(upstream, [2]string{h.GetHeader().GetKey(), h.GetHeader().GetValue()})
	}
	for _, name := range ok.GetHeadersToRemove() {
		without(name)
	}
	if len(ok.GetResponseHeadersToAdd()) > 0 || len(ok.GetQueryParametersToSet()) > 0 || len(ok.GetQueryParametersToRemove()) > 0 {
		t.Errorf("the answer does more than set and remove request headers: %v", ok)
	}
	return upstream
}

func pseudoHeaders(r authztest.CorpusRequest) [][2]string {
	return [][2]string{{":method", r.Method}, {":path", r.Path}, {":authority", r.Host}, {":scheme", "http"}}
}

func httpRequest(r authztest.CorpusRequest) *authv3.AttributeContext_HttpRequest {
	return &authv3.AttributeContext_HttpRequest{
		Id: "1", Method: r.Method, Path: r.Path, Host: r.Host, Scheme: "http", Protocol: "HTTP/1.1",
	}
}

// rawForm is what Envoy sends with encode_raw_headers.
func rawForm(r authztest.CorpusRequest) *authv3.AttributeContext_HttpRequest {
	in := httpRequest(r)
	in.Method, in.Path, in.Host = strings.ToValidUTF8(in.Method, "!"), strings.ToValidUTF8(in.Path, "!"), strings.ToValidUTF8(in.Host, "!")
	in.HeaderMap = new(corev3.HeaderMap)
	for _, h := range append(pseudoHeaders(r), r.Headers...) {
		in.HeaderMap.Headers = append(in.HeaderMap.Headers, rawHeader(strings.ToValidUTF8(lower(h[0]), "!"), h[1]))
	}
	return in
}

// joinedForm is what Envoy sends without it: one text for each name. It cannot say
// what is no UTF-8.
func joinedForm(r authztest.CorpusRequest) (in *authv3.AttributeContext_HttpRequest, ok bool) {
	in = httpRequest(r)
	in.Headers = map[string]string{}
	for _, h := range append(pseudoHeaders(r), r.Headers...) {
		name := lower(h[0])
		if !utf8.ValidString(name) || !utf8.ValidString(h[1]) {
			return nil, false
		}
		if first, twice := in.Headers[name]; twice {
			in.Headers[name] = first + "," + h[1]
			continue
		}
		in.Headers[name] = h[1]
	}
	return in, true
}
