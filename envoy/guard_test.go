package envoy

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"warder/authz"
)

var checkInfo = &grpc.UnaryServerInfo{FullMethod: "/envoy.service.auth.v3.Authorization/Check"}

// guarded passes an answer through the guard.
func guarded(t *testing.T, s *Server, out any, err error) *authv3.CheckResponse {
	t.Helper()
	got, gotErr := s.Guard(t.Context(), nil, checkInfo, func(context.Context, any) (any, error) { return out, err })
	if gotErr != nil {
		t.Fatalf("the guard lets an error out: %v", gotErr)
	}
	response, ok := got.(*authv3.CheckResponse)
	if !ok {
		t.Fatalf("the guard lets %T out", got)
	}
	return response
}

func TestGuard(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Config{Decider: denying(authz.ReasonInternal)})
	yes := func() *authv3.CheckResponse {
		set, remove := s.identity.mutations(values(authz.ReasonSession, session, testIP), nil)
		return allowResponse(set, remove, &structpb.Struct{Fields: map[string]*structpb.Value{"decision": structpb.NewStringValue("allow")}})
	}
	no := func(reason authz.Reason) *authv3.CheckResponse { return s.responseFor(authz.Deny(reason), nil) }

	t.Run("good", func(t *testing.T) {
		t.Parallel()
		for _, r := range []*authv3.CheckResponse{yes(), no(authz.ReasonPathAmbiguous), no(authz.ReasonTokenExpired), no(authz.ReasonRoleMissing), no(authz.ReasonInternal)} {
			if got := guarded(t, s, r, nil); got != r {
				t.Errorf("%v became %v", r, got)
			}
		}
	})

	// Every row is an answer that must not leave.
	forbidden := no(authz.ReasonRoleMissing)
	bad := map[string]any{
		"nil":           nil,
		"a nil answer":  (*authv3.CheckResponse)(nil),
		"another type":  &authv3.CheckRequest{},
		"empty":         &authv3.CheckResponse{},
		"only OK":       &authv3.CheckResponse{Status: &rpcstatus.Status{}},
		"only refused":  &authv3.CheckResponse{Status: &rpcstatus.Status{Code: 7}},
		"nil OK body":   &authv3.CheckResponse{Status: &rpcstatus.Status{}, HttpResponse: (*authv3.CheckResponse_OkResponse)(nil)},
		"empty OK body": &authv3.CheckResponse{Status: &rpcstatus.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}},
		"error body":    &authv3.CheckResponse{Status: &rpcstatus.Status{Code: 14}, HttpResponse: &authv3.CheckResponse_ErrorResponse{ErrorResponse: forbidden.GetDeniedResponse()}},
	}
	edit := func(name string, r *authv3.CheckResponse, change func(*authv3.CheckResponse)) {
		change(r)
		bad[name] = r
	}
	edit("no status", yes(), func(r *authv3.CheckResponse) { r.Status = nil })
	edit("OK with a denied body", no(authz.ReasonRoleMissing), func(r *authv3.CheckResponse) { r.Status.Code = 0 })
	edit("OK with a denied body that says allow", no(authz.ReasonRoleMissing), func(r *authv3.CheckResponse) {
		r.Status.Code = 0
		r.DynamicMetadata.Fields["decision"] = structpb.NewStringValue("allow")
	})
	edit("refused with an OK body", yes(), func(r *authv3.CheckResponse) { r.Status.Code = 7 })
	edit("refused with an OK body that says deny", yes(), func(r *authv3.CheckResponse) {
		r.Status.Code = 7
		r.DynamicMetadata.Fields["decision"] = structpb.NewStringValue("deny")
	})
	edit("OK that says deny", yes(), func(r *authv3.CheckResponse) {
		r.DynamicMetadata.Fields["decision"] = structpb.NewStringValue("deny")
	})
	edit("OK that says nothing", yes(), func(r *authv3.CheckResponse) { r.DynamicMetadata = nil })
	edit("refused that says nothing", no(authz.ReasonInternal), func(r *authv3.CheckResponse) { r.DynamicMetadata = nil })
	edit("metadata that is no UTF-8", yes(), func(r *authv3.CheckResponse) { r.DynamicMetadata.Fields["user"] = structpb.NewStringValue("\xff") })
	edit("metadata key that is no UTF-8", yes(), func(r *authv3.CheckResponse) { r.DynamicMetadata.Fields["\xff"] = structpb.NewStringValue("a") })
	edit("nested metadata", no(authz.ReasonInternal), func(r *authv3.CheckResponse) {
		r.DynamicMetadata.Fields["user"] = structpb.NewStructValue(&structpb.Struct{})
	})
	edit("metadata of its own in the OK body", yes(), func(r *authv3.CheckResponse) {
		r.GetOkResponse().DynamicMetadata = &structpb.Struct{} //nolint:staticcheck // deprecated, and it would override the other
	})
	edit("response headers", yes(), func(r *authv3.CheckResponse) {
		r.GetOkResponse().ResponseHeadersToAdd = []*corev3.HeaderValueOption{overwrite("x-a", "b")}
	})
	edit("query parameter set", yes(), func(r *authv3.CheckResponse) {
		r.GetOkResponse().QueryParametersToSet = []*corev3.QueryParameter{{Key: "a"}}
	})
	edit("query parameter removed", yes(), func(r *authv3.CheckResponse) { r.GetOkResponse().QueryParametersToRemove = []string{"a"} })
	edit("another header set", yes(), func(r *authv3.CheckResponse) {
		r.GetOkResponse().Headers = append(r.GetOkResponse().Headers, overwrite("x-z", "b"))
	})
	edit("path set", yes(), func(r *authv3.CheckResponse) {
		r.GetOkResponse().Headers = append([]*corev3.HeaderValueOption{overwrite(":path", "/")}, r.GetOkResponse().Headers...)
	})
	edit("header set twice", yes(), func(r *authv3.CheckResponse) {
		r.GetOkResponse().Headers = append(r.GetOkResponse().Headers, overwrite("x-warder-user", "1"))
	})
	edit("nil header", yes(), func(r *authv3.CheckResponse) { r.GetOkResponse().Headers[0].Header = nil })
	edit("nil header option", yes(), func(r *authv3.CheckResponse) { r.GetOkResponse().Headers[0] = nil })
	edit("appended the old way", yes(), func(r *authv3.CheckResponse) {
		r.GetOkResponse().Headers[0].Append = wrapperspb.Bool(true) //nolint:staticcheck // what some Envoys read
	})
	edit("append not said", yes(), func(r *authv3.CheckResponse) {
		r.GetOkResponse().Headers[0].Append = nil //nolint:staticcheck // what some Envoys read
	})
	edit("appended the new way", yes(), func(r *authv3.CheckResponse) {
		r.GetOkResponse().Headers[0].AppendAction = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
	})
	edit("set only if absent", yes(), func(r *authv3.CheckResponse) {
		r.GetOkResponse().Headers[0].AppendAction = corev3.HeaderValueOption_ADD_IF_ABSENT
	})
	edit("empty value", yes(), func(r *authv3.CheckResponse) { r.GetOkResponse().Headers[0].Header.Value = "" })
	edit("raw value", yes(), func(r *authv3.CheckResponse) { r.GetOkResponse().Headers[0].Header.RawValue = []byte("b") })
	edit("value with a line end", yes(), func(r *authv3.CheckResponse) { r.GetOkResponse().Headers[0].Header.Value = "a\r\nb: c" })
	edit("value that is no UTF-8", yes(), func(r *authv3.CheckResponse) { r.GetOkResponse().Headers[0].Header.Value = "\xff" })
	edit("identity header neither set nor removed", yes(), func(r *authv3.CheckResponse) {
		r.GetOkResponse().Headers = r.GetOkResponse().Headers[1:]
	})
	edit("set and removed", yes(), func(r *authv3.CheckResponse) {
		r.GetOkResponse().HeadersToRemove = append(r.GetOkResponse().HeadersToRemove, "x-warder-user")
	})
	edit("nothing removed", yes(), func(r *authv3.CheckResponse) { r.GetOkResponse().HeadersToRemove = nil })
	edit("API key not removed", yes(), func(r *authv3.CheckResponse) {
		r.GetOkResponse().HeadersToRemove = r.GetOkResponse().HeadersToRemove[1:]
	})
	edit("host removed", yes(), func(r *authv3.CheckResponse) {
		r.GetOkResponse().HeadersToRemove = append([]string{"host"}, r.GetOkResponse().HeadersToRemove...)
	})
	edit("what is no header removed", yes(), func(r *authv3.CheckResponse) {
		r.GetOkResponse().HeadersToRemove = append(r.GetOkResponse().HeadersToRemove, "\xff")
	})
	edit("a code that is not the status'", no(authz.ReasonRoleMissing), func(r *authv3.CheckResponse) { r.Status.Code = 16 })
	edit("a message to the client", no(authz.ReasonRoleMissing), func(r *authv3.CheckResponse) { r.Status.Message = "role_missing" })
	edit("details to the client", no(authz.ReasonRoleMissing), func(r *authv3.CheckResponse) { r.Status.Details = []*anypb.Any{{}} })
	edit("denied with 200", no(authz.ReasonRoleMissing), func(r *authv3.CheckResponse) { r.GetDeniedResponse().Status.Code = 200 })
	edit("denied with 302", no(authz.ReasonRoleMissing), func(r *authv3.CheckResponse) { r.GetDeniedResponse().Status.Code = 302 })
	edit("denied with 404", no(authz.ReasonRoleMissing), func(r *authv3.CheckResponse) { r.GetDeniedResponse().Status.Code = 404 })
	edit("denied without a status", no(authz.ReasonRoleMissing), func(r *authv3.CheckResponse) { r.GetDeniedResponse().Status = nil })
	edit("denied with another body", no(authz.ReasonRoleMissing), func(r *authv3.CheckResponse) { r.GetDeniedResponse().Body = "role_missing" })
	edit("denied with another header", no(authz.ReasonRoleMissing), func(r *authv3.CheckResponse) {
		r.GetDeniedResponse().Headers = append(r.GetDeniedResponse().Headers, overwrite("x-reason", "role_missing"))
	})
	edit("denied with a cookie instead of a type", no(authz.ReasonRoleMissing), func(r *authv3.CheckResponse) { r.GetDeniedResponse().Headers[0] = overwrite("set-cookie", "a=b") })
	edit("401 with a challenge of its own", no(authz.ReasonTokenExpired), func(r *authv3.CheckResponse) {
		r.GetDeniedResponse().Headers[1] = overwrite("www-authenticate", `Bearer error="token_expired"`)
	})
	edit("401 without a challenge", no(authz.ReasonTokenExpired), func(r *authv3.CheckResponse) {
		r.GetDeniedResponse().Headers = r.GetDeniedResponse().Headers[:1]
	})

	var log bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	for name, out := range bad {
		log.Reset()
		got := guarded(t, s, out, nil)
		if !isDeny(got) || got.GetDeniedResponse().GetStatus().GetCode() != 503 || s.misshapen(got, nil) != "" {
			t.Errorf("%s: leaves as %v", name, got)
		}
		if !strings.Contains(log.String(), "wrong shape") {
			t.Errorf("%s: not reported", name)
		}
	}
	if got := guarded(t, s, yes(), errors.New("dial tcp 10.0.0.1: refused")); !isDeny(got) {
		t.Errorf("a yes with an error: %v", got)
	}
	if strings.Contains(log.String(), "10.0.0.1") {
		t.Errorf("the log holds the error's text: %s", &log)
	}
	panicking, err := s.Guard(t.Context(), nil, checkInfo, func(context.Context, any) (any, error) { panic("secret-token") })
	if r, ok := panicking.(*authv3.CheckResponse); err != nil || !ok || !isDeny(r) {
		t.Errorf("a panic: %v %v", panicking, err)
	}
	if strings.Contains(log.String(), "secret-token") || !strings.Contains(log.String(), "TestGuard") {
		t.Errorf("the log holds the value of a panic, or not where it was: %s", &log)
	}
}

// TestGuardLeavesOthers: health has answers and errors of its own.
func TestGuardLeavesOthers(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Config{Decider: denying(authz.ReasonInternal)})
	failure := errors.New("not found")
	out, err := s.Guard(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/grpc.health.v1.Health/Check"}, func(context.Context, any) (any, error) { return "answer", failure })
	if out != "answer" || !errors.Is(err, failure) {
		t.Errorf("%v %v", out, err)
	}
}
