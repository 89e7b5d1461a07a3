package config

import (
	"fmt"
	"strings"
	"testing"

	"warder/cmd/warder/internal/clitest"
)

// TestUsers checks where users are, which stores that needs, and what is warned about. Each want is
// a part of a warning, in order, or of the only error.
func TestUsers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	clitest.WriteFile(t, dir, "directory.yaml", "users: []\n")
	const risk = "directory.users: token: the roles and the state of a user are those of the token. Who can set claims at an issuer can make an admin"
	database := "DATABASE_URL=postgres://warder@127.0.0.1/app"
	for _, row := range []struct {
		name   string
		file   string
		env    []string
		fails  string
		warns  []string
		tokens bool   // users are in tokens
		owners bool   // owners of API keys can be looked up
		asks   bool   // there is a database
		claims string // with roles and state, of jwt and of the issuers
	}{
		{"the default", "", []string{database}, "", nil, false, true, true, ""},
		{"by name", "directory: {users: database}", []string{database}, "", nil, false, true, true, ""},
		{"the file", "directory: {users: database, file: directory.yaml}", nil, "", nil, false, true, false, ""},
		{"no directory", "directory: {users: database}", nil, "directory: missing; set DATABASE_URL", nil, false, false, false, ""},
		{"another word", "directory: {users: tokens}", []string{database}, `directory.users: "tokens" is unknown; use database or token`, nil, false, false, false, ""},

		{"tokens", "directory: {users: token}", []string{database}, "", []string{risk}, true, false, true, "roles"},
		{"tokens, a query for owners", "directory: {users: token, users_query: SELECT 1}", []string{database}, "", []string{risk}, true, true, true, "roles"},
		{"tokens, a file for owners", "directory: {users: token, file: directory.yaml}", nil, "", []string{risk}, true, true, false, "roles"},
		{"tokens, no API keys", "directory: {users: token, api_keys: off}", nil, "", []string{risk}, true, false, false, "roles"},
		{"tokens, no place of API keys", "directory: {users: token}", nil, "directory: has no place of API keys; write directory.api_keys: off if there are none", nil, true, false, true, ""},
		{"tokens, no API keys, a database", "directory: {users: token, api_keys: off}", []string{database}, "",
			[]string{risk, "DATABASE_URL: is not used"}, true, false, false, "roles"},
		{"tokens, no API keys, a bad database", "directory: {users: token, api_keys: off, database_url: 'x://'}", nil, "",
			[]string{risk, "directory.database_url: is not used"}, true, false, false, "roles"},
		{"tokens, no API keys, a query for owners", "directory: {users: token, api_keys: off, users_query: SELECT 1}", nil, "",
			[]string{risk, "directory.users_query: has no effect"}, true, false, false, "roles"},
		{"tokens, no API keys, a file", "directory: {users: token, api_keys: off, file: directory.yaml}", nil, "",
			[]string{risk, "directory.file: is not used"}, true, true, false, "roles"},
		{"tokens, no API keys, a file with sessions", "directory: {users: token, api_keys: off, file: directory.yaml}\nsessions: {redis_url: 'memory://'}", nil, "",
			[]string{risk}, true, true, false, "roles"},

		{"claims", "directory: {users: token}\njwt: {roles_claim: realm_access.roles, active_claim: active}", []string{database}, "", []string{risk}, true, false, true, "realm_access.roles active"},
		{"an empty claim", "directory: {users: token}\njwt: {roles_claim: ''}", []string{database}, "jwt.roles_claim: is empty; write a text or leave the key out", nil, true, false, true, ""},
		{"an empty variable", "directory: {users: token}\njwt: {active_claim: '${EMPTY}'}", []string{database, "EMPTY="}, "jwt.active_claim: comes from a variable that is empty", nil, true, false, true, ""},
		{"an empty claim of an issuer", "directory: {users: token}\njwt: {issuers: [{issuer: a, audiences: [], jwks_url: 'https://a.example/', active_claim: ''}]}", []string{database}, "jwt.issuers[0].active_claim: is empty", nil, true, false, true, ""},
		{"an issuer without roles", "directory: {users: token}\njwt: {issuers: [{issuer: a, audiences: [], jwks_url: 'https://a.example/', roles: off}]}", []string{database}, "", []string{risk}, true, false, true, "roles, "},
		{"an issuer with and without roles", "directory: {users: token}\njwt: {issuers: [{issuer: a, audiences: [], jwks_url: 'https://a.example/', roles: off, roles_claim: groups}]}", []string{database},
			"jwt.issuers[0].roles_claim: is given together with roles: off", nil, true, false, true, ""},
		{"an issuer without roles, users in the database", "jwt: {issuers: [{issuer: a, audiences: [], jwks_url: 'https://a.example/', roles: off}]}", []string{database}, "",
			[]string{"jwt.issuers[0].roles: has no effect"}, false, true, true, ", "},
		{"no query for owners", "directory: {users: token, users_query: ''}", []string{database}, "", []string{risk}, true, false, true, "roles"},
		{"claims of an issuer",
			"directory: {users: token}\njwt: {issuers: [{issuer: a, audiences: [], jwks_url: 'https://a.example/', roles_claim: 'https://a.example/roles', active_claim: on}, {issuer: b, audiences: [], jwks_url: 'https://b.example/'}]}",
			[]string{database}, "", []string{risk, "jwt.issuers[1]: has no roles_claim of its own, so whoever sets the claim roles in tokens of b gives roles here"}, true, false, true, "roles, https://a.example/roles on, "},
		{"a claim that users change", "directory: {users: token}\njwt: {roles_claim: user_metadata.roles}", []string{database}, "",
			[]string{risk, "jwt.roles_claim: \"user_metadata.roles\" is in user_metadata, which users may change themselves"}, true, false, true, "user_metadata.roles"},
		{"claims without users", "jwt: {roles_claim: roles, active_claim: active}", []string{database}, "",
			[]string{"jwt.roles_claim: has no effect, because the roles and the state of users are those of the directory; write directory.users: token", "jwt.active_claim: has no effect"}, false, true, true, ""},
		{"claims of an issuer without users", "jwt: {issuers: [{issuer: a, audiences: [], jwks_url: 'https://a.example/', roles_claim: groups, active_claim: 'a..b'}]}", []string{database}, "",
			[]string{"jwt.issuers[0].roles_claim: has no effect", "jwt.issuers[0].active_claim: has no effect"}, false, true, true, ", "},
		{"a claim that is read otherwise", "directory: {users: token}\njwt: {roles_claim: aud}", []string{database}, `jwt.roles_claim: is "aud", a claim with another meaning`, nil, true, false, true, ""},
		{"a claim of an issuer that is read otherwise", "directory: {users: token}\njwt: {issuers: [{issuer: a, audiences: [], jwks_url: 'https://a.example/', roles_claim: jti}]}", []string{database},
			`jwt.issuers[0].roles_claim: is "jti", a claim with another meaning`, nil, true, false, true, ""},
	} {
		path := clitest.WriteFile(t, dir, strings.ReplaceAll(row.name, " ", "-")+".yaml", row.file+"\n")
		s, warnings, err := Read(path, clitest.Environment(append(row.env, "WARDER_JWT_SECRET="+clitest.Secret)...)).Resolve()
		if row.fails != "" {
			if err == nil || !strings.Contains(err.Error(), row.fails) {
				t.Errorf("%s: %v, want %q", row.name, err, row.fails)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if len(warnings) != len(row.warns) {
			t.Errorf("%s: warnings %v, want %q", row.name, warnings, row.warns)
		} else {
			for i, want := range row.warns {
				if !strings.Contains(warnings[i].String(), want) {
					t.Errorf("%s: warning %v, want %q", row.name, warnings[i], want)
				}
			}
		}
		claims := []string{strings.TrimSpace(s.JWT.RolesClaim + " " + s.JWT.ActiveClaim)}
		for _, is := range s.JWT.Issuers {
			claims = append(claims, strings.TrimSpace(is.RolesClaim+" "+is.ActiveClaim))
		}
		d := s.Directory
		got := fmt.Sprint(d.UsersInTokens, !d.NoUsers, d.UsesDatabase(), " ", strings.Join(claims, ", "))
		if want := fmt.Sprint(row.tokens, row.owners, row.asks, " ", row.claims); got != want {
			t.Errorf("%s: %s, want %s", row.name, got, want)
		}
		if choices := fmt.Sprint(s.Choices); strings.Contains(choices, risk) != row.tokens {
			t.Errorf("%s: choices %s", row.name, choices)
		}
		if !d.UsesDatabase() && d.DatabaseURL.Reveal() != "" {
			t.Errorf("%s: a database", row.name)
		}
	}
}
