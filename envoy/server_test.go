package envoy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"warder/authz"
)

func TestNewServer(t *testing.T) {
	t.Parallel()
	_, err := NewServer(Config{Deadline: -1, MaxRequestBytes: -1, Identity: IdentityConfig{StripHeaders: []string{"host"}}})
	for _, want := range []string{"Config.Decider is missing", "deadline: -1ns is negative", "MaxRequestBytes is -1", "strip_headers[0]"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
	if _, err := NewServer(Config{Decider: denying(0), MaxRequestBytes: maxMessageBytes + 1}); err == nil {
		t.Error("a bound above what is received is accepted")
	}
}

// recorder keeps the observations that it receives.
type recorder struct {
	mu   sync.Mutex
	seen []Observation
}

func (r *recorder) Observed(_ context.Context, o Observation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, o)
}

// TestCheckOverGRPC sends checks over gRPC, through the guard and the limits.
func TestCheckOverGRPC(t *testing.T) {
	t.Parallel()
	_, conn := serve(t, newTestServer(t, Config{}))
	client := authv3.NewAuthorizationClient(conn)
	authorization := authz.Header{Name: "authorization", Value: bearer(t)}
	for _, test := range []struct {
		want string
		in   *authv3.CheckRequest
	}{
		{"allow public", checkRequest("GET", "/public/x")},
		{"allow anonymous", checkRequest("GET", "/open/x")},
		{"allow session", checkRequest("GET", "/users/x?q=1", authorization)},
		{"allow api_key", checkRequest("GET", "/keys/x", authz.Header{Name: "X-Api-Key", Value: adaKey})},
		{"deny 401 credentials_missing", checkRequest("GET", "/users/x")},
		{"deny 401 credentials_ambiguous", checkRequest("GET", "/users/x", authorization, authorization)},
		{"deny 401 token_signature", checkRequest("GET", "/users/x", authz.Header{Name: "authorization", Value: tampered(authorization.Value)})},
		{"deny 403 role_missing", checkRequest("GET", "/admin/x", authorization)},
		{"deny 403 route_unmatched", checkRequest("GET", "/nowhere", authorization)},
		{"deny 400 path_ambiguous", checkRequest("GET", "/users/../admin/x", authorization)},
		{"deny 400 path_ambiguous", checkRequest("GET", "", authorization)},
		{"deny 400 path_ambiguous", checkRequest("CONNECT", "", authorization)},
		{"deny 400 path_ambiguous", checkRequest("OPTIONS", "*")},
		{"deny 400 request_malformed", checkRequest("", "/public/x")},
		{"deny 400 request_malformed", &authv3.CheckRequest{}},
		{"deny 400 request_malformed", checkRequest("GET", "/public/x", authz.Header{Name: "x", Value: strings.Repeat("a", DefaultMaxRequestBytes)})},
	} {
		out, err := client.Check(t.Context(), test.in)
		if err != nil {
			t.Errorf("%s: %v", test.want, err)
			continue
		}
		got := saidOf(out, "decision") + " "
		if isDeny(out) {
			got += fmt.Sprintf("%d ", out.GetDeniedResponse().GetStatus().GetCode())
		} else if !isAllow(out) {
			t.Errorf("%s: neither shape: %v", test.want, out)
		}
		if got += saidOf(out, "reason"); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

// tampered replaces a character in the middle of a token's signature with another valid one.
func tampered(token string) string {
	b := []byte(token)
	i := len(b) - 20
	if b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}

// rawCodec sends bytes unchanged, so that a test can send an invalid message.
type rawCodec struct{ encoding.CodecV2 }

func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if text, ok := v.([]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(text)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// TestUndecodable tests that a request that cannot be decoded is denied and is not an error.
func TestUndecodable(t *testing.T) {
	t.Parallel()
	_, conn := serve(t, newTestServer(t, Config{}))
	good, err := proto.Marshal(checkRequest("GET", "/public/x"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"no message":         []byte("\xff\xff\xff"),
		"cut off":            good[:len(good)-3],
		"a path of no UTF-8": bytes.Replace(good, []byte("/public/x"), []byte("/public/\xff"), 1),
		"nothing":            {},
	} {
		out := new(authv3.CheckResponse)
		err := conn.Invoke(t.Context(), authv3.Authorization_Check_FullMethodName, text, out, grpc.ForceCodecV2(rawCodec{encoding.GetCodecV2("proto")}))
		if err != nil || !isDeny(out) || saidOf(out, "reason") != "request_malformed" {
			t.Errorf("%s: %v %v", name, out, err)
		}
	}
}

// TestLargestMessage tests that the largest message that Envoy could send is denied and is not
// an error.
func TestLargestMessage(t *testing.T) {
	t.Parallel()
	_, conn := serve(t, newTestServer(t, Config{Decider: denying(authz.ReasonInternal)}))
	in := checkRequest("POST", "/public/x")
	in.GetAttributes().GetRequest().GetHttp().RawBody = bytes.Repeat([]byte("x"), maxMessageBytes-1024)
	out, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), in, grpc.MaxCallSendMsgSize(math.MaxInt32))
	if err != nil || !isDeny(out) || saidOf(out, "reason") != "request_malformed" {
		t.Errorf("%v %v", out, err)
	}
}

// TestPanic tests that a panic anywhere gives a 503, and that the log says where it happened
// but not what its value was.
func TestPanic(t *testing.T) {
	t.Parallel()
	for _, thrown := range []any{"canary-token", errors.New("canary-token"), fmt.Sprint, 7} {
		var log bytes.Buffer
		seen := new(recorder)
		s := newTestServer(t, Config{
			Decider:  decider(func(context.Context, *authz.Request) authz.Decision { panic(thrown) }),
			Observer: seen, Log: slog.New(slog.NewJSONHandler(&log, nil)),
		})
		out := check(t.Context(), t, s, checkRequest("GET", "/p?canary-query", authz.Header{Name: "authorization", Value: "Bearer canary"}))
		if !isDeny(out) || out.GetDeniedResponse().GetStatus().GetCode() != 503 || saidOf(out, "reason") != "internal" {
			t.Errorf("%T: %v", thrown, out)
		}
		if text := log.String(); strings.Contains(text, "canary") || !strings.Contains(text, fmt.Sprintf(`"type":"%T"`, thrown)) || !strings.Contains(text, "envoy.TestPanic.") {
			t.Errorf("%T: log %s", thrown, text)
		}
		if len(seen.seen) != 1 || seen.seen[0].Decision.Reason() != authz.ReasonInternal || seen.seen[0].Path != "/p" {
			t.Errorf("%T: observed %+v", thrown, seen.seen)
		}
	}
}

// TestPanicAfterYes tests that an allow has no effect if its response cannot be made.
func TestPanicAfterYes(t *testing.T) {
	t.Parallel()
	seen := new(recorder)
	s := newTestServer(t, Config{Observer: seen})
	s.identity = nil
	out := check(t.Context(), t, s, checkRequest("GET", "/public/x"))
	if !isDeny(out) || saidOf(out, "reason") != "internal" {
		t.Errorf("%v", out)
	}
	if len(seen.seen) != 1 || seen.seen[0].Decision.Allowed() {
		t.Errorf("observed %+v", seen.seen)
	}
}

type panickingObserver struct{}

func (panickingObserver) Observed(context.Context, Observation) { panic("canary") }

func TestPanicOfObserver(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := newTestServer(t, Config{Observer: panickingObserver{}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for path, allowed := range map[string]bool{"/public/x": true, "/users/x": false} {
		out := check(t.Context(), t, s, checkRequest("GET", path))
		if isAllow(out) != allowed || isDeny(out) == allowed || saidOf(out, "reason") == "internal" {
			t.Errorf("%s: %v", path, out)
		}
	}
	if !strings.Contains(log.String(), "observer") || strings.Contains(log.String(), "canary") {
		t.Errorf("log: %s", &log)
	}
}

func TestObservation(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		path, wantPath, wantReason string
		change                     func(*authv3.CheckRequest)
	}{
		{"/public/x?token=canary", "/public/x", "public", nil},
		{"/public//x?token=canary", "/public//x", "path_ambiguous", nil},
		{"/public/x#canary?canary", "/public/x", "path_ambiguous", nil},
		{"?canary", "", "path_ambiguous", nil},
		{"/public/x?canary", "/public/x", "request_malformed", func(in *authv3.CheckRequest) {
			in.GetAttributes().GetRequest().GetHttp().Headers = map[string]string{"a": "b"}
		}},
		{"", "", "request_malformed", func(in *authv3.CheckRequest) { in.Attributes = nil }},
	} {
		now := time.Unix(1000, 0)
		seen := new(recorder)
		s := newTestServer(t, Config{Observer: seen, Now: func() time.Time { now = now.Add(3 * time.Millisecond); return now }})
		in := checkRequest("GET", test.path)
		if test.change != nil {
			test.change(in)
		}
		check(t.Context(), t, s, in)
		if len(seen.seen) != 1 {
			t.Fatalf("%q: %d observations", test.path, len(seen.seen))
		}
		o := seen.seen[0]
		if o.Path != test.wantPath || o.Decision.Reason().String() != test.wantReason || o.Duration != 3*time.Millisecond || o.Request == nil {
			t.Errorf("%q: %+v", test.path, o)
		}
		if o.Size != proto.Size(in) {
			t.Errorf("%q: %d bytes, the message has %d", test.path, o.Size, proto.Size(in))
		}
		if test.wantReason == "public" && (o.Method != "GET" || o.ID != "1234567890") {
			t.Errorf("%q: %+v", test.path, o)
		}
	}
}

// TestDeadline tests that a check ends with its own deadline, or with the caller's if that is
// sooner.
func TestDeadline(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		want             time.Duration
		deadline, caller time.Duration
	}{
		{DefaultDeadline, 0, time.Hour},
		{70 * time.Millisecond, 70 * time.Millisecond, time.Hour},
		{30 * time.Millisecond, 0, 30 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newTestServer(t, Config{Deadline: test.deadline, Decider: decider(func(ctx context.Context, _ *authz.Request) authz.Decision {
				<-ctx.Done()
				return authz.Deny(authz.ReasonSessionsUnavailable)
			})})
			ctx, cancel := context.WithTimeout(t.Context(), test.caller)
			defer cancel()
			started := time.Now()
			out := check(ctx, t, s, checkRequest("GET", "/users/x"))
			if took := time.Since(started); !isDeny(out) || took != test.want {
				t.Errorf("%v after %v, want %v", out, took, test.want)
			}
		})
	}
}

// TestDeadlineEnds tests that goroutines that wait for a check's deadline end with the check.
func TestDeadlineEnds(t *testing.T) {
	t.Parallel()
	var kept context.Context
	s := newTestServer(t, Config{Deadline: time.Hour, Decider: decider(func(ctx context.Context, _ *authz.Request) authz.Decision {
		kept = ctx
		_ = ctx.Done()
		return authz.Deny(authz.ReasonInternal)
	})})
	check(t.Context(), t, s, checkRequest("GET", "/users/x"))
	if !errors.Is(kept.Err(), context.Canceled) {
		t.Errorf("after the check: %v", kept.Err())
	}
}

// TestConcurrentChecks tests that no request gets the response to another.
func TestConcurrentChecks(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Config{})
	token := bearer(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 100 {
				path, header, want := "/users/x", authz.Header{Name: "authorization", Value: token}, "42"
				if i%2 == 0 {
					path, header, want = "/public/x", authz.Header{Name: "x_warder_user", Value: "1"}, ""
				}
				out := check(t.Context(), t, s, checkRequest("GET", path, header))
				if set, _ := sent(out); !isAllow(out) || set["x-warder-user"] != want {
					t.Errorf("%s: %v", path, out)
				}
			}
		})
	}
	wg.Wait()
}
