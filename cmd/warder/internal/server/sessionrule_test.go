package server

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"warder/authz/authztest"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
)

// startRule starts a server with the sessions of a configuration file, and returns a function that
// asks it with the token of a session.
func startRule(t *testing.T, sessions string, environment ...string) (r *running, ask func(id string) codes.Code) {
	t.Helper()
	dir := t.TempDir()
	path := clitest.WriteFile(t, dir, "warder.yaml", `{deadline: 2s, sessions: {timeout: 1s, `+sessions+`}, directory: {file: directory.yaml}, policy: policy.yaml,
		listen: {grpc: "127.0.0.1:0", admin: "127.0.0.1:0"}, shutdown: {delay: 0s}}`)
	clitest.WriteFile(t, dir, "policy.yaml", testPolicy)
	revocations := ""
	if slices.Contains(environment, "REDIS_URL=memory://") {
		revocations = ", revocations: [{session_id: in-file}]"
	}
	clitest.WriteFile(t, dir, "directory.yaml", `{users: [{id: "42", is_active: true}]`+revocations+`}`)
	s, _, err := config.Read(path, clitest.Environment(append(environment, "WARDER_JWT_SECRET="+clitest.Secret)...)).Resolve()
	if err != nil {
		t.Fatal(err)
	}
	r = start(t, s, nil)
	conn := r.dial(insecure.NewCredentials())
	return r, func(id string) codes.Code {
		claims := map[string]any{"sub": "42", "iat": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix()}
		if id != "" {
			claims["jti"] = id
		}
		got, err := r.check(conn, "/user", map[string]string{"authorization": "Bearer " + authztest.Mint(t, authztest.Token{Secret: []byte(clitest.Secret), Claims: claims})})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
}

// TestRuleAbsent runs the service with keys that end sessions, in both modes, until Redis is away.
func TestRuleAbsent(t *testing.T) {
	t.Parallel()
	for _, consistency := range []string{"strict", "tracked"} {
		t.Run(consistency, func(t *testing.T) {
			t.Parallel()
			redis := authztest.StartRedis(t, "")
			r, ask := startRule(t, `rule: absent, key_template: "revoked:{jti}", revoked_before_template: "before:{user_id}", consistency: `+consistency, "REDIS_URL="+redis.URL())
			if got := ask("s1"); got != codes.OK {
				t.Fatalf("nothing is revoked: %v\n%s", got, r.log)
			}
			redis.Do(t, "SET", "revoked:s1", "1")
			clitest.Eventually(t, "the logout", func() bool { return ask("s1") == codes.Unauthenticated })
			if got := ask("s2"); got != codes.OK {
				t.Errorf("another session: %v", got)
			}
			if got := ask(""); got != codes.Unauthenticated {
				t.Errorf("no session: %v", got)
			}
			redis.Do(t, "SET", "before:42", "no time")
			clitest.Eventually(t, "a value that is no time", func() bool { return ask("s2") == codes.Unavailable })
			redis.Do(t, "DEL", "before:42")
			clitest.Eventually(t, "no value", func() bool { return ask("s2") == codes.OK })
			redis.Do(t, "SET", "before:42", time.Now().UTC().Format(time.RFC3339))
			clitest.Eventually(t, "the end of everything", func() bool { return ask("s2") == codes.Unauthenticated })
			redis.Stop(t)
			clitest.Eventually(t, "a store that is away", func() bool { return ask("s3") == codes.Unavailable && ask("s1") == codes.Unavailable })
			if _, text := r.readyz(); text != "ready" {
				t.Errorf("/readyz: %s", text)
			}
		})
	}
}

// TestRuleAbsentInMemory uses the revocations of a directory file.
func TestRuleAbsentInMemory(t *testing.T) {
	t.Parallel()
	_, ask := startRule(t, `rule: absent`, "REDIS_URL=memory://")
	if got := ask("s1"); got != codes.OK {
		t.Errorf("nothing is revoked: %v", got)
	}
	if got := ask("in-file"); got != codes.Unauthenticated {
		t.Errorf("a revoked session: %v", got)
	}
}

// TestRuleNone runs the service without Redis, whatever the environment names, and checks that the
// log and /readyz say what that means.
func TestRuleNone(t *testing.T) {
	t.Parallel()
	r, ask := startRule(t, `rule: none`, "REDIS_URL=redis://127.0.0.1:1", "REDIS_URL_FILE="+os.DevNull)
	for _, id := range []string{"s1", "", "not:an:id"} {
		if got := ask(id); got != codes.OK {
			t.Errorf("%q: %v", id, got)
		}
	}
	if code, text := r.readyz(); code != 200 || !strings.HasPrefix(text, "ready\nwarning: sessions.rule: none: a token is accepted until it expires") {
		t.Errorf("/readyz: %d %s", code, text)
	}
}
