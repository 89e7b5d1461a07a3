package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/memory"
	"warder/authz/token"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/server/metrics"
	"warder/envoy"
	"warder/policy"
)

const aToken = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl"

func observe(path, id string, headers ...authz.Header) envoy.Observation {
	return envoy.Observation{
		Request: &authz.Request{Attributes: authz.Attributes{Headers: headers}},
		Method:  "GET", Path: path, ID: id,
		Decision: authz.Deny(authz.ReasonRoleMissing), Duration: 1234 * time.Microsecond,
	}
}

// defaultSources reads credentials where an empty configuration has them.
func defaultSources(t testing.TB) *authz.SourceReader {
	t.Helper()
	sources, err := authz.NewSourceReader(authz.Sources{})
	if err != nil {
		t.Fatal(err)
	}
	return sources
}

func testLines(t *testing.T, out io.Writer, log *slog.Logger) *lineQueue {
	t.Helper()
	return newLineQueue("standard output", out, log, metrics.New(nil).Dropped, linesOfDecisions, linesOfAccess)
}

func TestDecisionLogFields(t *testing.T) {
	t.Parallel()
	var out, own authztest.Buffer
	q := testLines(t, &out, NewLogger(&own, config.Log{}))
	newDecisionLog(q.part(linesOfDecisions), config.LogDeny, defaultSources(t), nil).Observed(t.Context(), observe("/api/v1/x", "req-1"))
	q.close(0)
	line := out.String()
	if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
		t.Fatalf("not one line: %q", line)
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		t.Fatal(err)
	}
	want := []string{"auth_method", "client_ip", "decision", "duration_us", "key_prefix", "method", "path", "reason", "request_id", "route", "time", "user"}
	if got := slices.Sorted(maps.Keys(fields)); !slices.Equal(got, want) {
		t.Errorf("fields %v\nwant   %v", got, want)
	}
	for field, value := range map[string]any{
		"decision": "deny", "reason": "role_missing", "method": "GET", "path": "/api/v1/x", "request_id": "req-1", "duration_us": 1234.0,
	} {
		if fields[field] != value {
			t.Errorf("%s is %v, want %v", field, fields[field], value)
		}
	}
	if own.String() != "" {
		t.Errorf("warder's own log: %s", own.String())
	}
}

// TestDecisionLogDetail checks that the line of a refused token says what the reason leaves open.
func TestDecisionLogDetail(t *testing.T) {
	t.Parallel()
	routes, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte("version: 1\nroutes:\n  - {id: me, match: /me, allow: [{user: {}}]}\n")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte("a-secret-of-more-than-thirty-two-bytes")
	tokens, err := token.NewVerifier(token.Config{Keys: []token.Key{{Algorithm: "HS256", Secret: secret}}})
	if err != nil {
		t.Fatal(err)
	}
	store := memory.New(nil)
	engine, err := authz.NewEngine(authz.Config{Policy: routes, Tokens: tokens, Sessions: store, Users: store, APIKeys: store})
	if err != nil {
		t.Fatal(err)
	}
	clientKey := "opaque." + strings.Repeat("Canary.0.", 12)
	store.PutSession("0b1C2d3e-4f50-6172-8394-a5b6c7d8e9f0", "s", 0)
	expires := time.Now().Add(time.Hour).Unix()
	for _, tt := range []struct {
		want string
		tok  authztest.Token
	}{
		{"exp missing", authztest.Token{Claims: map[string]any{"sub": "42", "jti": "s"}}},
		{"use refresh_token", authztest.Token{Claims: map[string]any{"sub": "42", "jti": "s", "exp": expires, "use": "refresh_token"}}},
		{"kid abc", authztest.Token{Header: map[string]any{"kid": "abc"}, Claims: map[string]any{"sub": "42", "jti": "s", "exp": expires}}},
		// A client may write its own key there. Only the beginning fits into a detail.
		{"kid ***FILTERED***…(cut)", authztest.Token{Header: map[string]any{"kid": clientKey}, Claims: map[string]any{"sub": "42", "jti": "s", "exp": expires}}},
		{"user is a UUID in capitals", authztest.Token{Claims: map[string]any{"sub": "0b1C2d3e-4f50-6172-8394-a5b6c7d8e9f0", "jti": "s", "exp": expires}}},
	} {
		tt.tok.Secret = secret
		bearer := authz.Header{Name: "authorization", Value: "Bearer " + authztest.Mint(t, tt.tok)}
		o := observe("/me", "req-1", bearer, authz.Header{Name: "x-api-key", Value: clientKey})
		o.Decision = engine.Decide(t.Context(), authz.NewRequest(authz.Attributes{Method: "GET", Host: "example.com", Path: "/me", Headers: authz.Headers{bearer}}))
		var out, own authztest.Buffer
		q := testLines(t, &out, NewLogger(&own, config.Log{}))
		newDecisionLog(q.part(linesOfDecisions), config.LogDeny, defaultSources(t), nil).Observed(t.Context(), o)
		q.close(0)
		var line struct{ Detail, Policy string }
		if err := json.Unmarshal([]byte(out.String()), &line); err != nil || line.Policy != routes.Hash() {
			t.Errorf("policy %q, want %q (%v)", line.Policy, routes.Hash(), err)
		}
		if err := json.Unmarshal([]byte(out.String()), &line); err != nil || line.Detail != tt.want {
			t.Errorf("detail %q, want %q (%v); line %s", line.Detail, tt.want, err, out.String())
		}
	}
}

func TestDecisionLogMasks(t *testing.T) {
	t.Parallel()
	key := authz.Header{Name: "x-api-key", Value: "wk_canary_12345678"}
	bearer := authz.Header{Name: "authorization", Value: "Bearer opaque-canary-token"}
	for _, c := range []struct {
		want, path string
		headers    []authz.Header
	}{
		{"/plain/path", "/plain/path", []authz.Header{key, bearer}},
		{"/reset/***FILTERED***", "/reset/" + aToken, nil},
		{"/reset/***FILTERED***/x", "/reset/" + aToken + "/x", nil},
		{"/a/***FILTERED***/b", "/a/wk_canary_12345678/b", []authz.Header{key}},
		{"/a/***FILTERED***", "/a/opaque-canary-token", []authz.Header{bearer}},
		{"***FILTERED***", "/a/wk%5Fcanary%5f12345678", []authz.Header{key}},
		{"/reset/***FILTERED***", "/reset/%65yJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl", nil},
		{"/%zz/***FILTERED***", "/%zz/%65yJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl", nil},
		{"/files/caf%C3%A9%20x", "/files/caf%C3%A9%20x", []authz.Header{key}},
		{"/short/a", "/short/a", []authz.Header{{Name: "x-api-key", Value: "a"}}},
		{"/eyJ", "/eyJ", nil},
		{"/" + strings.Repeat("a", 511) + "…(cut)", "/" + strings.Repeat("a", 5000), nil},
		{"/" + strings.Repeat("a", 510) + "…(cut)", "/" + strings.Repeat("a", 510) + "éééé", nil},
		{"/\ufffd\ufffd", "/\xff\xfe", nil},
		{"/a\"\nb", "/a\"\nb", nil},
	} {
		var out authztest.Buffer
		q := testLines(t, &out, clitest.Discard())
		newDecisionLog(q.part(linesOfDecisions), config.LogAll, defaultSources(t), nil).Observed(t.Context(), observe(c.path, c.path, c.headers...))
		q.close(0)
		var got struct {
			Path string `json:"path"`
		}
		if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
			t.Errorf("%q: %v in %q", c.path, err, out.String())
		}
		if got.Path != c.want {
			t.Errorf("%q is logged as %q, want %q", c.path, got.Path, c.want)
		}
		if strings.Contains(out.String(), "canary") || strings.Contains(out.String(), "c2lnbmF0dXJl") {
			t.Errorf("a credential is in %s", out.String())
		}
		if strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%q makes more than one line: %q", c.path, out.String())
		}
	}
}

func TestDecisionLogOff(t *testing.T) {
	t.Parallel()
	if l := newDecisionLog(nil, config.LogNone, defaultSources(t), nil); l != nil {
		t.Error("log.decisions: none makes a log")
	}
}

// A stuckPipe blocks each write until it is opened.
type stuckPipe struct {
	open chan struct{}
	authztest.Buffer
}

func (p *stuckPipe) Write(b []byte) (int, error) {
	<-p.open
	return p.Buffer.Write(b)
}

// TestDecisionLogNeverBlocks checks that checks continue while nobody reads standard output.
// Lines are dropped and counted, and the queued lines are written when somebody reads again.
func TestDecisionLogNeverBlocks(t *testing.T) {
	t.Parallel()
	pipe := &stuckPipe{open: make(chan struct{})}
	var own authztest.Buffer
	q := testLines(t, pipe, NewLogger(&own, config.Log{}))
	l := newDecisionLog(q.part(linesOfDecisions), config.LogAll, defaultSources(t), nil)
	const extra = 100
	for range lineBacklog + extra {
		l.Observed(t.Context(), observe("/x", "")) // would hang here
	}
	close(pipe.open)
	q.close(0)
	kept := strings.Count(pipe.String(), "\n")
	if kept < lineBacklog || kept > lineBacklog+1 { // the writer may hold one
		t.Errorf("%d lines were kept, want %d", kept, lineBacklog)
	}
	if !strings.Contains(own.String(), "lines dropped") {
		t.Errorf("nothing is said about dropped lines: %s", own.String())
	}
	l.Observed(t.Context(), observe("/late", "")) // after the end: no panic
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestDecisionLogSaysOnceThatItIsBroken(t *testing.T) {
	t.Parallel()
	var own authztest.Buffer
	q := testLines(t, brokenPipe{}, NewLogger(&own, config.Log{}))
	l := newDecisionLog(q.part(linesOfDecisions), config.LogAll, defaultSources(t), nil)
	for range 10 {
		l.Observed(t.Context(), observe("/x", ""))
	}
	q.close(0)
	if n := strings.Count(own.String(), "cannot be written"); n != 1 {
		t.Errorf("said %d times: %s", n, own.String())
	}
}

// TestLineQueueBytes checks that long lines are dropped before they use too much memory.
func TestLineQueueBytes(t *testing.T) {
	t.Parallel()
	pipe := &stuckPipe{open: make(chan struct{})}
	var own authztest.Buffer
	q := testLines(t, pipe, NewLogger(&own, config.Log{}))
	line := append(bytes.Repeat([]byte("a"), 1<<20-1), '\n')
	for range 100 {
		_, _ = q.part(linesOfDecisions).Write(line)
	}
	close(pipe.open)
	q.close(0)
	if got := len(pipe.String()); got != backlogBytes {
		t.Errorf("%d bytes were kept, want %d", got, backlogBytes)
	}
	if n := testutil.ToFloat64(q.part(linesOfDecisions).total); n != 92 {
		t.Errorf("%v lines are counted as dropped, want 92", n)
	}
	if !strings.Contains(own.String(), `"lines":`) {
		t.Errorf("what was dropped is not told: %s", own.String())
	}
	if n := q.part(linesOfDecisions).waiting.Load(); n != 0 {
		t.Errorf("%d bytes are counted in an empty queue", n)
	}
}

// TestDecisionLogMasksEverySource: a credential that the client also puts into the path is masked
// there, wherever the request carries it.
func TestDecisionLogMasksEverySource(t *testing.T) {
	t.Parallel()
	const secret = "plain-words-0123456789"
	all := authz.Sources{
		Tokens: []authz.Source{
			{Header: "Authorization"}, {Header: "X-Auth"}, {Cookie: "c"}, {Cookie: "d", Scheme: "Bearer"}, {Query: "q"},
			{WebSocketProtocol: "bearer"}, {WebSocketProtocol: "b."},
		},
		APIKeys: []authz.Source{{Header: "X-Key"}, {Header: "Authorization", Scheme: "ApiKey"}, {Query: "k"}},
	}
	sources, err := authz.NewSourceReader(all)
	if err != nil {
		t.Fatal(err)
	}
	tokens, apiKeys := all.All()
	for _, source := range slices.Concat(tokens, apiKeys) {
		var out authztest.Buffer
		q := testLines(t, &out, NewLogger(&out, config.Log{}))
		fields, query := source.Carry(secret)
		o := observe("/a/"+secret, "req-1", fields...)
		o.Request.Path = authz.AddQuery("/a/"+secret, query)
		newDecisionLog(q.part(linesOfDecisions), config.LogAll, sources, nil).Observed(t.Context(), o)
		q.close(0)
		if line := out.String(); !strings.Contains(line, "req-1") || strings.Contains(line, secret) {
			t.Errorf("%s: %s", source, line)
		}
	}
}

func TestSourceWarnings(t *testing.T) {
	t.Parallel()
	route := "version: 1\nroutes:\n  - {id: a, match: /a, allow: [{user: {}}, {api_key: {}}]%s}\n"
	for _, c := range []struct {
		want    []string
		keys    string
		sources authz.Sources
	}{
		{nil, "", authz.Sources{}},
		{[]string{"p.yaml:3:5: token_query: route a has token_query: true, which has no effect"}, ", token_query: true", authz.Sources{}},
		{[]string{"api_key.sources in the configuration names no query parameter; add {query: api_key}"}, ", api_key_query: true", authz.Sources{}},
		{nil, ", token_query: true", authz.Sources{Tokens: []authz.Source{{Query: "token"}}}},
		{[]string{"the query parameter t of jwt.sources is read on no route"}, "", authz.Sources{Tokens: []authz.Source{{Query: "t"}}}},
		{[]string{"has no effect", "the query parameter k of api_key.sources is read on no route"}, ", token_query: true", authz.Sources{APIKeys: []authz.Source{{Query: "k"}}}},
	} {
		p, err := policy.Parse([]policy.File{{Name: "p.yaml", Data: fmt.Appendf(nil, route, c.keys)}}, clitest.Environment())
		if err != nil {
			t.Fatal(err)
		}
		got := sourceWarnings(p, "p.yaml", c.sources)
		if len(got) != len(c.want) {
			t.Errorf("%q with %+v: %v", c.keys, c.sources, got)
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(got[i].String(), want) {
				t.Errorf("%q with %+v: %v, want %q", c.keys, c.sources, got[i], want)
			}
		}
	}
}
