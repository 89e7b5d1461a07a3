package demo

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"warder/authz/authztest"
	"warder/cmd/warder/internal/cli"
	"warder/envoy"
)

func demoProcess(out, err io.Writer) cli.Process {
	return cli.Process{Env: func(string) (string, bool) { return "", false }, Stdout: out, Stderr: err}
}

func tourOptions(t *testing.T) options {
	t.Helper()
	binary, err := envoy.FindBinary("")
	if err != nil {
		t.Fatal(err)
	}
	o := options{tour: true, envoy: binary}
	if err := o.check(false); err != nil {
		t.Fatal(err)
	}
	return o
}

// TestTour runs the tour of the README through a real Envoy, with sessions in memory and in a
// real Redis.
func TestTour(t *testing.T) {
	t.Parallel()
	for _, redisURL := range []string{"", "redis://" + authztest.StartRedis(t, "").Addr + "/0"} {
		o := tourOptions(t)
		o.redisURL = redisURL
		var out, stderr lockedBuffer
		if err := start(t.Context(), demoProcess(&out, &stderr), o); err != nil {
			t.Errorf("redis %q: %v\n%s%s", redisURL, err, out.String(), stderr.String())
		}
		for _, want := range []string{
			"requests enter a real Envoy", "GET /reports/7 ", "as expected.", "role_missing ", "client_ip_denied ", "session_revoked ",
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("redis %q: %q is not in the tour:\n%s", redisURL, want, out.String())
			}
		}
		if stderr.String() != "" {
			t.Errorf("redis %q: a good tour says %q", redisURL, stderr.String())
		}
	}
}

// TestTourTells checks that a tour with unexpected results names the failing steps and fails.
func TestTourTells(t *testing.T) {
	t.Parallel()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/office" { // as if there were no allowlist
			w.WriteHeader(http.StatusOK)
			return
		}
		_, _ = io.WriteString(w, `{"headers":{"x-warder-user":"1"}}`)
	}))
	defer front.Close()
	var out lockedBuffer
	v := &tourist{url: front.URL, out: &out}
	for _, step := range []struct {
		wrong   bool
		request request
	}{
		{true, request{status: http.StatusForbidden, line: "GET /office", what: "another status"}},
		{true, request{status: http.StatusOK, line: "GET /echo", what: "another user", told: map[string]string{"x-warder-user": "2"}}},
		{true, request{status: http.StatusOK, line: "GET /office", what: "no echo", told: map[string]string{"x-warder-user": "1"}}},
		{false, request{status: http.StatusOK, line: "GET /echo", what: "as it should be", told: map[string]string{"x-warder-user": "1", "x-warder-roles": ""}}},
	} {
		before := v.wrong
		v.step(t.Context(), step.request)
		if wrong := v.wrong > before; wrong != step.wrong {
			t.Errorf("%s: wrong = %v, want %v", step.request.what, wrong, step.wrong)
		}
	}
	if n := strings.Count(out.String(), "WRONG  expected "); n != 3 {
		t.Errorf("%d lines say WRONG, want 3:\n%s", n, out.String())
	}
	if v.steps != 4 {
		t.Errorf("%d steps counted, want 4", v.steps)
	}
}

// TestTourFails checks that the tour fails if the application is not protected.
func TestTourFails(t *testing.T) {
	t.Parallel()
	front := httptest.NewServer(http.HandlerFunc(echo))
	defer front.Close()
	var out lockedBuffer
	d := &demo{
		Process: demoProcess(&out, io.Discard),
		envoy:   &envoy.Process{Listen: strings.TrimPrefix(front.URL, "http://")},
	}
	if err := d.tour(t.Context()); err == nil || !strings.Contains(err.Error(), "of 25 steps had another result") {
		t.Errorf("err = %v, want the number of steps with another result", err)
	}
}

// TestDemoPortTaken checks that the message about a used port names the flag.
func TestDemoPortTaken(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := tourOptions(t)
	o.listen = l.Addr().String()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = start(ctx, demoProcess(io.Discard, io.Discard), o)
	if err == nil || !strings.Contains(err.Error(), "--listen "+o.listen) || !strings.Contains(err.Error(), "choose another") {
		t.Errorf("err = %v, want one that names --listen", err)
	}
}

// TestDemoPolicyNamesItsSchema checks that the first line of the policy refers to the schema.
func TestDemoPolicyNamesItsSchema(t *testing.T) {
	t.Parallel()
	if first := "# yaml-language-server: $schema=../../../../policy/policy.schema.json\n"; !strings.HasPrefix(string(demoPolicy), first) {
		t.Errorf("policy.yaml does not begin with %q", first)
	}
}
