package envoy

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/token"
	"warder/policy"
)

const (
	testSecret = "0123456789abcdef0123456789abcdef"
	adaID      = "42"
	adaSession = "s-1"
	adaKey     = "wk_live_0123456789"
	oddKey     = "wk_odd_0123456789" // its row holds what no header can carry
)

// testPolicy has one route for each kind of allow.
const testPolicy = `
version: 1
cors: {allow_origins: ["https://app.example.com"]}
routes:
  - {id: public, match: /public/**, public: true}
  - {id: open, match: /open/**, allow: [{anonymous: {}}, {user: {}}]}
  - {id: users, match: /users/**, allow: [{user: {}}]}
  - {id: grpc, match: "/grpc.health.v1.Health/{method}", allow: [{user: {}}]}
  - {id: admin, match: /admin/**, allow: [{user: {roles: [ROOT]}}]}
  - {id: keys, match: /keys/**, allow: [{api_key: {}}]}
  - {id: watched, match: /watched/**, allow: [{user: {roles: [ROOT]}}], shadow: true}
  - {id: watched-keys, match: /watched-keys/**, allow: [{api_key: {}}], shadow: true}
`

// stores is a directory with one user, who has one session and one API key. It also has a key
// whose row a careless store should not have accepted.
type stores struct{}

func (stores) Alive(_ context.Context, session authz.Session) (bool, error) {
	return session.UserID == adaID && session.ID == adaSession, nil
}

func (stores) User(_ context.Context, id string) (authz.User, error) {
	if id != adaID {
		return authz.User{}, authz.ErrNotFound
	}
	return authz.User{Active: true, Roles: authz.Names{"CONTROL", "USER"}}, nil
}

func (stores) APIKey(_ context.Context, hash authz.KeyHash) (authz.APIKey, error) {
	if hash == authz.HashAPIKey(oddKey) {
		return authz.APIKey{Prefix: "odd\xff\r\n", Active: true, Scopes: authz.Names{"a\xff"}}, nil
	}
	if hash != authz.HashAPIKey(adaKey) {
		return authz.APIKey{}, authz.ErrNotFound
	}
	return authz.APIKey{Prefix: "wk_live", Active: true, Scopes: authz.Names{"assets:audit", "assets:read"}, OwnerID: adaID}, nil
}

// newEngine makes a real engine, because nothing else can allow a request.
func newEngine(t testing.TB) *authz.Engine {
	t.Helper()
	return newEngineOn(t, stores{})
}

// newEngineOn makes a real engine on other stores.
func newEngineOn(t testing.TB, all interface {
	authz.Sessions
	authz.Users
	authz.APIKeys
}) *authz.Engine {
	t.Helper()
	p, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(testPolicy)}}, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	v, err := token.NewVerifier(token.Config{Keys: []token.Key{{Algorithm: "HS256", Secret: []byte(testSecret)}}, Remember: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	e, err := authz.NewEngine(authz.Config{Policy: p, Tokens: v, Sessions: all, Users: all, APIKeys: all})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// bearer returns the Authorization value of the one user.
func bearer(t testing.TB) string {
	t.Helper()
	return "Bearer " + authztest.Mint(t, authztest.Token{Secret: []byte(testSecret), Claims: map[string]any{
		"sub": adaID, "jti": adaSession, "exp": time.Now().Add(time.Hour).Unix(),
	}})
}

// decider makes a function a Decider.
type decider func(context.Context, *authz.Request) authz.Decision

func (d decider) Decide(ctx context.Context, r *authz.Request) authz.Decision { return d(ctx, r) }

// denying denies every request with the same reason.
func denying(reason authz.Reason) decider {
	return func(context.Context, *authz.Request) authz.Decision { return authz.Deny(reason) }
}

func newTestServer(t testing.TB, c Config) *Server {
	t.Helper()
	if c.Decider == nil {
		c.Decider = newEngine(t)
	}
	s, err := NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// serve runs the server on a loopback port until the test ends.
func serve(t testing.TB, s *Server, options ...grpc.ServerOption) (*GRPCServer, *grpc.ClientConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := NewGRPCServer(s, nil, nil, options...)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return g, conn
}

// check sends a request in wire form to a server, as gRPC does, and returns the response.
func check(ctx context.Context, t testing.TB, s *Server, in *authv3.CheckRequest) *authv3.CheckResponse {
	t.Helper()
	return onWire(t, s.Check(ctx, decoded(t, in)))
}

// decoded returns what the codec decodes from a message.
func decoded(t testing.TB, in *authv3.CheckRequest) *CheckRequest {
	t.Helper()
	text, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	request := new(CheckRequest)
	request.decode(text)
	return request
}

// onWire returns a response as the generated code reads it.
func onWire(t testing.TB, r *CheckResponse) *authv3.CheckResponse {
	t.Helper()
	out := new(authv3.CheckResponse)
	if err := proto.Unmarshal(r.appendTo(nil), out); err != nil {
		t.Fatalf("%+v cannot be decoded: %v", r, err)
	}
	return out
}

// checkRequest makes a CheckRequest as Envoy with encode_raw_headers sends it.
func checkRequest(method, path string, headers ...authz.Header) *authv3.CheckRequest {
	raw := []*corev3.HeaderValue{rawHeader(":method", method), rawHeader(":path", path), rawHeader(":authority", "api.example.com")}
	for _, h := range headers {
		raw = append(raw, rawHeader(h.Name, h.Value))
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: socketAddress("192.0.2.7")},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "1234567890", Method: method, Path: path, Host: "api.example.com", Scheme: "http", Protocol: "HTTP/1.1",
			HeaderMap: &corev3.HeaderMap{Headers: raw},
		}},
	}}
}

func rawHeader(name, value string) *corev3.HeaderValue {
	return &corev3.HeaderValue{Key: name, RawValue: []byte(value)}
}

func socketAddress(ip string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: ip}}}
}

// sent returns the headers that a response sets and removes.
func sent(r *authv3.CheckResponse) (set map[string]string, removed []string) {
	set = map[string]string{}
	for _, h := range r.GetOkResponse().GetHeaders() {
		set[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
	}
	return set, r.GetOkResponse().GetHeadersToRemove()
}

func saidOf(r *authv3.CheckResponse, key string) string {
	return r.GetDynamicMetadata().GetFields()[key].GetStringValue()
}

// isAllow and isDeny recognise the two shapes as Envoy does, without using the code under test.
func isAllow(r *authv3.CheckResponse) bool {
	return r.GetStatus() != nil && r.GetStatus().GetCode() == 0 && r.GetOkResponse() != nil && saidOf(r, "decision") == "allow"
}

func isDeny(r *authv3.CheckResponse) bool {
	denied := r.GetDeniedResponse()
	toLogin := denied.GetStatus().GetCode() == http.StatusFound && slices.ContainsFunc(denied.GetHeaders(), func(h *corev3.HeaderValueOption) bool {
		return h.GetHeader().GetKey() == "location"
	})
	return r.GetStatus().GetCode() > 0 && (denied.GetStatus().GetCode() >= 400 || toLogin) && saidOf(r, "decision") == "deny"
}

var testIP = netip.MustParseAddr("192.0.2.7")
