package server

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
)

// nothing returns no details for a readiness.
func nothing() string { return "" }

func TestAdmin(t *testing.T) {
	t.Parallel()
	var serving []bool
	ready := newReadiness([]string{"sessions (Redis)", "directory (Postgres)"}, nothing, func(r bool) { serving = append(serving, r) })
	admin := newAdmin(ready, http.NotFoundHandler(), http.NotFoundHandler(), clitest.Discard())
	get := func(method, path string) (int, string) {
		w := httptest.NewRecorder()
		admin.Handler.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	expect := func(path string, wantCode int, want string) {
		t.Helper()
		if code, body := get(http.MethodGet, path); code != wantCode || body != want {
			t.Errorf("GET %s: %d %q, want %d %q", path, code, body, wantCode, want)
		}
	}
	expect("/healthz", 200, "alive")
	expect("/readyz", 503, "not ready: waiting for sessions (Redis), directory (Postgres)")
	if ready.reached("directory (Postgres)") {
		t.Error("ready before all were reached")
	}
	expect("/readyz", 503, "not ready: waiting for sessions (Redis)")
	if !ready.reached("sessions (Redis)") {
		t.Error("not ready although all were reached")
	}
	expect("/readyz", 200, "ready")
	ready.drain()
	expect("/readyz", 503, "not ready: shutting down")
	expect("/healthz", 200, "alive")
	if ready.reached("late") {
		t.Error("ready while shutting down")
	}
	for _, c := range []struct {
		code         int
		method, path string
	}{
		{404, "GET", "/"}, {404, "GET", "/metrics"}, {404, "GET", "/debug/pprof/"}, {405, "POST", "/readyz"}, {200, "HEAD", "/healthz"},
	} {
		if code, _ := get(c.method, c.path); code != c.code {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, code, c.code)
		}
	}
	if want := []bool{false, true, false}; len(serving) != 3 || serving[0] != want[0] || serving[1] != want[1] || serving[2] != want[2] {
		t.Errorf("gRPC health was told %v, want %v", serving, want)
	}
	if admin.ReadHeaderTimeout == 0 || admin.ReadTimeout == 0 || admin.WriteTimeout == 0 || admin.IdleTimeout == 0 || admin.MaxHeaderBytes > 16<<10 {
		t.Error("a client may hold a connection for ever or send without end")
	}
}

// TestRecovered checks that a panic in a part ends the others with an error, and that the panic
// value appears nowhere.
func TestRecovered(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	err := recovered(NewLogger(&out, config.Log{}), "the part", func() error { panic("token=c4n4ry") })()
	if err == nil || !strings.Contains(err.Error(), "the part failed") {
		t.Errorf("%v, want an error", err)
	}
	text := fmt.Sprint(err, out.String())
	if strings.Contains(text, "c4n4ry") || !strings.Contains(text, `"in":"the part"`) || !strings.Contains(text, "TestRecovered") {
		t.Errorf("said: %s", text)
	}
	if err := recovered(clitest.Discard(), "the part", func() error { return nil })(); err != nil {
		t.Error(err)
	}
}
