package envoy

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	logdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/proto"

	"warder/authz/authztest"
	"warder/authz/mask"
)

// A logBuffer is a log of JSON lines that a test waits for.
type logBuffer struct{ authztest.Buffer }

// entries waits until there are n lines and returns the lines written so far.
func (b *logBuffer) entries(t *testing.T, n int) []map[string]any {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) < n {
			if time.Now().After(deadline) {
				t.Fatalf("%d lines, want %d: %s", len(lines), n, b.String())
			}
			continue
		}
		entries := make([]map[string]any, len(lines))
		for i, line := range lines {
			if err := json.Unmarshal([]byte(line), &entries[i]); err != nil {
				t.Fatalf("%v in %q", err, line)
			}
		}
		return entries
	}
}

func newTestAccessLog(t testing.TB, out io.Writer) *AccessLog {
	t.Helper()
	m, err := mask.NewMasker()
	if err != nil {
		t.Fatal(err)
	}
	return NewAccessLog(out, m, slog.New(slog.DiscardHandler), nil)
}

// checkTimeout is how long Envoy waits for a check. It is longer than in the shipped
// configurations, because the machine may be busy and these tests are about the log.
const checkTimeout = "static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/1/typed_config/grpc_service/timeout"

// TestEnvoyAccessLog sends secrets in every part of a request that a real Envoy logs. Its lines
// are the same, whichever form the metadata has.
func TestEnvoyAccessLog(t *testing.T) {
	t.Parallel()
	for _, summary := range []bool{false, true} {
		t.Run(fmt.Sprint("summary ", summary), func(t *testing.T) {
			t.Parallel()
			testEnvoyAccessLog(t, summary)
		})
	}
}

func testEnvoyAccessLog(t *testing.T, summary bool) {
	var out logBuffer
	b := newBenchWithLog(t, Config{Summary: summary}, newTestAccessLog(t, &out), nil, func(tr *tree) {
		const grpcLog = "static_resources/listeners/0/filter_chains/0/filters/0/typed_config/access_log/0/typed_config"
		tr.set(grpcLog+"/additional_request_headers_to_log", []string{"authorization", "cookie", "x-api-key", "x-csrf-token", "content-type", "x-note"})
		tr.set(grpcLog+"/common_config/buffer_flush_interval", "0.05s")
		tr.set(checkTimeout, "60s")
	})
	authorization := "authorization: " + bearer(t)
	for _, r := range []struct {
		path  string
		lines []string
	}{
		{"/public/x?q=shoes&password=c4n4ry-1&access%5Ftoken=c4n4ry-2&%70assword=c4n4ry-3", nil},
		{"/users/x?page=2", []string{authorization, "cookie: sid=c4n4ry-4; theme=dark", "x-csrf-token: c4n4ry-5", "content-type: text/plain",
			"referer: https://app.example.com/reset?token=c4n4ry-6", "x-note: login with password=c4n4ry-7", "user-agent: curl/8 token=c4n4ry-8"}},
		{"/keys/x", []string{"x-api-key: " + adaKey}},
		{"/nowhere?secret=c4n4ry-9", nil},
		{"/public/\xff?pin=c4n4ry-10", nil},
		{"/public/" + strings.TrimPrefix(authorization, "authorization: Bearer "), nil},
		{"/public/raw", []string{"x-note: \xff\xfe", "user-agent: \xff"}},
		{"/public/last", nil},
	} {
		b.send(t, "GET", r.path, r.lines...)
	}
	entries := out.entries(t, 8)
	text := out.String()
	if strings.Contains(text, "c4n4ry") || strings.Contains(text, strings.TrimPrefix(authorization, "authorization: Bearer ")) || strings.Contains(text, adaKey) {
		t.Errorf("a secret is in the access log:\n%s", text)
	}
	for i, want := range []map[string]any{
		{"log": "access", "method": "GET", "status": 200.0, "host": "api.example.com", "decision": "allow", "reason": "public", "route": "public",
			"path":      "/public/x?q=shoes&password=***FILTERED***&access%5Ftoken=***FILTERED***&%70assword=***FILTERED***",
			"client_ip": "127.0.0.1", "protocol": "HTTP/1.1", "upstream_cluster": "app"},
		{"status": 200.0, "path": "/users/x?page=2", "reason": "session", "user": "42", "auth_method": "session", "user_agent": "curl/8 token=***FILTERED***",
			"referer": "https://app.example.com/reset?token=***FILTERED***"},
		{"status": 200.0, "reason": "api_key", "key_prefix": "wk_live"},
		{"status": 403.0, "reason": "route_unmatched", "decision": "deny", "flags": "UAEX", "path": "/nowhere?secret=***FILTERED***"},
		{"status": 400.0},
		{"status": 200.0, "path": "/public/***FILTERED***"},
		{"status": 200.0, "path": "/public/raw"},
		{"status": 200.0, "path": "/public/last"},
	} {
		for key, value := range want {
			if entries[i][key] != value {
				t.Errorf("line %d: %s is %v, want %v", i, key, entries[i][key], value)
			}
		}
		if _, err := time.Parse(time.RFC3339Nano, entries[i]["time"].(string)); err != nil {
			t.Errorf("line %d: %v", i, err)
		}
		if tags, _ := entries[i]["tags"].(map[string]any); i < 4 && tags["authz_us"] == "" {
			t.Errorf("line %d does not say how long the check took", i)
		}
	}
	headers, _ := entries[1]["request_headers"].(map[string]any)
	for name, value := range map[string]any{"cookie": mask.Replacement, "x-csrf-token": mask.Replacement, "content-type": "text/plain", "x-note": "login with password=***FILTERED***"} {
		if headers[name] != value {
			t.Errorf("header %s is %v, want %v", name, headers[name], value)
		}
	}
}

// TestEnvoyAccessLogAway tests that an access log that accepts nothing, or does not exist, does
// not delay requests. A request that waited for it would never be answered.
func TestEnvoyAccessLogAway(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	for name, address := range map[string]string{"silent": silent.Addr().String(), "gone": gone.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, Config{}, nil, func(tr *tree) {
				clusters := tr.root.(map[string]any)["static_resources"].(map[string]any)["clusters"].([]any)
				other := maps.Clone(clusters[1].(map[string]any))
				other["name"] = "logs"
				text, _ := json.Marshal(other)
				copied := &tree{}
				_ = json.Unmarshal(text, &copied.root)
				copied.set("load_assignment/endpoints/0/lb_endpoints/0/endpoint/address", copied.address("Upstream", address))
				copied.set("load_assignment/cluster_name", "logs")
				tr.set("static_resources/clusters", append(clusters, copied.root))
				const common = "static_resources/listeners/0/filter_chains/0/filters/0/typed_config/access_log/0/typed_config/common_config"
				tr.set(common+"/grpc_service/envoy_grpc/cluster_name", "logs")
				tr.set(common+"/buffer_size_bytes", 0) // send each entry at once
				tr.set(checkTimeout, "60s")
				tr.problems = append(tr.problems, copied.problems...)
			})
			for range 200 {
				if response, body := b.send(t, "GET", "/public/x"); response.StatusCode != 200 {
					t.Fatalf("%d: %s", response.StatusCode, body)
				}
			}
		})
	}
}

// TestAccessLogKeepsNoLargeLine tests that a large line is not kept. A stream lives for days.
func TestAccessLogKeepsNoLargeLine(t *testing.T) {
	t.Parallel()
	var out logBuffer
	w := newLineWriter(newTestAccessLog(t, &out))
	for _, size := range []int{1 << 20, 100} {
		entry := &logdatav3.HTTPAccessLogEntry{Request: &logdatav3.HTTPRequestProperties{UserAgent: strings.Repeat("a ", size/2)}}
		text, err := proto.Marshal(entry)
		if err != nil {
			t.Fatal(err)
		}
		if !w.entry.decode(text) || w.write() != nil {
			t.Fatal("an entry is not written")
		}
		if w.text.Cap() > maxLineKept || cap(w.masked) > maxLineKept {
			t.Errorf("after %d bytes: %d and %d are kept", size, w.text.Cap(), cap(w.masked))
		}
	}
	if lines := out.entries(t, 2); len(lines[0]["user_agent"].(string)) > 9<<10 || len(lines[1]["user_agent"].(string)) != 100 {
		t.Error("a line is not whole")
	}
}
