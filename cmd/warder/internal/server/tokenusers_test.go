package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/mask"
	"warder/authz/memory"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
)

// tokenUsers returns settings with users in tokens.
func tokenUsers(t *testing.T) *config.Settings {
	t.Helper()
	s := testSettings(t)
	s.Policy = clitest.WriteFile(t, t.TempDir(), "policy.yaml", `version: 1
routes:
  - {id: role, match: /role, allow: [{user: {roles: [CONTROL]}}]}
  - {id: key, match: /key, allow: [{api_key: {}}]}
`)
	s.Log.Decisions = config.LogAll
	s.JWT.RolesClaim = "realm_access.roles"
	s.Directory.UsersInTokens, s.Directory.NoUsers = true, true
	return s
}

// mintWith returns a token with a value of realm_access.
func mintWith(t *testing.T, realmAccess any) string {
	t.Helper()
	return authztest.Mint(t, authztest.Token{Secret: []byte(clitest.Secret), Claims: map[string]any{
		"sub": "42", "jti": "s1", "exp": time.Now().Add(time.Hour).Unix(), "realm_access": realmAccess,
	}})
}

// TestUsersInTokens serves a database that has API keys and no users, and asks for none.
func TestUsersInTokens(t *testing.T) {
	t.Parallel()
	redis, db := authztest.StartRedis(t, ""), authztest.StartPostgresServer(t)
	const own, owned = "wk_own_0123456789", "wk_owned_0123456789"
	db.Exec(t, "CREATE TABLE api_keys (prefix text, key_hash text, scopes jsonb, is_active boolean, expires_at timestamptz, user_id bigint)")
	for key, owner := range map[string]string{own: "NULL", owned: "42"} {
		db.Exec(t, fmt.Sprintf("INSERT INTO api_keys VALUES ('wk', '%s', '[]', true, NULL, %s)", authz.HashAPIKey(key).Hex(), owner))
	}
	redis.Do(t, "SET", "session:42:s1", "1")
	s := tokenUsers(t)
	s.Sessions.RedisURL, s.Directory.DatabaseURL = mask.New(redis.URL()), mask.New(db.URL())
	s.Sessions.Timeout, s.Directory.Timeout, s.Deadline = 5*time.Second, 5*time.Second, 10*time.Second
	s.Directory.MaxStaleness = time.Minute
	r := start(t, s, nil)
	conn := r.dial(insecure.NewCredentials())
	roles := func(names ...string) map[string]any { return map[string]any{"roles": names} }
	for _, row := range []struct {
		want    codes.Code
		logged  string // a part of the line of the decision log
		path    string
		headers map[string]string
	}{
		{codes.OK, `"reason":"session"`, "/role", map[string]string{"authorization": "Bearer " + mintWith(t, roles("CONTROL"))}},
		{codes.OK, `"reason":"session"`, "/role", map[string]string{"authorization": "Bearer " + mintWith(t, roles("ADMIN"))}},
		{codes.PermissionDenied, `"detail":"realm_access.roles not a list"`, "/role", map[string]string{"authorization": "Bearer " + mintWith(t, map[string]any{"roles": "CONTROL"})}},
		{codes.PermissionDenied, `"detail":"realm_access.roles missing"`, "/role", map[string]string{"authorization": "Bearer " + mintWith(t, []string{"CONTROL"})}},
		{codes.OK, `"reason":"api_key"`, "/key", map[string]string{"x-api-key": own}},
		{codes.Unauthenticated, `"detail":"owner of a key, and users are in tokens"`, "/key", map[string]string{"x-api-key": owned}},
	} {
		got, err := r.check(conn, row.path, row.headers)
		if got != row.want || err != nil {
			t.Errorf("%s %s: %v %v", row.path, row.logged, got, err)
		}
		clitest.Eventually(t, row.logged+" in the decision log", func() bool { return strings.Contains(r.out.String(), row.logged) })
	}
	// The query of users would fail, and so would its check at the start.
	if log := r.log.String(); strings.Contains(log, "users_query") {
		t.Errorf("the log is about the users query:\n%s", log)
	}
	if shown := r.scrape().Of("warder_store_requests_total"); strings.Contains(shown, `store="users"`) || !strings.Contains(shown, `store="api_keys"`) {
		t.Errorf("users were asked for, or API keys were not: %s", shown)
	}
}

// TestNoDirectory serves without a database where users are in tokens and API keys are off.
func TestNoDirectory(t *testing.T) {
	t.Parallel()
	s := tokenUsers(t)
	s.Sessions.RedisURL, s.Directory.NoAPIKeys = mask.New("memory://"), true
	opened := open(t, s)
	if len(opened.Checks) != 0 {
		t.Errorf("waits for %v", opened.names())
	}
	if _, err := opened.Users.User(t.Context(), "42"); !errors.Is(err, authz.ErrNotFound) {
		t.Errorf("User: %v", err)
	}
	if _, err := opened.APIKeys.APIKey(t.Context(), authz.HashAPIKey("wk_own_0123456789")); !errors.Is(err, authz.ErrNotFound) {
		t.Errorf("APIKey: %v", err)
	}
}

// TestOwnersInFile looks the owners of API keys up in the file, and nobody else.
func TestOwnersInFile(t *testing.T) {
	t.Parallel()
	const key = "wk_owned_0123456789"
	s := tokenUsers(t)
	s.Sessions.RedisURL, s.Directory.NoUsers = mask.New("memory://"), false
	s.Directory.File = clitest.WriteFile(t, t.TempDir(), "directory.yaml", `users: [{id: "42", is_active: true, roles: [CONTROL]}, {id: "43", is_active: false}]
sessions: [{user_id: "42", session_id: s1}]
api_keys: [{prefix: wk, key_hash: `+authz.HashAPIKey(key).Hex()+`, is_active: true, user_id: "42"}]
`)
	r := start(t, s, nil)
	conn := r.dial(insecure.NewCredentials())
	if got, err := r.check(conn, "/key", map[string]string{"x-api-key": key}); got != codes.OK || err != nil {
		t.Errorf("a key with an owner: %v %v", got, err)
	}
	if got, err := r.check(conn, "/role", map[string]string{"authorization": "Bearer " + mintWith(t, map[string]any{})}); got != codes.PermissionDenied || err != nil {
		t.Errorf("a role of the file: %v %v", got, err)
	}
}

// TestExplainUsersInTokens asks a running warder, whose --as-user has the roles in the token.
func TestExplainUsersInTokens(t *testing.T) {
	t.Parallel()
	s := tokenUsers(t)
	s.JWT.ActiveClaim = "enabled"
	r := start(t, s, MemoryStores(memory.New(nil)))
	for _, row := range []struct {
		want string
		args []string
	}{
		{"ALLOW 200 session", []string{"--roles", "CONTROL"}},
		{"DENY 403 role_missing", []string{"--roles", "OTHER"}},
		{"ALLOW 200 session", []string{"--claims", `{"realm_access": {"roles": ["CONTROL"]}}`}},
		{"DENY 403 role_missing", []string{"--claims", `{"roles": ["CONTROL"]}`}},
		{"DENY 401 user_inactive", []string{"--roles", "CONTROL", "--claims", `{"enabled": "true"}`}},
	} {
		args := append([]string{"explain", "--url", "http://" + r.Admin.String(), "GET", "/role", "--as-user", "42"}, row.args...)
		if code, out, stderr := runCommand(clitest.Environment(), args...); code != 0 || !strings.HasPrefix(out, row.want) {
			t.Errorf("%v: %d, %s%s; want %s", row.args, code, out, stderr, row.want)
		}
	}
}
