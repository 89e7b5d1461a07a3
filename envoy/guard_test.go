package envoy

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"

	"warder/authz"
	"warder/authz/attribute"
)

var checkInfo = &grpc.UnaryServerInfo{FullMethod: "/envoy.service.auth.v3.Authorization/Check"}

// guarded passes a response through the guard.
func guarded(t *testing.T, s *Server, out any, err error) *CheckResponse {
	t.Helper()
	got, gotErr := s.Guard(t.Context(), nil, checkInfo, func(context.Context, any) (any, error) { return out, err })
	if gotErr != nil {
		t.Fatalf("the guard lets an error out: %v", gotErr)
	}
	response, ok := got.(*CheckResponse)
	if !ok {
		t.Fatalf("the guard lets %T out", got)
	}
	return response
}

func TestGuard(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Config{Decider: denying(authz.ReasonInternal)})
	yes := func() *CheckResponse {
		set, remove := s.identity.mutations(values(authz.ReasonSession, session, testIP), attribute.Set{}, nil)
		return allowResponse(set, remove, false, metadata{"allow"})
	}
	watched := func(identity *identity) *CheckResponse { // of a route in shadow
		set, remove := identity.mutations([fieldCount]string{}, attribute.Set{}, nil)
		return allowResponse(set, remove, true, metadata{"would_deny"})
	}
	no := func(reason authz.Reason) *CheckResponse { return s.responseFor(authz.Deny(reason), nil, nil) }

	t.Run("good", func(t *testing.T) {
		t.Parallel()
		readable := no(authz.ReasonTokenExpired)
		readable.origin = "https://app.example.com:8443"
		for _, r := range []*CheckResponse{yes(), watched(s.shadowed), watched(s.identity), readable, no(authz.ReasonPathAmbiguous), no(authz.ReasonTokenExpired), no(authz.ReasonRoleMissing), no(authz.ReasonInternal)} {
			if got := guarded(t, s, r, nil); got != r {
				t.Errorf("%v became %v", r, got)
			}
		}
	})

	// Every row is a response that must not be sent.
	bad := map[string]any{
		"nil":                 nil,
		"a nil answer":        (*CheckResponse)(nil),
		"another type":        &CheckRequest{},
		"the generated type":  &authv3.CheckResponse{},
		"empty":               &CheckResponse{},
		"only a status":       &CheckResponse{status: 200},
		"only yes":            &CheckResponse{status: 200, about: metadata{"allow"}},
		"only no":             &CheckResponse{about: metadata{"deny"}},
		"a status of its own": &CheckResponse{status: 204, about: metadata{"allow"}},
	}
	edit := func(name string, r *CheckResponse, change func(*CheckResponse)) {
		change(r)
		bad[name] = r
	}
	edit("OK made of a no", no(authz.ReasonRoleMissing), func(r *CheckResponse) { r.status = 200 })
	edit("OK made of a no that says allow", no(authz.ReasonRoleMissing), func(r *CheckResponse) { r.status, r.about[0] = 200, "allow" })
	edit("refused made of a yes", yes(), func(r *CheckResponse) { r.status = 403 })
	edit("refused made of a yes that says deny", yes(), func(r *CheckResponse) { r.status, r.about[0] = 403, "deny" })
	edit("OK that says deny", yes(), func(r *CheckResponse) { r.about[0] = "deny" })
	edit("OK that says nothing", yes(), func(r *CheckResponse) { r.about = metadata{} })
	edit("OK with a challenge", yes(), func(r *CheckResponse) { r.challenge = "Bearer" })
	edit("refused that says nothing", no(authz.ReasonInternal), func(r *CheckResponse) { r.about = metadata{} })
	edit("metadata that is no UTF-8", yes(), func(r *CheckResponse) { r.about[3] = "\xff" })
	edit("another header set", yes(), func(r *CheckResponse) { r.set = append(r.set, setHeader{"x-z", "b"}) })
	edit("path set", yes(), func(r *CheckResponse) { r.set = append([]setHeader{{":path", "/"}}, r.set...) })
	edit("header set twice", yes(), func(r *CheckResponse) { r.set = append(r.set, setHeader{"x-warder-user", "1"}) })
	edit("no name", yes(), func(r *CheckResponse) { r.set[0].name = "" })
	edit("empty value", yes(), func(r *CheckResponse) { r.set[0].value = "" })
	edit("value with a line end", yes(), func(r *CheckResponse) { r.set[0].value = "a\r\nb: c" })
	edit("value that is no UTF-8", yes(), func(r *CheckResponse) { r.set[0].value = "\xff" })
	edit("identity header neither set nor removed", yes(), func(r *CheckResponse) { r.set = r.set[1:] })
	edit("set and removed", yes(), func(r *CheckResponse) {
		r.remove = slices.Sorted(slices.Values(append(slices.Clone(r.remove), "x-warder-user")))
	})
	edit("nothing removed", yes(), func(r *CheckResponse) { r.remove = nil })
	edit("API key not removed", yes(), func(r *CheckResponse) { r.remove = r.remove[1:] })
	edit("host removed", yes(), func(r *CheckResponse) { r.remove = append([]string{"host"}, r.remove...) })
	edit("what is no header removed", yes(), func(r *CheckResponse) { r.remove = append(slices.Clone(r.remove), "\xff") })
	edit("OK for a denial outside shadow", watched(s.shadowed), func(r *CheckResponse) { r.shadow = false })
	edit("OK for a denial outside shadow that removes all", watched(s.identity), func(r *CheckResponse) { r.shadow = false })
	edit("OK for a denial with an identity", watched(s.shadowed), func(r *CheckResponse) {
		r.set, r.remove = []setHeader{{"x-warder-user", "42"}}, slices.DeleteFunc(slices.Clone(r.remove), func(name string) bool { return name == "x-warder-user" })
	})
	edit("OK for a denial that does not remove an identity header of the client", watched(s.shadowed), func(r *CheckResponse) { r.remove = r.remove[1:] })
	edit("OK in shadow that says deny", watched(s.shadowed), func(r *CheckResponse) { r.about[0] = "deny" })
	edit("refused made of a denial in shadow", watched(s.shadowed), func(r *CheckResponse) { r.status = 403 })
	edit("denied with 302", no(authz.ReasonRoleMissing), func(r *CheckResponse) { r.status = 302 })
	edit("denied with 404", no(authz.ReasonRoleMissing), func(r *CheckResponse) { r.status = 404 })
	edit("denied with a header", no(authz.ReasonRoleMissing), func(r *CheckResponse) { r.set = []setHeader{{"x-reason", "role_missing"}} })
	edit("denied with a removal", no(authz.ReasonRoleMissing), func(r *CheckResponse) { r.remove = []string{"host"} })
	edit("403 with a challenge", no(authz.ReasonRoleMissing), func(r *CheckResponse) { r.challenge = "Bearer" })
	edit("401 with a challenge of its own", no(authz.ReasonTokenExpired), func(r *CheckResponse) { r.challenge = `Bearer error="token_expired"` })
	edit("OK that an origin may read", yes(), func(r *CheckResponse) { r.origin = "https://app.example.com" })
	for _, origin := range []string{"*", "null", "https://", "http://", "app.example.com", "ftp://a", "https://a/", "https://A", "https://a\r\nx: y", "https://a,https://b", "https://a b", "https://a*", "https://u@a", "https://a?", "https://\xff", "https://" + strings.Repeat("a", 262)} {
		edit("denied for the origin "+origin, no(authz.ReasonTokenExpired), func(r *CheckResponse) { r.origin = origin })
	}
	edit("401 without a challenge", no(authz.ReasonTokenExpired), func(r *CheckResponse) { r.challenge = "" })

	var log bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	for name, out := range bad {
		log.Reset()
		got := onWire(t, guarded(t, s, out, nil))
		if !isDeny(got) || got.GetDeniedResponse().GetStatus().GetCode() != 503 || s.identity.misshapenMessage(got) != "" {
			t.Errorf("%s: leaves as %v", name, got)
		}
		// Even if it were sent, it would not be an allow unless it was made as one.
		if r, _ := out.(*CheckResponse); r != nil && r.status != 200 && onWire(t, r).GetOkResponse() != nil {
			t.Errorf("%s: is a yes on the wire", name)
		}
		if !strings.Contains(log.String(), "invalid response") {
			t.Errorf("%s: not reported", name)
		}
	}
	if got := guarded(t, s, yes(), errors.New("dial tcp 10.0.0.1: refused")); !isDeny(onWire(t, got)) {
		t.Errorf("a yes with an error: %v", got)
	}
	if strings.Contains(log.String(), "10.0.0.1") {
		t.Errorf("the log holds the error's text: %s", &log)
	}
	panicking, err := s.Guard(t.Context(), nil, checkInfo, func(context.Context, any) (any, error) { panic("secret-token") })
	if r, ok := panicking.(*CheckResponse); err != nil || !ok || !isDeny(onWire(t, r)) {
		t.Errorf("a panic: %v %v", panicking, err)
	}
	if strings.Contains(log.String(), "secret-token") || !strings.Contains(log.String(), "TestGuard") {
		t.Errorf("the log holds the value of a panic, or not where it was: %s", &log)
	}
}

// TestGuardLeavesOthers tests that the guard does not change the responses and errors of
// health.
func TestGuardLeavesOthers(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Config{Decider: denying(authz.ReasonInternal)})
	failure := errors.New("not found")
	out, err := s.Guard(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/grpc.health.v1.Health/Check"}, func(context.Context, any) (any, error) { return "answer", failure })
	if out != "answer" || !errors.Is(err, failure) {
		t.Errorf("%v %v", out, err)
	}
}
