package e2e

import (
	"errors"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"warder/envoy"
)

// TestDemoUntilStopped checks that a demo without the tour prints commands that work, reloads
// its policy, and leaves nothing behind when it is stopped.
func TestDemoUntilStopped(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	leaks := newLeaks()
	binary, err := envoy.FindBinary("")
	if err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, leaks, nil, "demo", "--listen", "127.0.0.1:0", "--envoy", binary)
	urls := regexp.MustCompile(`URL=(http://127\.0\.0\.1:\d+)\n`)
	policies := regexp.MustCompile(`policy +(/\S+), reloaded`)
	waitFor(t, "the demo to run", func() error {
		select {
		case <-p.ended:
			return fatal{errors.New(leaks.text("warder stderr"))}
		default:
		}
		if !policies.MatchString(leaks.text("warder stdout")) {
			return errors.New("it has not said where")
		}
		return nil
	})
	base := urls.FindStringSubmatch(leaks.text("warder stdout"))[1]
	policyPath := policies.FindStringSubmatch(leaks.text("warder stdout"))[1]
	send := func(line, content, token string) (status int, body string) {
		method, path, _ := strings.Cut(line, " ")
		request, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, strings.TrimSpace(string(text))
	}
	code, token := send("POST /login", "user=carl&password=demo", "")
	if code != http.StatusOK {
		t.Fatalf("POST /login: %d %s", code, token)
	}
	status := func(line, token string) int {
		status, _ := send(line, "", token)
		return status
	}
	if got := status("GET /echo", token); got != http.StatusOK {
		t.Errorf("GET /echo with a token: %d, want 200", got)
	}
	if got := status("GET /office", ""); got != http.StatusForbidden {
		t.Errorf("GET /office: %d, want 403", got)
	}
	text, err := os.ReadFile(policyPath)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "office: [203.0.113.0/24]", "office: [127.0.0.1]", 1)
	if err := os.WriteFile(policyPath, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the edited policy to count", func() error {
		if got := status("GET /office", ""); got != http.StatusNotFound && got != http.StatusOK {
			return errors.New("GET /office is still refused")
		}
		return nil
	})
	_ = p.cmd.Process.Signal(syscall.SIGINT)
	p.stop(t)
	if p.err != nil {
		t.Errorf("after SIGINT: %v\n%s", p.err, leaks.text("warder stderr"))
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := http.Get(base + "/echo"); err == nil {
		t.Error("Envoy still answers")
	}
}
