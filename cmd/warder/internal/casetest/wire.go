package casetest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"warder/authz"
	"warder/authz/policytest"
	"warder/cmd/warder/internal/explain"
	"warder/envoy"
)

// A wireDepth runs cases through the engine and the answer of the service, with requests
// and answers encoded as Envoy encodes them. It keeps the first answer to each case.
type wireDepth struct {
	opened  *policytest.Opened
	server  *envoy.Server
	seen    explain.LastObservation
	hits    int64
	answers map[*policytest.Case]explain.Answer // the first one
}

func newWireDepth(f *policytest.File, tested *testedPolicy, now time.Time) (*wireDepth, error) {
	opened, err := f.Open(tested.routes, now)
	if err != nil {
		return nil, err
	}
	resolver, err := authz.NewClientIPResolver(f.ClientIPConfig())
	if err != nil {
		return nil, err
	}
	d := &wireDepth{opened: opened, answers: map[*policytest.Case]explain.Answer{}}
	d.server, err = envoy.NewServer(envoy.Config{
		Decider: opened.Engine, ClientIP: resolver, Observer: &d.seen,
		Deadline: time.Minute, // long, so that a busy machine does not change an answer
		Identity: envoy.IdentityConfig{
			Headers: f.Config.Identity.Headers, Attributes: f.Config.Identity.Attributes, Sources: f.Sources(), KeepAPIKey: f.KeepsAPIKey(), RemoveCredentials: f.Config.Identity.RemoveCredentials,
			RemoveAuthorization: f.Config.Identity.RemoveAuthorization, StripHeaders: f.Config.StripHeaders,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("config: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return d, nil
}

// Kind implements policytest.Depth.
func (*wireDepth) Kind() policytest.DepthKind { return policytest.DepthWire }

// Do implements policytest.Depth.
func (d *wireDepth) Do(ctx context.Context, c *policytest.Case) (policytest.Outcome, error) {
	r, err := d.opened.Build(c)
	if err != nil {
		return policytest.Outcome{}, err
	}
	in := checkOf(r)
	response, err := explain.CheckWire(ctx, d.server, in)
	if err != nil {
		return policytest.Outcome{}, err
	}
	if _, again := d.answers[c]; !again {
		d.answers[c] = explain.Answer{
			Observation: d.seen.Observation, Settings: explain.Settings{Policy: d.opened.Policy}, OwnHeaders: explain.HeaderNames(in), Response: response,
		}
	}
	return d.outcome(r, response), nil
}

// outcome returns what a client, and an upstream behind Envoy, would see of an answer.
func (d *wireDepth) outcome(r policytest.Request, response *authv3.CheckResponse) policytest.Outcome {
	decision := d.seen.Decision
	route := decision.Route()
	out := policytest.Outcome{
		Reason: decision.Reason().String(), Route: &route, Shadow: decision.Shadow(),
		HitsBefore: d.hits, HitsAfter: d.hits, Secrets: r.Secrets,
	}
	if ok := response.GetOkResponse(); ok != nil && response.GetStatus().GetCode() == 0 {
		if d.hits++; decision.WouldDeny() { // the answer tells the upstream nothing
			out.Principal, out.ClientIP = decided(decision)
		}
		out.Allowed, out.Status, out.HitsAfter = true, http.StatusOK, d.hits
		out.Upstream = policytest.Applied(r, pairs(ok.GetHeaders()), ok.GetHeadersToRemove())
		return out
	}
	denied := response.GetDeniedResponse()
	out.Status, out.Body, out.Response = int(denied.GetStatus().GetCode()), denied.GetBody(), pairs(denied.GetHeaders())
	out.Principal, out.ClientIP = decided(decision)
	return out
}

// decided returns the principal and the client address of a decision.
func decided(d authz.Decision) (who *authz.Principal, clientIP string) {
	principal := d.Principal()
	if d.ClientIP().IsValid() {
		clientIP = d.ClientIP().String()
	}
	return &principal, clientIP
}

func pairs(options []*corev3.HeaderValueOption) (fields [][2]string) {
	for _, h := range explain.SentHeaders(options) {
		fields = append(fields, [2]string{h.Name, h.Value})
	}
	return fields
}

// checkOf returns the check request that Envoy sends for a request, with encode_raw_headers.
func checkOf(r policytest.Request) *authv3.CheckRequest {
	text := func(s string) string { return strings.ToValidUTF8(s, "!") } // as Envoy does
	in := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Principal: text(r.Principal)},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: text(r.Method), Path: text(r.Path), Host: text(r.Host), Scheme: "https", Protocol: "HTTP/1.1", HeaderMap: new(corev3.HeaderMap),
		}},
	}}
	if r.Peer.IsValid() {
		explain.SetPeer(in, r.Peer.String())
	}
	if r.ChosenRoute != nil {
		in.Attributes.ContextExtensions = map[string]string{"warder.route": text(*r.ChosenRoute)}
	}
	for _, h := range append([][2]string{{":method", r.Method}, {":path", r.Path}, {":authority", r.Host}, {":scheme", "https"}}, r.Headers...) {
		explain.AddHeader(in, text(h[0]), h[1])
	}
	return in
}
