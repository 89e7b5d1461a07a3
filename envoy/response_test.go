package envoy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"warder/authz"
)

// contract is a second copy of the table in the documentation.
var contract = map[int]string{
	200: "public preflight anonymous session api_key",
	400: "request_malformed path_ambiguous",
	401: "credentials_missing credentials_ambiguous token_malformed token_key_unknown token_algorithm token_signature token_expired " +
		"token_not_yet_valid token_claims session_revoked user_unknown user_inactive api_key_malformed api_key_unknown api_key_inactive api_key_expired",
	403: "route_unmatched client_ip_denied client_ip_unknown peer_denied role_missing scope_missing condition_false",
	503: "sessions_unavailable directory_unavailable keys_unavailable overloaded internal",
}

func TestStatusOf(t *testing.T) {
	t.Parallel()
	want := map[string]int{}
	for status, reasons := range contract {
		for reason := range strings.FieldsSeq(reasons) {
			want[reason] = status
		}
	}
	got := map[string]int{}
	for _, reason := range authz.Reasons() {
		status, known := statusOf[reason]
		if !known {
			t.Errorf("statusOf has no row for %v", reason)
		}
		if got[reason.String()] = StatusOf(reason); status != StatusOf(reason) || (status == http.StatusOK) != reason.Allows() {
			t.Errorf("%v is a %d, and allows: %v", reason, status, reason.Allows())
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if StatusOf(authz.Reason(200)) != http.StatusServiceUnavailable {
		t.Error("a reason that nobody knows is no 503")
	}
}

// refuse asks a server whose decider denies with one reason.
func refuse(t *testing.T, reason authz.Reason) *authv3.CheckResponse {
	t.Helper()
	s := newTestServer(t, Config{Decider: denying(reason)})
	out := check(t.Context(), t, s, checkRequest("GET", "/users/x"))
	if s.identity.misshapenMessage(out) != "" {
		t.Fatalf("%v: %v: %s", reason, out, s.identity.misshapenMessage(out))
	}
	return out
}

func TestDenials(t *testing.T) {
	t.Parallel()
	rpc := map[int]int32{400: 3, 401: 16, 403: 7, 503: 14}
	bodies := map[int]string{
		400: `{"type":"about:blank","title":"Bad Request","status":400,"detail":"The request is malformed or ambiguous."}`,
		401: `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"Authentication required."}`,
		403: `{"type":"about:blank","title":"Forbidden","status":403,"detail":"Access denied."}`,
		503: `{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"Authorization is unavailable at the moment."}`,
	}
	first := map[string][]byte{}
	for _, reason := range authz.Reasons() {
		if reason.Allows() {
			continue
		}
		out := refuse(t, reason)
		status := StatusOf(reason)
		denied := out.GetDeniedResponse()
		if out.GetStatus().GetCode() != rpc[status] || out.GetStatus().GetMessage() != "" || int(denied.GetStatus().GetCode()) != status || denied.GetBody() != bodies[status] {
			t.Errorf("%v: %v", reason, out)
		}
		headers := map[string]string{}
		for _, h := range denied.GetHeaders() {
			headers[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
			if !overwrites(h) {
				t.Errorf("%v: %v does not overwrite", reason, h)
			}
		}
		want := map[string]string{"content-type": "application/problem+json"}
		switch {
		case reason == authz.ReasonCredentialsMissing:
			want["www-authenticate"] = "Bearer"
		case status == 401:
			want["www-authenticate"] = `Bearer error="invalid_token"`
		case status == 503:
			want["retry-after"] = "1"
		}
		if diff := cmp.Diff(want, headers); diff != "" {
			t.Errorf("%v: headers (-want +got):\n%s", reason, diff)
		}
		if saidOf(out, "decision") != "deny" || saidOf(out, "reason") != reason.String() {
			t.Errorf("%v: metadata %v", reason, out.GetDynamicMetadata())
		}
		// The client gets the same bytes for each status, except for the challenge.
		text, err := proto.MarshalOptions{Deterministic: true}.Marshal(denied)
		if err != nil {
			t.Fatal(err)
		}
		kind := fmt.Sprint(status, want["www-authenticate"])
		if first[kind] == nil {
			first[kind] = text
		} else if string(first[kind]) != string(text) {
			t.Errorf("%v: not the answer of other reasons with %d", reason, status)
		}
		if reason != authz.ReasonInternal && strings.Contains(string(text), reason.String()) {
			t.Errorf("%v: the reason reaches the client", reason)
		}
		var problem struct {
			Type, Title, Detail string
			Status              int
		}
		if err := json.Unmarshal([]byte(denied.GetBody()), &problem); err != nil || problem.Status != status || problem.Detail == "" {
			t.Errorf("%v: body %s: %v", reason, denied.GetBody(), err)
		}
	}
	if len(first) != 5 { // 400, 401 with and without error, 403, 503
		t.Errorf("%d different answers, want 5", len(first))
	}
}

// TestDenialNeverAllows tests that denyResponse makes a denial from any status.
func TestDenialNeverAllows(t *testing.T) {
	t.Parallel()
	for _, status := range []int{0, -1, 100, 200, 204, 302, 399, 400, 401, 403, 404, 429, 500, 503, 999} {
		for as := range formCount + 1 {
			out := onWire(t, denyResponse(status, "Bearer", as, "", metadataOf(authz.Decision{})))
			if !isDeny(out) || misshapenDenied(out) != "" {
				t.Errorf("denyResponse(%d, form %d): %v", status, as, out)
			}
		}
	}
}

// TestChallenges uses the engine: the route determines the credential that is required.
func TestChallenges(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Config{})
	for _, test := range []struct{ want, path, name, value string }{
		{"Bearer", "/users/x", "", ""},
		{`Bearer error="invalid_token"`, "/users/x", "authorization", "Bearer bad"},
		{`Bearer error="invalid_token"`, "/users/x", "authorization", "Basic dXNlcjpwdw=="},
		{"Bearer", "/users/x", "x-api-key", "not looked at here"},
		{`Bearer error="invalid_token"`, "/open/x", "authorization", "Bearer bad"},
		{"ApiKey", "/keys/x", "", ""},
		{`ApiKey error="invalid_token"`, "/keys/x", "x-api-key", "wk_live_unknown"},
		{"ApiKey", "/keys/x", "authorization", "Bearer bad"},
	} {
		var headers []authz.Header
		if test.name != "" {
			headers = append(headers, authz.Header{Name: test.name, Value: test.value})
		}
		out := check(t.Context(), t, s, checkRequest("GET", test.path, headers...))
		got := ""
		for _, h := range out.GetDeniedResponse().GetHeaders() {
			if h.GetHeader().GetKey() == "www-authenticate" {
				got = h.GetHeader().GetValue()
			}
		}
		if got != test.want {
			t.Errorf("%s with %q %q: %q, want %q (%v)", test.path, test.name, test.value, got, test.want, out)
		}
	}
}

// TestAllows asks the real engine for each kind of allow, with every identity header forged.
func TestAllows(t *testing.T) {
	t.Parallel()
	token := bearer(t)
	var forged []authz.Header
	for _, name := range DefaultIdentityHeaders() {
		forged = append(forged, authz.Header{Name: name, Value: "forged"}, authz.Header{Name: strings.ReplaceAll(name, "-", "_"), Value: "forged"})
	}
	type m = map[string]string
	for _, test := range []struct {
		path     string
		with     authz.Header
		set      m
		metadata m
	}{
		{
			"/public/x", authz.Header{Name: "authorization", Value: token},
			m{"x-warder-client-ip": "192.0.2.7"},
			m{"decision": "allow", "reason": "public", "route": "public", "client_ip": "192.0.2.7"},
		},
		{
			"/open/x", authz.Header{Name: "accept", Value: "*/*"},
			m{"x-warder-client-ip": "192.0.2.7", "x-warder-auth-method": "anonymous"},
			m{"decision": "allow", "reason": "anonymous", "route": "open", "auth_method": "anonymous", "client_ip": "192.0.2.7"},
		},
		{
			"/users/x", authz.Header{Name: "authorization", Value: token},
			m{"x-warder-client-ip": "192.0.2.7", "x-warder-auth-method": "session", "x-warder-user": "42", "x-warder-roles": "CONTROL,USER", "x-warder-session": "s-1"},
			m{"decision": "allow", "reason": "session", "route": "users", "auth_method": "session", "user": "42", "client_ip": "192.0.2.7"},
		},
		{
			"/keys/x", authz.Header{Name: "x-api-key", Value: adaKey},
			m{"x-warder-client-ip": "192.0.2.7", "x-warder-auth-method": "api_key", "x-warder-user": "42", "x-warder-key-prefix": "wk_live", "x-warder-scopes": "assets:audit,assets:read"},
			m{"decision": "allow", "reason": "api_key", "route": "keys", "auth_method": "api_key", "user": "42", "key_prefix": "wk_live", "client_ip": "192.0.2.7"},
		},
	} {
		s := newTestServer(t, Config{})
		out := check(t.Context(), t, s, checkRequest("GET", test.path+"?q=1", append(slices.Clone(forged), test.with)...))
		if !isAllow(out) || s.identity.misshapenMessage(out) != "" {
			t.Fatalf("%s: %v", test.path, out)
		}
		set, removed := sent(out)
		if diff := cmp.Diff(test.set, set); diff != "" {
			t.Errorf("%s: set (-want +got):\n%s", test.path, diff)
		}
		for _, h := range forged {
			if _, isSet := set[h.Name]; isSet == slices.Contains(removed, h.Name) {
				t.Errorf("%s: forged %s: set %v, removed %v", test.path, h.Name, isSet, !isSet)
			}
		}
		for _, h := range out.GetOkResponse().GetHeaders() {
			if !overwrites(h) {
				t.Errorf("%s: %v could be appended, or costs Envoy more than it must", test.path, h)
			}
		}
		got := m{}
		for key := range out.GetDynamicMetadata().GetFields() {
			got[key] = saidOf(out, key)
		}
		if diff := cmp.Diff(test.metadata, got); diff != "" {
			t.Errorf("%s: metadata (-want +got):\n%s", test.path, diff)
		}
	}
}

// TestShadowAnswers tests a route in shadow mode. A request that it would deny is passed on
// without identity headers. Every request that is passed on keeps its credentials, because the
// application checks them too.
func TestShadowAnswers(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Config{Identity: IdentityConfig{RemoveAuthorization: true}})
	credential := map[string]authz.Header{
		"": {Name: "accept", Value: "*/*"}, "token": {Name: "authorization", Value: bearer(t)},
		"key": {Name: "x-api-key", Value: adaKey}, "forged key": {Name: "x-api-key", Value: "forged_0123456789"},
	}
	for _, test := range []struct{ want, path, with string }{
		{"would_deny credentials_missing", "/watched/x", ""},
		{"would_deny role_missing", "/watched/x", "token"},
		{"would_deny credentials_missing", "/watched/x", "key"},
		{"would_deny api_key_unknown", "/watched-keys/x", "forged key"},
		{"allow api_key", "/watched-keys/x", "key"},
		{"deny path_ambiguous", "/watched/%2e%2e/users/x", "token"},
		{"deny request_malformed", "", "token"},
	} {
		headers := []authz.Header{credential[test.with]}
		for _, name := range DefaultIdentityHeaders() {
			headers = append(headers, authz.Header{Name: name, Value: "forged"}, authz.Header{Name: strings.ReplaceAll(name, "-", "_"), Value: "forged"})
		}
		in := checkRequest("GET", test.path, headers...)
		if test.path == "" {
			in = checkRequest("", "/watched/x", headers...)
		}
		out := check(t.Context(), t, s, in)
		verdict, reason, _ := strings.Cut(test.want, " ")
		if saidOf(out, "decision") != verdict || saidOf(out, "reason") != reason || (out.GetOkResponse() != nil) == (verdict == "deny") || (out.GetDeniedResponse() != nil) != (verdict == "deny") {
			t.Errorf("%s with %q: %v, want %s", test.path, test.with, out, test.want)
			continue
		}
		if verdict == "deny" {
			continue
		}
		if why := s.shadowed.misshapenMessage(out); why != "" {
			t.Errorf("%s with %q: %s", test.path, test.with, why)
		}
		set, removed := sent(out)
		if (len(set) > 0) != (verdict == "allow") {
			t.Errorf("%s with %q: %s, and the upstream is told %v", test.path, test.with, verdict, set)
		}
		for _, h := range headers[1:] {
			if _, isSet := set[h.Name]; isSet == slices.Contains(removed, h.Name) {
				t.Errorf("%s with %q: forged %s: set %v, removed %v", test.path, test.with, h.Name, isSet, !isSet)
			}
		}
		if slices.Contains(removed, "authorization") || slices.Contains(removed, "x-api-key") {
			t.Errorf("%s with %q: the application cannot check the credential: %v", test.path, test.with, removed)
		}
	}
}

// TestOddRow tests that a value that a header cannot carry is left out, so that the response
// can still be encoded. If it could not be encoded, gRPC would send an error.
func TestOddRow(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Config{})
	out := check(t.Context(), t, s, checkRequest("GET", "/keys/x", authz.Header{Name: "x-api-key", Value: oddKey}))
	if !isAllow(out) || s.identity.misshapenMessage(out) != "" {
		t.Fatalf("%v", out)
	}
	set, removed := sent(out)
	for _, name := range []string{"x-warder-key-prefix", "x-warder-scopes", "x-warder-user"} {
		if value, isSet := set[name]; isSet || !slices.Contains(removed, name) {
			t.Errorf("%s: %q", name, value)
		}
	}
	if got := saidOf(out, "key_prefix"); got != "odd\uFFFD\r\n" {
		t.Errorf("metadata: %q", got)
	}
}

// TestMetadataOfDenial tests that a denial after authentication names the principal.
func TestMetadataOfDenial(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Config{})
	out := check(t.Context(), t, s, checkRequest("GET", "/admin/x", authz.Header{Name: "authorization", Value: bearer(t)}))
	for key, want := range map[string]string{"decision": "deny", "reason": "role_missing", "route": "admin", "user": "42", "auth_method": "session", "client_ip": "192.0.2.7"} {
		if got := saidOf(out, key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if set, removed := sent(out); len(set)+len(removed) > 0 {
		t.Errorf("a denial sets %v and removes %v", set, removed)
	}
}

// TestDeterministic tests that the same request always gives the same bytes.
func TestDeterministic(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Config{})
	in := checkRequest("GET", "/keys/x", authz.Header{Name: "x-api-key", Value: adaKey}, authz.Header{Name: "x_warder_user", Value: "1"}, authz.Header{Name: "x.warder.user", Value: "1"})
	var first []byte
	for range 20 {
		out := check(t.Context(), t, s, in)
		text, err := proto.MarshalOptions{Deterministic: true}.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = text
		}
		if string(text) != string(first) {
			t.Fatal("two answers to one request differ")
		}
	}
}

// TestFormOf tests which content types are of gRPC.
func TestFormOf(t *testing.T) {
	t.Parallel()
	for want, types := range map[form][]string{
		formGRPC:        {"application/grpc", "application/grpc+proto", "APPLICATION/GRPC", "application/grpc; charset=utf-8", " application/grpc\t;a", "application/grpc+"},
		formGRPCWeb:     {"application/grpc-web", "application/grpc-web+proto", "application/grpc-web+json;a=b"},
		formGRPCWebText: {"application/grpc-web-text", "application/grpc-web-text+proto"},
		formProblem: {
			"", " ", ";", "+", "application/json", "application/problem+json", "application/grpcx", "application/grpc-web-", "application/grpc-web-texts", "xapplication/grpc",
			"application/ grpc", "application/grpc,application/grpc", "application/grp\u212a", "text/plain;application/grpc", "application/connect+proto", "grpc",
		},
	} {
		for _, contentType := range types {
			if got := formOf(contentType); got != want {
				t.Errorf("formOf(%q) = %d, want %d", contentType, got, want)
			}
			for _, in := range []*CheckRequest{
				{raw: authz.Headers{{Name: "a", Value: "b"}, {Name: "Content-Type", Value: contentType}}}, {joined: authz.Headers{{Name: "content-type", Value: contentType}}},
			} {
				if got := formFor(in); got != want {
					t.Errorf("formFor(%v) = %d, want %d", in, got, want)
				}
			}
		}
	}
	for _, in := range []*CheckRequest{nil, {}, {joined: authz.Headers{{Name: "accept", Value: "application/grpc"}}}} {
		if got := formFor(in); got != formProblem {
			t.Errorf("formFor(%v) = %d", in, got)
		}
	}
}
