package envoy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	logdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"warder/authz"
	"warder/authz/authztest"
)

// crowd is a directory of many users. User n has a role of its own. Some users have so many
// more roles that their responses outgrow the buffers, and every seventh user is logged out.
// The directory answers with a short delay, so that checks are cancelled in the middle of a
// lookup.
type crowd struct{}

const crowded = 40

func (crowd) Alive(ctx context.Context, session authz.Session) (bool, error) {
	n, err := strconv.Atoi(session.UserID)
	if err != nil || session.ID != "s-"+session.UserID {
		return false, err
	}
	return n%7 != 0, pause(ctx)
}

func (crowd) User(ctx context.Context, id string) (authz.User, error) {
	n, err := strconv.Atoi(id)
	if err != nil {
		return authz.User{}, authz.ErrNotFound
	}
	return authz.User{Active: true, Roles: crowdRoles(n)}, pause(ctx)
}

func (crowd) APIKey(ctx context.Context, hash authz.KeyHash) (authz.APIKey, error) {
	for n := range crowded {
		if hash == authz.HashAPIKey(crowdKey(n)) {
			return authz.APIKey{Prefix: fmt.Sprintf("wk_%d", n), Active: true, Scopes: crowdRoles(n)}, pause(ctx)
		}
	}
	return authz.APIKey{}, authz.ErrNotFound
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Duration(rand.IntN(300)) * time.Microsecond):
		return nil
	}
}

func crowdKey(n int) string { return fmt.Sprintf("wk_live_%010d", n) }

func crowdRoles(n int) authz.Names {
	roles := []string{fmt.Sprintf("OWN-%d", n)}
	for i := range []int{0, 3, 150, 1500}[n%4] { // below, and above what is kept of buffers
		roles = append(roles, fmt.Sprintf("ROLE-%d-%04d", n, i))
	}
	names, _ := authz.NewNames(roles)
	return names
}

// A crowdCheck is a check of one user of the crowd and its expected response.
type crowdCheck struct {
	in      *authv3.CheckRequest
	reason  string
	set     map[string]string
	removed string // in addition to what is always removed
	about   string // the user in the metadata
}

// crowdChecks returns a check of each kind for one user.
func crowdChecks(t *testing.T, n int) []crowdCheck {
	t.Helper()
	id, list := strconv.Itoa(n), strings.Join(crowdRoles(n), ",")
	forged := authz.Header{Name: "x-warder-of-" + id, Value: "forged"}
	token := authz.Header{Name: "authorization", Value: "Bearer " + authztest.Mint(t, authztest.Token{Secret: []byte(testSecret), Claims: map[string]any{
		"sub": id, "jti": "s-" + id, "exp": time.Now().Add(time.Hour).Unix(),
	}})}
	filler := authz.Header{Name: "x-filler", Value: strings.Repeat(id+".", []int{1, 100, 3000}[n%3])}
	session := crowdCheck{
		in: checkRequest("GET", "/users/"+id, filler, token, forged), reason: "session", about: id, removed: forged.Name,
		set: map[string]string{"x-warder-auth-method": "session", "x-warder-user": id, "x-warder-roles": list, "x-warder-session": "s-" + id, "x-warder-client-ip": "192.0.2.7"},
	}
	if n%7 == 0 {
		session.reason, session.set = "session_revoked", nil
	}
	checks := []crowdCheck{
		session,
		{in: checkRequest("GET", "/public/"+id, forged, token, filler), reason: "public", removed: forged.Name, set: map[string]string{"x-warder-client-ip": "192.0.2.7"}},
		{
			in: checkRequest("GET", "/keys/"+id, authz.Header{Name: "x-api-key", Value: crowdKey(n)}, forged), reason: "api_key", removed: forged.Name,
			set: map[string]string{"x-warder-auth-method": "api_key", "x-warder-key-prefix": "wk_" + id, "x-warder-scopes": list, "x-warder-client-ip": "192.0.2.7"},
		},
		{in: checkRequest("GET", "/users/"+id, filler), reason: "credentials_missing"},
	}
	for _, c := range slices.Clone(checks) { // in the other form
		c.in = proto.CloneOf(c.in)
		http := c.in.GetAttributes().GetRequest().GetHttp()
		http.Headers = map[string]string{}
		for _, h := range http.GetHeaderMap().GetHeaders() {
			http.Headers[h.GetKey()] = string(h.GetRawValue())
		}
		http.HeaderMap = nil
		checks = append(checks, c)
	}
	return checks
}

// wrong returns what is wrong with a response, or "" if it is the expected one.
func (c crowdCheck) wrong(out *authv3.CheckResponse) string {
	set, removed := sent(out)
	switch {
	case saidOf(out, "reason") != c.reason || saidOf(out, "user") != c.about:
		return "metadata"
	case c.set == nil && !isDeny(out) || c.set != nil && !isAllow(out):
		return "shape"
	case c.set == nil:
		return ""
	case len(set) != len(c.set):
		return "number of headers"
	}
	for name, value := range c.set {
		if set[name] != value {
			return name
		}
	}
	others := slices.DeleteFunc(removed, func(name string) bool { return !strings.HasPrefix(name, "x-warder-of-") })
	if len(others) != 1 || others[0] != c.removed {
		return "removals"
	}
	return ""
}

// TestNoCrossTalk sends checks of many users at once over shared connections, and cancels some
// of them. Each response must be that of the user who sent the check.
func TestNoCrossTalk(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Config{Decider: newEngineOn(t, crowd{}), Deadline: 10 * time.Second})
	_, first := serve(t, s)
	second, err := grpc.NewClient(first.Target(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = second.Close() })
	var all []crowdCheck
	for n := range crowded {
		all = append(all, crowdChecks(t, n)...)
	}
	var wg sync.WaitGroup
	for worker := range 24 {
		wg.Go(func() {
			client := authv3.NewAuthorizationClient([]*grpc.ClientConn{first, second}[worker%2])
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			for range 150 {
				c := all[random.IntN(len(all))]
				ctx, cancel := context.WithCancel(t.Context())
				leaves := random.IntN(4) == 0
				if leaves {
					time.AfterFunc(time.Duration(random.IntN(1500))*time.Microsecond, cancel)
				}
				out, err := client.Check(ctx, c.in)
				cancel()
				switch {
				case err != nil && leaves:
				case err != nil:
					t.Errorf("%s: %v", c.in.GetAttributes().GetRequest().GetHttp().GetPath(), err)
				default:
					// A peer that cancels just as the response arrives may get either.
					if why := c.wrong(out); why != "" && (!leaves || isAllow(out)) {
						t.Errorf("%s: %s of another: %v", c.in.GetAttributes().GetRequest().GetHttp().GetPath(), why, out)
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestMessagesKeepTheirBytes holds checks in the middle of a decision while their connection
// receives many others. What was read from a message must not change, because its strings share
// the memory of the message.
func TestMessagesKeepTheirBytes(t *testing.T) {
	t.Parallel()
	const held, others = 20, 300
	value := func(path string, size int) string { return strings.Repeat(path+";", size) }
	size := func(n int) int { return []int{1, 50, 2000}[n%3] } // one frame, and several
	wrong := func(r *authz.Request, n int) bool {
		got, count := r.Headers.First("x-value")
		return count != 1 || got != value(r.Path, size(n)) || !strings.HasPrefix(r.ID, r.Path[len("/public/"):]+"-id")
	}
	reached, release := make(chan struct{}, held), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(release) })
	defer goOn()
	engine := newEngine(t)
	s := newTestServer(t, Config{Deadline: time.Minute, Decider: decider(func(ctx context.Context, r *authz.Request) authz.Decision {
		n, _ := strconv.Atoi(r.Path[strings.LastIndex(r.Path, "-")+1:])
		if strings.HasPrefix(r.Path, "/public/held") {
			reached <- struct{}{}
			<-release
		}
		if wrong(r, n) {
			t.Errorf("%s has the bytes of another: %.100s", r.Path, r.Headers)
		}
		return engine.Decide(ctx, r)
	})})
	_, address := serveAddress(t, s, nil)
	p := newFramePeer(t, address)
	p.must(p.framer.WriteWindowUpdate(0, 1<<30)) // for all responses
	message := func(path string, n int) []byte {
		return prefixed(0, marshal(t, checkRequest("GET", path,
			authz.Header{Name: "x-value", Value: value(path, size(n))}, authz.Header{Name: "x-request-id", Value: path[len("/public/"):] + "-id"})))
	}
	ids, rest := make([]uint32, held), make([][]byte, held)
	for n := range held {
		ids[n], rest[n] = p.stream(), message(fmt.Sprintf("/public/held-%d", n), n)
		p.headers(ids[n], false, usualCall()...)
	}
	for left := held; left > 0; { // the messages arrive in pieces, side by side
		for n := range held {
			if len(rest[n]) == 0 {
				continue
			}
			size := min(len(rest[n]), 7000)
			p.must(p.framer.WriteData(ids[n], size == len(rest[n]), rest[n][:size]))
			if rest[n] = rest[n][size:]; len(rest[n]) == 0 {
				left--
			}
		}
	}
	for range held {
		select {
		case <-reached:
		case <-time.After(30 * time.Second):
			t.Fatal("a check has not reached its decision")
		}
	}
	for n := range others {
		id := p.stream()
		p.headers(id, false, usualCall()...)
		for text := message(fmt.Sprintf("/public/other-%d", n), n); len(text) > 0; {
			size := min(len(text), maxFrame)
			p.must(p.framer.WriteData(id, size == len(text), text[:size]))
			text = text[size:]
		}
		if got := p.answer(id); got != allowed {
			t.Fatal(got)
		}
	}
	goOn()
	for id, got := range p.answers(ids...) {
		if got.String() != allowed {
			t.Errorf("stream %d: %v", id, got)
		}
	}
}

// TestAccessLogNoCrossTalk sends entries of many streams at once, each with a part of the
// fields. Each line must have the fields of its own entry, and no others.
func TestAccessLogNoCrossTalk(t *testing.T) {
	t.Parallel()
	const streams, messages = 8, 60
	var out logBuffer
	_, conn := serveWithLog(t, newTestServer(t, Config{}), newTestAccessLog(t, &out))
	want := make([]map[string]any, streams*messages*3)
	var wg sync.WaitGroup
	for n := range streams {
		wg.Go(func() {
			stream, err := accesslogv3.NewAccessLogServiceClient(conn).StreamAccessLogs(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			random := rand.New(rand.NewPCG(2, uint64(n)))
			for m := range messages {
				logs := &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{}
				for i := range 3 {
					id := (n*messages+m)*3 + i
					var entry *logdatav3.HTTPAccessLogEntry
					entry, want[id] = partOfEntry(random, id)
					logs.LogEntry = append(logs.LogEntry, entry)
				}
				if err := stream.Send(&accesslogv3.StreamAccessLogsMessage{LogEntries: &accesslogv3.StreamAccessLogsMessage_HttpLogs{HttpLogs: logs}}); err != nil {
					t.Error(err)
					return
				}
			}
			_, _ = stream.CloseAndRecv()
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, line := range out.entries(t, len(want)) {
		path := line["path"].(string)
		id, _ := strconv.Atoi(strings.TrimPrefix(path, "/"))
		if diff := cmp.Diff(want[id], line); diff != "" || seen[path] {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
		seen[path] = true
	}
}

// partOfEntry returns an entry with random fields, which have the ID in their values, and the
// members of its line.
func partOfEntry(random *rand.Rand, id int) (*logdatav3.HTTPAccessLogEntry, map[string]any) {
	own := func(what string) string { return fmt.Sprintf("%s %d", what, id) }
	request := &logdatav3.HTTPRequestProperties{Path: fmt.Sprintf("/%d", id)}
	common, response := &logdatav3.AccessLogCommon{}, &logdatav3.HTTPResponseProperties{}
	line := map[string]any{"log": "access", "method": "OTHER", "path": request.GetPath(), "status": 0.0, "duration_ms": 0.0}
	for _, set := range []func(){
		func() { request.UserAgent = own("agent"); line["user_agent"] = own("agent") },
		func() { request.Authority = own("host"); line["host"] = own("host") },
		func() { request.RequestId = own("request"); line["request_id"] = own("request") },
		func() { common.UpstreamCluster = own("cluster"); line["upstream_cluster"] = own("cluster") },
		func() { response.ResponseCode = wrapperspb.UInt32(uint32(id)); line["status"] = float64(id) },
		func() {
			common.Duration = durationpb.New(time.Duration(id) * time.Millisecond)
			line["duration_ms"] = float64(id)
		},
		func() {
			common.CustomTags = map[string]string{own("a"): own("b")}
			line["tags"] = map[string]any{own("a"): own("b")}
		},
		func() {
			request.RequestHeaders = map[string]string{own("c"): own("d")}
			line["request_headers"] = map[string]any{own("c"): own("d")}
		},
		func() {
			decided, _ := structpb.NewStruct(map[string]any{"user": own("user")})
			common.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{metadataNamespace: decided}}
			line["user"] = own("user")
		},
		func() {
			common.DownstreamDirectRemoteAddress = &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: own("pipe")}}}
			line["peer"] = own("pipe")
		},
	} {
		if random.IntN(2) == 0 {
			set()
		}
	}
	return &logdatav3.HTTPAccessLogEntry{CommonProperties: common, Request: request, Response: response}, line
}
