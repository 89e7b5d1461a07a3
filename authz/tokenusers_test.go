package authz_test

import (
	"context"
	"maps"
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/token"
	"warder/policy"
)

// askedUsers is a directory of one active admin, which counts the questions.
type askedUsers struct{ asked int }

func (u *askedUsers) User(context.Context, string) (authz.User, error) {
	u.asked++
	return authz.User{Active: true, Roles: authz.Names{"ADMIN"}}, nil
}

// tokenUsersEngine returns an engine with the users in tokens, by the configuration of the
// verifier.
func tokenUsersEngine(t *testing.T, c token.Config, users authz.Users) *authz.Engine {
	t.Helper()
	p, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(`
version: 1
routes:
  - {id: me, match: /me, allow: [{user: {}}]}
  - {id: role, match: /role, allow: [{user: {roles: [CONTROL]}}]}
  - {id: when-role, match: /when/role, allow: [{user: {}}], when: '"CONTROL" in principal.roles'}
  - {id: when-tenant, match: /when/tenant, allow: [{user: {}}], when: 'principal.attributes.tenant == "acme"'}
  - {id: when-no-tenant, match: /when/no-tenant, allow: [{user: {}}], when: '!has(principal.attributes.tenant)'}
  - {id: key, match: /key, allow: [{api_key: {}}]}
`)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Keys = []token.Key{{Algorithm: "HS256", Secret: []byte(engineSecret)}}
	v, err := token.NewVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	e, err := authz.NewEngine(authz.Config{Policy: p, Tokens: v, Sessions: facts{}, Users: users, APIKeys: facts{owner: "42"}, UsersInTokens: true})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func askAs(t *testing.T, e *authz.Engine, path string, claims map[string]any) authz.Decision {
	t.Helper()
	all := map[string]any{"sub": "42", "jti": "s-1", "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, claims)
	name, value := "authorization", "Bearer "+authztest.Mint(t, authztest.Token{Secret: []byte(engineSecret), Claims: all})
	if path == "/key" {
		name, value = "x-api-key", "wk_live_0123456789"
	}
	return e.Decide(t.Context(), authz.NewRequest(authz.Attributes{Method: "GET", Path: path, Headers: authz.Headers{{Name: name, Value: value}}}))
}

// Users in tokens are not looked up, and a denial says what of the token did not count.
func TestDecideUsersInTokens(t *testing.T) {
	t.Parallel()
	c := token.Config{RolesClaim: "roles", ActiveClaim: "active", ValidRole: authz.ValidName, Attributes: token.Attributes{"tenant": "org.id"}}
	tenant := func(is any) map[string]any { return map[string]any{"active": true, "org": map[string]any{"id": is}} }
	for _, row := range []struct {
		want   authz.Reason
		detail string
		path   string
		claims map[string]any
	}{
		{authz.ReasonSession, "", "/role", map[string]any{"active": true, "roles": []string{"CONTROL"}}},
		{authz.ReasonRoleMissing, "roles not a list of texts", "/role", map[string]any{"active": true, "roles": []any{"CONTROL", 1}}},
		{authz.ReasonSession, "", "/me", map[string]any{"active": true}},
		{authz.ReasonRoleMissing, "", "/role", map[string]any{"active": true, "roles": []string{"OTHER"}}},
		{authz.ReasonRoleMissing, "roles missing", "/role", map[string]any{"active": true}},
		{authz.ReasonRoleMissing, "roles not a list", "/role", map[string]any{"active": true, "roles": "CONTROL"}},
		{authz.ReasonRoleMissing, "roles with elements that are no roles", "/role", map[string]any{"active": true, "roles": []string{"CONTROL,ADMIN"}}},
		{authz.ReasonUserInactive, "active missing", "/role", map[string]any{"roles": []string{"CONTROL"}}},
		{authz.ReasonUserInactive, "active not true", "/role", map[string]any{"active": 1, "roles": []string{"CONTROL"}}},
		{authz.ReasonSession, "", "/when/role", map[string]any{"active": true, "roles": []string{"CONTROL"}}},
		{authz.ReasonConditionFalse, "", "/when/role", map[string]any{"active": true, "roles": []string{"OTHER"}}},
		{authz.ReasonConditionFalse, "roles not a list", "/when/role", map[string]any{"active": true, "roles": "CONTROL"}},
		{authz.ReasonSession, "", "/when/tenant", tenant("acme")},
		{authz.ReasonConditionFalse, "", "/when/tenant", tenant("other")}, // roles are missing too, which the condition does not read
		{authz.ReasonConditionFalse, "", "/when/tenant", tenant(nil)},
		{authz.ReasonConditionFalse, "attribute tenant unreadable", "/when/tenant", tenant([]string{"acme"})},
		{authz.ReasonConditionFalse, "attribute tenant unreadable", "/when/no-tenant", tenant("acme\nother")},
		{authz.ReasonTokenClaims, "roles in another case", "/role", map[string]any{"active": true, "Roles": []string{"CONTROL"}}},
	} {
		users := &askedUsers{}
		d := askAs(t, tokenUsersEngine(t, c, users), row.path, row.claims)
		if d.Reason() != row.want || d.Allowed() != row.want.Allows() || d.Detail().String() != row.detail || users.asked != 0 {
			t.Errorf("%v: %v (%s), %d questions; want %v (%s)", row.claims, d.Reason(), d.Detail(), users.asked, row.want, row.detail)
		}
		if row.want == authz.ReasonUserInactive && len(d.Principal().Roles) > 0 {
			t.Errorf("%v: an inactive user has roles", row.claims)
		}
	}
}

// A verifier that gives no user is a fault, and denies.
func TestDecideUsersInTokensWithoutClaims(t *testing.T) {
	t.Parallel()
	d := askAs(t, tokenUsersEngine(t, token.Config{}, &askedUsers{}), "/me", map[string]any{"roles": []string{"ADMIN"}})
	if d.Allowed() || d.Reason() != authz.ReasonInternal {
		t.Errorf("%v", d.Reason())
	}
}

// The owner of an API key is looked up, and without users the key is denied.
func TestDecideOwnersWithUsersInTokens(t *testing.T) {
	t.Parallel()
	c := token.Config{RolesClaim: "roles", ValidRole: authz.ValidName}
	users := &askedUsers{}
	if d := askAs(t, tokenUsersEngine(t, c, users), "/key", nil); !d.Allowed() || users.asked != 1 {
		t.Errorf("an owner who is known: %v, %d questions", d.Reason(), users.asked)
	}
	const detail = "owner of a key, and users are in tokens"
	if d := askAs(t, tokenUsersEngine(t, c, authz.NoUsers{}), "/key", nil); d.Allowed() || d.Reason() != authz.ReasonUserUnknown || d.Detail().String() != detail {
		t.Errorf("no users: %v (%s)", d.Reason(), d.Detail())
	}
}

// Without Config.UsersInTokens the token has no say, also if the verifier reads roles.
func TestDecideIgnoresRolesOfTokens(t *testing.T) {
	t.Parallel()
	p := tokenUsersEngine(t, token.Config{}, authz.NoUsers{}).Policy()
	v, err := token.NewVerifier(token.Config{
		Keys: []token.Key{{Algorithm: "HS256", Secret: []byte(engineSecret)}}, RolesClaim: "roles", ValidRole: authz.ValidName,
	})
	if err != nil {
		t.Fatal(err)
	}
	e, err := authz.NewEngine(authz.Config{Policy: p, Tokens: v, Sessions: facts{}, Users: authz.NoUsers{}, APIKeys: facts{}})
	if err != nil {
		t.Fatal(err)
	}
	if d := askAs(t, e, "/me", map[string]any{"roles": []string{"ADMIN"}}); d.Allowed() || d.Reason() != authz.ReasonUserUnknown {
		t.Errorf("%v", d.Reason())
	}
}
