package envoy

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/policytest"
)

// TestCorpus runs the decision corpus over gRPC, in both forms in which Envoy sends headers,
// and applies the responses as Envoy does.
func TestCorpus(t *testing.T) {
	t.Parallel()
	authztest.RunCorpus(t, "../testdata/decisions", func(t *testing.T, f *policytest.File) policytest.Depth {
		resolver, err := authz.NewClientIPResolver(f.ClientIPConfig())
		if err != nil {
			t.Fatal(err)
		}
		opened := authztest.Open(t, f, time.Now())
		_, conn := serve(t, newTestServer(t, Config{
			Decider: opened.Engine, ClientIP: resolver, Deadline: time.Minute,
			Identity: IdentityConfig{
				Headers: f.Config.Identity.Headers, Attributes: f.Config.Identity.Attributes, Sources: f.Sources(), KeepAPIKey: f.KeepsAPIKey(), RemoveCredentials: f.Config.Identity.RemoveCredentials,
				RemoveAuthorization: f.Config.Identity.RemoveAuthorization, StripHeaders: f.Config.StripHeaders,
			},
		}))
		return &grpcDepth{checks: authv3.NewAuthorizationClient(conn), opened: opened}
	})
}

// A grpcDepth takes the place of Envoy, and counts the requests that Envoy would send upstream.
type grpcDepth struct {
	checks authv3.AuthorizationClient
	opened *policytest.Opened
	hits   int64
}

func (*grpcDepth) Kind() policytest.DepthKind { return policytest.DepthWire }

func (d *grpcDepth) Do(ctx context.Context, c *policytest.Case) (policytest.Outcome, error) {
	r, err := d.opened.Build(c)
	if err != nil {
		return policytest.Outcome{}, err
	}
	raw, err := d.check(ctx, r, rawForm(r))
	if joined, ok := joinedForm(r); ok && err == nil {
		var other policytest.Outcome
		if other, err = d.check(ctx, r, joined); err != nil {
			return raw, err
		}
		// Other headers are joined by the time the upstream gets them.
		other.HitsBefore, other.HitsAfter, other.Upstream = raw.HitsBefore, raw.HitsAfter, raw.Upstream
		if diff := cmp.Diff(raw, other); diff != "" {
			return raw, fmt.Errorf("the two forms of headers get different answers (-raw +joined):\n%s", diff)
		}
	}
	return raw, err
}

func (d *grpcDepth) check(ctx context.Context, r policytest.Request, in *authv3.AttributeContext_HttpRequest) (policytest.Outcome, error) {
	source := &authv3.AttributeContext_Peer{Principal: r.Principal}
	if r.Peer.IsValid() {
		source.Address = socketAddress(r.Peer.String())
	}
	extensions := map[string]string{"warder.routes": "public", "route": "public"} // of other filters
	if r.ChosenRoute != nil {
		extensions["warder.route"] = *r.ChosenRoute
	}
	out := policytest.Outcome{HitsBefore: d.hits, HitsAfter: d.hits, Secrets: r.Secrets}
	response, err := d.checks.Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		// The principal of Envoy itself proves nothing about the client.
		Source: source, Destination: &authv3.AttributeContext_Peer{Principal: "spiffe://cluster.local/ns/web/sa/envoy"}, ContextExtensions: extensions, Request: &authv3.AttributeContext_Request{Http: in},
	}})
	if err != nil {
		return out, fmt.Errorf("a gRPC error, which an Envoy may let through: %w", err)
	}
	out.Reason = saidOf(response, "reason")
	goesOn := isAllow(response) || saidOf(response, "decision") == "would_deny" && response.GetStatus().GetCode() == 0 && response.GetOkResponse() != nil
	switch {
	case goesOn == isDeny(response):
		return out, fmt.Errorf("neither a yes nor a no: %v", response)
	case isDeny(response):
		denied := response.GetDeniedResponse()
		out.Status, out.Body = int(denied.GetStatus().GetCode()), denied.GetBody()
		for _, h := range denied.GetHeaders() {
			out.Response = append(out.Response, [2]string{h.GetHeader().GetKey(), h.GetHeader().GetValue()})
		}
	default:
		d.hits++
		out.Allowed, out.Status, out.HitsAfter = true, http.StatusOK, d.hits
		out.Upstream, err = applied(r, response.GetOkResponse())
	}
	return out, err
}

// applied returns the headers that reach the upstream.
func applied(r policytest.Request, ok *authv3.OkHttpResponse) ([][2]string, error) {
	var set [][2]string
	for _, h := range ok.GetHeaders() {
		if h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD || h.GetAppend().GetValue() { //nolint:staticcheck // some Envoys read only this
			return nil, fmt.Errorf("%s is added to what the client sent", h.GetHeader().GetKey())
		}
		set = append(set, [2]string{h.GetHeader().GetKey(), h.GetHeader().GetValue()})
	}
	if len(ok.GetResponseHeadersToAdd()) > 0 || len(ok.GetQueryParametersToSet()) > 0 || len(ok.GetQueryParametersToRemove()) > 0 {
		return nil, fmt.Errorf("the answer does more than set and remove request headers: %v", ok)
	}
	return policytest.Applied(r, set, ok.GetHeadersToRemove()), nil
}

func pseudoHeaders(r policytest.Request) [][2]string {
	return [][2]string{{":method", r.Method}, {":path", r.Path}, {":authority", r.Host}, {":scheme", "http"}}
}

func httpRequest(r policytest.Request) *authv3.AttributeContext_HttpRequest {
	return &authv3.AttributeContext_HttpRequest{
		Id: "1", Method: r.Method, Path: r.Path, Host: r.Host, Scheme: "http", Protocol: "HTTP/1.1",
	}
}

// rawForm returns the headers as Envoy sends them with encode_raw_headers.
func rawForm(r policytest.Request) *authv3.AttributeContext_HttpRequest {
	in := httpRequest(r)
	in.Method, in.Path, in.Host = strings.ToValidUTF8(in.Method, "!"), strings.ToValidUTF8(in.Path, "!"), strings.ToValidUTF8(in.Host, "!")
	in.HeaderMap = new(corev3.HeaderMap)
	for _, h := range append(pseudoHeaders(r), r.Headers...) {
		in.HeaderMap.Headers = append(in.HeaderMap.Headers, rawHeader(strings.ToValidUTF8(lower(h[0]), "!"), h[1]))
	}
	return in
}

// joinedForm returns the headers as Envoy sends them without encode_raw_headers: one string for
// each name. It cannot represent values that are not valid UTF-8.
func joinedForm(r policytest.Request) (in *authv3.AttributeContext_HttpRequest, ok bool) {
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
