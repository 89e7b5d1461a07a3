package token_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"warder/authz/token"
)

// validRole is a rule like that of a policy.
func validRole(name string) bool {
	return name != "" && !strings.ContainsAny(name, ", \x00\n")
}

// usersIn returns a configuration with roles in the claim at a path, and the state in another.
func usersIn(roles, active string) token.Config {
	return token.Config{RolesClaim: roles, ActiveClaim: active, ValidRole: validRole}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	const url = "https://example.com/roles"
	for _, row := range []struct {
		want, detail string
		path, claims string
	}{
		{"A,B", "", "roles", `"roles":["B","A","B"]`},
		{"", "", "roles", `"roles":[]`},
		{"A", "", "realm_access.roles", `"realm_access":{"roles":["A"]},"roles":["B"]`},
		{"A", "", "a.b.c", `"a":{"b":{"c":["A"]}}`},
		{"A", "", "a.b.c", `"a":{"b.c":["A"],"b":{"c":["B"]}}`}, // the longest name first
		{"A", "", "a.b.c", `"a.b.c":["A"],"a":{"b":{"c":["B"]}}`},
		{"A", "", url, `"` + url + `":["A"]`},
		{"A", "", url, `"https:\/\/example.com\/roles":["\u0041"]`},
		{"A", "", "cognito:groups", `"cognito:groups":["A"]`},
		{"A", "", "gr\u00f6\u00dfe", `"gr\u00f6\u00dfe":["A"]`},

		{"", "roles missing", "roles", `"role":["A"]`},
		{"", "roles missing", "roles", `"a":{"roles":["A"]}`},
		{"", "realm_access.roles missing", "realm_access.roles", `"roles":["A"]`},
		{"", "realm_access.roles missing", "realm_access.roles", `"realm_access":["roles"]`},
		{"", "realm_access.roles missing", "realm_access.roles", `"realm_access":{"roles.":["A"]}`},
		{"", "realm_access.roles missing", "realm_access.roles", `"realm_access":"{\"roles\":[\"A\"]}"`},
		{"", "a.b.c missing", "a.b.c", `"a":{"b":["c"]}`},
		{"", "roles not a list", "roles", `"roles":"ADMIN"`},
		{"", "roles not a list", "roles", `"roles":"[\"ADMIN\"]"`},
		{"", "roles not a list", "roles", `"roles":{"ADMIN":true}`},
		{"", "roles not a list", "roles", `"roles":{"0":"ADMIN","length":1}`},
		{"", "roles not a list", "roles", `"roles":null`},
		{"", "roles not a list", "roles", `"roles":true`},
		{"", "roles not a list", "roles", `"roles":1`},

		{"A", "roles with elements that are no roles", "roles", `"roles":["A","","B,C","B\u0000","\nB"," B"]`},
		{"", "roles not a list of texts", "roles", `"roles":["A",1]`},
		{"", "roles not a list of texts", "roles", `"roles":[null,"A"]`},
		{"", "roles not a list of texts", "roles", `"roles":["A",true]`},
		{"", "roles not a list of texts", "roles", `"roles":[["ADMIN"]]`},
		{"", "roles not a list of texts", "roles", `"roles":[{"name":"ADMIN"}]`},
	} {
		v := newVerifier(t, usersIn(row.path, ""))
		got, err := v.Verify(hs256(goodHeader, `{"sub":"42","jti":"s","exp":1800000060,`+row.claims+`}`), now)
		if err != nil || got.User == nil {
			t.Errorf("%s: %+v %v", row.claims, got, err)
			continue
		}
		u := got.User
		if strings.Join(u.Roles, ",") != row.want || u.RolesDetail.String() != row.detail || !u.Active || u.ActiveDetail.String() != "" {
			t.Errorf("%s: roles %q (%s), active %v (%s); want %q (%s), active", row.claims, u.Roles, u.RolesDetail, u.Active, u.ActiveDetail, row.want, row.detail)
		}
	}
}

// Of a list that is too long nothing is used.
func TestRolesBounded(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, usersIn("roles", ""))
	for n, detail := range map[int]string{1000: "", 1001: "roles too long a list"} {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprintf("R%04d", n-i)
		}
		list, _ := json.Marshal(names)
		got, err := v.Verify(hs256(goodHeader, `{"sub":"42","jti":"s","exp":1800000060,"roles":`+string(list)+`}`), now)
		if err != nil || got.User.RolesDetail.String() != detail || (len(got.User.Roles) == n) != (detail == "") || !slices.IsSorted(got.User.Roles) {
			t.Errorf("%d: %d roles (%s), %v; want %q", n, len(got.User.Roles), got.User.RolesDetail, err, detail)
		}
	}
}

// Only the JSON value true is active.
func TestActive(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		want                 bool
		detail, path, claims string
	}{
		{true, "", "active", `"active":true`},
		{true, "", "active", `"active" : true `},
		{true, "", "account.active", `"account":{"active":true}`},
		{true, "", "https://example.com/active", `"https://example.com/active":true`},
		{false, "active missing", "active", `"enabled":true`},
		{false, "active missing", "active", `"account":{"active":true}`},
		{false, "account.active missing", "account.active", `"active":true`},
		{false, "active not true", "active", `"active":false`},
		{false, "active not true", "active", `"active":"true"`},
		{false, "active not true", "active", `"active":1`},
		{false, "active not true", "active", `"active":null`},
		{false, "active not true", "active", `"active":[true]`},
		{false, "active not true", "active", `"active":{"active":true}`},
		{false, "active not true", "active", `"active":"active"`},
	} {
		v := newVerifier(t, usersIn("roles", row.path))
		got, err := v.Verify(hs256(goodHeader, `{"sub":"42","jti":"s","exp":1800000060,"roles":["A"],`+row.claims+`}`), now)
		if err != nil || got.User == nil || got.User.Active != row.want || got.User.ActiveDetail.String() != row.detail || !slices.Equal(got.User.Roles, []string{"A"}) {
			t.Errorf("%s: %+v %v; want %v (%s)", row.claims, got.User, err, row.want, row.detail)
		}
	}
}

// A token with a configured name in another case is rejected, wherever the name is on the path.
func TestUserClaimsInAnotherCase(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ want, roles, active, claims string }{
		{"roles in another case", "roles", "", `"Roles":["A"]`},
		{"roles in another case", "roles", "", `"ROLE\u017f":["A"]`},
		{"realm_access.roles in another case", "realm_access.roles", "", `"Realm_Access":{"roles":["A"]}`},
		{"realm_access.roles in another case", "realm_access.roles", "", `"realm_access":{"Roles":["A"]}`},
		{"realm_access.roles in another case", "realm_access.roles", "", `"Realm_Access.Roles":["A"],"realm_access":{"roles":["A"]}`},
		{"https://example.com/roles in another case", "https://example.com/roles", "", `"https://Example.com/roles":["A"]`},
		{"active in another case", "roles", "active", `"roles":["A"],"Active":true`},
		{"account.active in another case", "roles", "account.active", `"roles":["A"],"account":{"ACTIVE":true}`},
		{"", "roles", "", `"roles":["A"],"account":{"Roles":["B"]}`},
		{"", "realm_access.roles", "", `"realm_access":{"roles":["A"]},"Roles":["B"]`},
		{"payload with a name twice", "roles", "", `"roles":["A"],"Roles":["B"]`},
		{"payload with a name twice", "roles", "", `"roles":["A"],"roles":["B"]`},
		{"payload with a name twice", "a.roles", "", `"a":{"roles":["A"],"roles":["B"]}`},
	} {
		v := newVerifier(t, usersIn(row.roles, row.active))
		got, err := v.Verify(hs256(goodHeader, `{"sub":"42","jti":"s","exp":1800000060,`+row.claims+`}`), now)
		switch {
		case row.want == "" && (err != nil || !slices.Equal(got.User.Roles, []string{"A"})):
			t.Errorf("%s: %+v %v", row.claims, got.User, err)
		case row.want != "" && (err == nil || got.User != nil || detailOf(t, err) != row.want):
			t.Errorf("%s: %+v %v, want %s", row.claims, got.User, err, row.want)
		}
	}
}

// Each issuer has its own claims, and the Config's where it names none. Those of another issuer
// mean nothing in its tokens.
func TestUsersOfIssuers(t *testing.T) {
	t.Parallel()
	c := twoIssuers(t)
	c.RolesClaim, c.ActiveClaim, c.ValidRole = "roles", "active", validRole
	c.Issuers[1].RolesClaim, c.Issuers[1].ActiveClaim = "realm_access.roles", "enabled"
	v := newVerifier(t, c)
	every := `"roles":["OWN"],"realm_access":{"roles":["B"]},"exp":1800000060`
	rs := func(key, claims string) string {
		return signAs(t, "RS256", signers()[key], `{"alg":"RS256","kid":"1"}`, `{`+every+`,`+claims+`}`)
	}
	for _, row := range []struct {
		role   string
		active bool
		text   string
	}{
		{"OWN", true, hs256(goodHeader, `{`+every+`,"sub":"42","jti":"s","active":true}`)},
		{"OWN", false, hs256(goodHeader, `{`+every+`,"sub":"42","jti":"s","enabled":true}`)},
		{"OWN", true, rs("RS", `"sub":"42","jti":"s","aud":"a","active":true,"iss":"`+issuerA+`"`)},
		{"OWN", false, rs("RS", `"sub":"42","jti":"s","aud":"a","enabled":true,"iss":"`+issuerA+`"`)},
		{"B", true, rs("RS other", `"account":{"id":"7"},"sid":"t","enabled":true,"iss":"`+issuerB+`"`)},
		{"B", false, rs("RS other", `"account":{"id":"7"},"sid":"t","active":true,"iss":"`+issuerB+`"`)},
	} {
		got, err := v.Verify(row.text, now)
		if err != nil || !slices.Equal(got.User.Roles, []string{row.role}) || got.User.Active != row.active {
			t.Errorf("%+v %v, want %+v", got.User, err, row)
		}
	}
}

// What a token says about its user is read once, and remembered with the token.
func TestUserRemembered(t *testing.T) {
	t.Parallel()
	asked := 0
	c := usersIn("roles", "")
	c.Remember, c.ValidRole = 1<<20, func(string) bool { asked++; return true }
	v := newVerifier(t, c)
	text := hs256(goodHeader, `{"sub":"42","jti":"s","exp":1800000060,"roles":["A"]}`)
	first, err := v.Verify(text, now)
	for range 3 {
		again, errAgain := v.Verify(text, now)
		if err != nil || errAgain != nil || again.User != first.User || asked != 1 {
			t.Fatalf("%v %v, %d names looked at", err, errAgain, asked)
		}
	}
}

func TestUserClaimProblems(t *testing.T) {
	t.Parallel()
	keys := []token.Key{{Algorithm: "HS256", Secret: secret}}
	with := func(change func(*token.Config)) token.Config {
		c := usersIn("roles", "active")
		c.Keys = keys
		change(&c)
		return c
	}
	for _, row := range []struct {
		want string
		c    token.Config
	}{
		{"", with(func(*token.Config) {})},
		{"", with(func(c *token.Config) { c.RolesClaim = "sub.roles" })},
		{"the roles of tokens need a ValidRole", with(func(c *token.Config) { c.ValidRole = nil })},
		{`active_claim: is "active", and there is no roles_claim`, with(func(c *token.Config) { c.RolesClaim = "" })},
		{`roles_claim: "a..b" has no name before or after a dot`, with(func(c *token.Config) { c.RolesClaim = "a..b" })},
		{`roles_claim: " roles" has leading or trailing white space`, with(func(c *token.Config) { c.RolesClaim = " roles" })},
		{`roles_claim: "Aud" differs from the claim "aud" only in case`, with(func(c *token.Config) { c.RolesClaim = "Aud" })},
		{`roles_claim: is "aud", a claim with another meaning`, with(func(c *token.Config) { c.RolesClaim = "aud" })},
		{`roles_claim: is "jti", a claim with another meaning`, with(func(c *token.Config) { c.RolesClaim = "jti" })},
		{`roles_claim: is "UID", a claim with another meaning`, with(func(c *token.Config) { c.UserClaim, c.RolesClaim = "uid", "UID" })},
		{`roles_claim: is "sid", a claim with another meaning`, with(func(c *token.Config) { c.SessionClaim, c.RolesClaim = "sid", "sid" })},
		{`active_claim: is "Roles", a claim with another meaning`, with(func(c *token.Config) { c.ActiveClaim = "Roles" })},
		{`active_claim: is "token_use", a claim with another meaning`, with(func(c *token.Config) { c.ActiveClaim = "token_use" })},
		{`issuers[0].roles_claim: ".a" has no name before or after a dot`, with(func(c *token.Config) {
			c.Issuers = []token.Issuer{{Name: "a", Keys: keys, RolesClaim: ".a"}}
		})},
		{`issuers[0].active_claim: is "groups", a claim with another meaning`, with(func(c *token.Config) {
			c.Issuers = []token.Issuer{{Name: "a", Keys: keys, RolesClaim: "groups", ActiveClaim: "groups"}}
		})},
	} {
		_, err := token.NewVerifier(row.c)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.HasPrefix(err.Error(), row.want)) {
			t.Errorf("%v, want %q", err, row.want)
		}
	}
}

// PutClaim puts a claim where it is read.
func TestPutClaim(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ want, claims, path string }{
		{`{"roles":["A"]}`, `{}`, "roles"},
		{`{"roles":["A"]}`, `{"roles":["B"]}`, "roles"},
		{`{"realm_access":{"roles":["A"]}}`, `{}`, "realm_access.roles"},
		{`{"realm_access":{"roles":["A"],"x":1}}`, `{"realm_access":{"x":1}}`, "realm_access.roles"},
		{`{"https://example.com/roles":["A"]}`, `{}`, "https://example.com/roles"},
		{`{"cognito:groups":["A"]}`, `{}`, "cognito:groups"},
		{"", `{"realm_access":["x"]}`, "realm_access.roles"},
	} {
		var claims map[string]any
		if err := json.Unmarshal([]byte(row.claims), &claims); err != nil {
			t.Fatal(err)
		}
		ok := token.PutClaim(claims, row.path, []string{"A"})
		text, _ := json.Marshal(claims)
		if want := row.want; ok != (want != "") || want != "" && string(text) != want || want == "" && string(text) != row.claims {
			t.Errorf("%s in %s: %s %v, want %s", row.path, row.claims, text, ok, row.want)
			continue
		}
		if !ok {
			continue
		}
		claims["sub"], claims["jti"], claims["exp"] = "42", "s", 1_800_000_060
		text, _ = json.Marshal(claims)
		got, err := newVerifier(t, usersIn(row.path, "")).Verify(hs256(goodHeader, string(text)), now)
		if err != nil || !slices.Equal(got.User.Roles, []string{"A"}) {
			t.Errorf("%s: %+v %v", text, got.User, err)
		}
	}
}

// FuzzUser fuzzes the claims of a user. No role is invalid, twice or out of order, and nobody is
// active but by true.
func FuzzUser(f *testing.F) {
	f.Add("roles", "active", `["A","B"]`, `true`)
	f.Add("a.roles", "a.active", `{"roles":["A"]}`, `{"active":true}`)
	f.Add("https://example.com/roles", "active", `[1,"A"," "]`, `"true"`)
	f.Fuzz(func(t *testing.T, rolesClaim, activeClaim, roles, active string) {
		c := usersIn(rolesClaim, activeClaim)
		c.Keys = []token.Key{{Algorithm: "HS256", Secret: secret}}
		v, err := token.NewVerifier(c)
		if err != nil || rolesClaim == "" {
			return
		}
		first, _, _ := strings.Cut(rolesClaim, ".")
		second, _, _ := strings.Cut(activeClaim, ".")
		got, err := v.Verify(hs256(goodHeader, fmt.Sprintf(`{"sub":"42","jti":"s","exp":1800000060,%s:%s,%s:%s}`, quote(first), roles, quote(second), active)), now)
		if err != nil {
			if !errors.Is(err, token.ErrClaims) && !errors.Is(err, token.ErrMalformed) {
				t.Errorf("%v", err)
			}
			return
		}
		u := got.User
		if u == nil || !slices.IsSorted(u.Roles) || len(slices.Compact(slices.Clone(u.Roles))) != len(u.Roles) ||
			slices.ContainsFunc(u.Roles, func(name string) bool { return !validRole(name) }) {
			t.Errorf("%s: %+v", roles, u)
		}
		if u != nil && u.Active && activeClaim != "" && !strings.Contains(active+roles, "true") {
			t.Errorf("%s: active", active)
		}
	})
}
