package envoy

import (
	"fmt"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"warder/authz"
)

// TestEmptyHost tests that an empty Host, which Envoy passes on, is not accepted as a host.
func TestEmptyHost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		optional, denied bool
	}{{false, true}, {true, false}} {
		s := newTestServer(t, Config{HostOptional: test.optional})
		in := checkRequest("GET", "/public/x")
		in.Attributes.Request.Http.Host, in.Attributes.Request.Http.HeaderMap.Headers[2] = "", rawHeader(":authority", "")
		response := check(t.Context(), t, s, in)
		if isDeny(response) != test.denied || isAllow(response) == test.denied || test.denied && saidOf(response, "reason") != "request_malformed" {
			t.Errorf("optional %v: %v", test.optional, response)
		}
	}
}

// TestFullHeaders tests that a request has at most as many fields and bytes as Envoy accepts,
// including what is added to it. TestEnvoyFullHeaders tests Envoy's own count.
func TestFullHeaders(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Config{})
	small := newTestServer(t, Config{MaxHeaders: 20, MaxHeaderKB: 1})
	token := authz.Header{Name: "authorization", Value: bearer(t)}
	sessionBytes := len(token.Name) + len(token.Value)
	for added, c := range map[string]struct {
		path    string
		headers authz.Headers
		fields  int // that are added
	}{
		"nothing but the address": {"/public/x", nil, 1},
		"nobody":                  {"/open/x", nil, 2},
		"a session":               {"/users/x", authz.Headers{token}, 5},
		"a key":                   {"/keys/x", authz.Headers{{Name: "x-api-key", Value: adaKey}}, 5},
		"what is not enforced":    {"/watched/x", nil, 0},
	} {
		ask := func(s *Server, fields, bytes int) *authv3.CheckResponse {
			headers := c.headers
			for i := range fields - 3 - len(c.headers) { // with three pseudo-headers
				headers = append(headers, authz.Header{Name: fmt.Sprint("x", i%10), Value: ""})
			}
			if bytes > 0 {
				headers = append(headers, authz.Header{Name: "y", Value: strings.Repeat("b", bytes)})
			}
			return check(t.Context(), t, s, checkRequest("GET", c.path, headers...))
		}
		goesOn := func(r *authv3.CheckResponse) bool { return r.GetOkResponse() != nil }
		malformed := func(r *authv3.CheckResponse) bool {
			return isDeny(r) && r.GetDeniedResponse().GetStatus().GetCode() == 400 && saidOf(r, "reason") == "request_malformed"
		}
		for _, limit := range []struct {
			server *Server
			fields int
		}{{s, DefaultMaxHeaders}, {small, 20}} {
			if r := ask(limit.server, limit.fields-c.fields, 0); !goesOn(r) {
				t.Errorf("%s: the last field that fits: %v", added, r)
			}
			if r := ask(limit.server, limit.fields-c.fields+1, 0); !malformed(r) {
				t.Errorf("%s: a field too many: %v", added, r)
			}
		}
		var bytes int // that are there with the ones that are added
		if c.headers == nil {
			bytes = len(":methodGET:path:authorityapi.example.com") + len(c.path)
			set, _ := sent(ask(s, 3, 0))
			for name, value := range set {
				bytes += len(name) + len(value)
			}
			bytes += len("y")
			if r := ask(s, 3, DefaultMaxHeaderKB<<10-bytes); !goesOn(r) {
				t.Errorf("%s: the last byte that fits: %v", added, r)
			}
			if r := ask(s, 3, DefaultMaxHeaderKB<<10-bytes+1); !malformed(r) {
				t.Errorf("%s: a byte too many: %v", added, r)
			}
			if r := ask(small, 3, 1024); !malformed(r) {
				t.Errorf("%s: a small limit: %v", added, r)
			}
		} else if r := ask(s, 3+len(c.headers), DefaultMaxHeaderKB<<10-sessionBytes); !malformed(r) {
			t.Errorf("%s: no byte is left: %v", added, r)
		}
	}
}
