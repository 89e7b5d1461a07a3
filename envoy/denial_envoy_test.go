package envoy

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"warder/authz"
)

// webFilterFirst puts Envoy's filter for gRPC-Web before ext_authz, as some control planes do.
func webFilterFirst(config *tree) {
	listener := config.root.(map[string]any)["static_resources"].(map[string]any)["listeners"].([]any)[0].(map[string]any)
	chain := listener["filter_chains"].([]any)[0].(map[string]any)["filters"].([]any)[0].(map[string]any)
	filters := chain["typed_config"].(map[string]any)["http_filters"].([]any)
	filters[1], filters[2] = filters[2], filters[1]
}

// TestEnvoyDenials tests that a client gets a denial in its own protocol, that its message is
// the same sentence, and that scripts of a listed origin can read it.
func TestEnvoyDenials(t *testing.T) {
	t.Parallel()
	engine := newEngine(t)
	c := Config{Decider: decider(func(ctx context.Context, r *authz.Request) authz.Decision {
		if r.Path == "/users/outage" {
			return authz.Deny(authz.ReasonSessionsUnavailable)
		}
		return engine.Decide(ctx, r)
	})}
	// With the headers that warder adds, the request would have more than Envoy allows.
	full := append(slices.Repeat([]string{"a: b"}, 88), "authorization: "+bearer(t))
	// A protocol is what a client gets for a content type.
	type protocol struct {
		asked, answered string
		ok              bool // the HTTP status is 200, and grpc-status has the status
		text            bool // the body has the trailers of gRPC-Web in base64
	}
	for name, order := range map[string]struct {
		bench     *bench
		protocols []protocol
	}{
		"shipped": {newBench(t, c, nil, nil), []protocol{
			{"application/grpc", "application/grpc", true, false},
			{"application/grpc+proto", "application/grpc", true, false},
			{"application/grpc-web", "", false, false}, // Envoy removes the content type of an empty body
			{"application/grpc-web+proto", "", false, false},
			{"Application/gRPC-Web+thrift; a=b", "", false, false},
			{"application/grpc-web-text", "application/grpc-web-text+proto", false, true},
			{"application/grpc-web-text+proto", "application/grpc-web-text+proto", false, true},
			{"", "application/problem+json", false, false},
			{"application/json", "application/problem+json", false, false},
			{"application/grpcx", "application/problem+json", false, false},
			{"application/grpc-webx", "application/problem+json", false, false},
			{"application/connect+proto", "application/problem+json", false, false},
			{"text/plain; a=application/grpc", "application/problem+json", false, false},
			// Envoy does not take it for gRPC.
			{"application/grpc;a=b", "text/plain", false, false},
		}},
		"gRPC-Web filter first": {newBench(t, c, nil, webFilterFirst), []protocol{
			{"application/grpc", "application/grpc", true, false},
			{"application/grpc-web", "application/grpc-web+proto", false, false},
			{"application/grpc-web-text", "application/grpc-web+proto", false, false},
			{"", "application/problem+json", false, false},
		}},
	} {
		for _, p := range order.protocols {
			for _, denied := range []struct {
				status        int
				grpc, message string
				path          string
				lines         []string
				readable      bool // the route lists the origin
			}{
				{400, "13", "The request is malformed or ambiguous.", "/users/a;b", nil, true},
				{400, "13", "The request is malformed or ambiguous.", "/users/x", full, false},
				{401, "16", "Authentication required.", "/users/x", nil, true},
				{401, "16", "Authentication required.", "/users/x", []string{"authorization: Bearer x"}, true},
				{403, "7", "Access denied.", "/admin/x", []string{"authorization: " + bearer(t)}, true},
				{403, "7", "Access denied.", "/nowhere", nil, false},
				{503, "14", "Authorization is unavailable at the moment.", "/users/outage", nil, false},
			} {
				lines := append([]string{"origin: https://app.example.com"}, denied.lines...)
				if p.asked != "" {
					lines = append(lines, "content-type: "+p.asked)
				}
				response, body := order.bench.send(t, "POST", denied.path, lines...)
				what := fmt.Sprintf("%s: %q: %s: %d %v %q", name, p.asked, denied.path, response.StatusCode, response.Header, body)
				status := denied.status
				if p.ok {
					status = 200
				}
				if response.StatusCode != status || response.Header.Get("Content-Type") != p.answered {
					t.Errorf("%s\nwant %d %s", what, status, p.answered)
				}
				isGRPC := p.answered == "" || strings.Contains(p.answered, "grpc")
				code, message := response.Header.Get("Grpc-Status"), response.Header.Get("Grpc-Message")
				switch {
				case isGRPC:
					if code != denied.grpc || message != denied.message {
						t.Errorf("%s\nwant grpc-status %s and the message", what, denied.grpc)
					}
				case code != "" || message != "" || !strings.Contains(body, denied.message):
					t.Errorf("%s\nwant no gRPC status, and the message", what)
				}
				trailers := "grpc-status:" + denied.grpc + "\r\ngrpc-message:" + denied.message + "\r\n"
				if frame, _ := base64.StdEncoding.DecodeString(body); p.text && string(frame) != "\x80\x00\x00\x00"+string(rune(len(trailers)))+trailers ||
					!p.text && isGRPC && body != "" {
					t.Errorf("%s\nwant the trailers %q: %v", what, trailers, p.text)
				}
				origin, exposed := "", ""
				if denied.readable {
					origin = "https://app.example.com"
				}
				if denied.readable && p.answered != "application/problem+json" {
					exposed = "grpc-status,grpc-message"
				}
				if response.Header.Get("Access-Control-Allow-Origin") != origin || response.Header.Get("Access-Control-Expose-Headers") != exposed {
					t.Errorf("%s\nwant it readable by %q, with %q", what, origin, exposed)
				}
			}
		}
		if _, hits := order.bench.seen(); hits > 0 {
			t.Errorf("%s: %d requests reached the upstream", name, hits)
		}
	}
}
