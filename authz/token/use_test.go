package token_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"warder/authz/token"
)

// A useRow is a token with claims that may say what it is for. The detail is that of a
// rejection; "" accepts the token.
type useRow struct{ detail, claims string }

func checkUses(t *testing.T, c token.Config, rows []useRow) {
	t.Helper()
	c.Remember = 1 << 20
	v := newVerifier(t, c)
	for _, row := range rows {
		text := hs256(goodHeader, `{"sub":"42","jti":"s","exp":1800000060,`+row.claims+`}`)
		for _, what := range []string{"", "again: "} { // the second time from the cache, if it was accepted
			_, err := v.Verify(text, now)
			switch {
			case row.detail == "" && err != nil:
				t.Errorf("%s%s: %v, %q; want it accepted", what, row.claims, err, detailOf(t, err))
			case row.detail != "" && !errors.Is(err, token.ErrClaims):
				t.Errorf("%s%s: %v; want invalid claims, %q", what, row.claims, err, row.detail)
			case row.detail != "" && detailOf(t, err) != row.detail:
				t.Errorf("%s%s: detail %q, want %q", what, row.claims, detailOf(t, err), row.detail)
			}
		}
		if _, err := v.Payload(text, now); (err == nil) != (row.detail == "") {
			t.Errorf("the payload of %s: %v", row.claims, err)
		}
	}
}

// useClaims are the claims that say what a token is for.
var useClaims = []string{
	"typ", "Typ", "type", "token_type", "tokenType", "token-type", "token_use", "tokenUse", "use", "Use", "usage", "tokenUsage", "purpose", "Purpose",
	"token_purpose", "kind", "token_kind", "https://example.com/token_use", "https://example.com/claims#purpose", "urn:example:token_type", "custom:use",
}

// CL-09: a token that declares another use is rejected, whatever claim does it.
func TestVerifyOtherUse(t *testing.T) {
	t.Parallel()
	var rows []useRow
	for _, name := range useClaims {
		for _, use := range []string{
			"refresh", "Refresh", "REFRESH", "refresh_token", "refreshToken", "RefreshToken", "refreshtoken", "refresh-jwt", "refresh+jwt", "rt+jwt",
			"application/refresh+jwt", "jwt_refresh", "user_refresh", "urn:ietf:params:oauth:token-type:refresh_token",
			"id", "ID", "Id", "id_token", "idToken", "IDToken", "id+jwt", "urn:ietf:params:oauth:token-type:id_token", "identity",
			"Offline", "offline", "offline_token", "Logout", "logout", "logout_token", "logout+jwt", "backchannel-logout", "authorization_code", "code", "secevent+jwt",
			"dpop+jwt", "whatever+jwt", "reset", "password_reset", "PasswordReset", "passwordreset", "resetPassword", "reset-password", "pwd_reset",
			"forgot_password", "account_recovery", "verify", "email_verify", "verify_email", "emailVerification", "email_verification", "verification",
			"email_confirmation", "confirm", "confirm-email", "confirmation_token", "activation", "account_activation", "activate", "registration", "register", "signup", "sign_up",
			"invite", "invitation", "user_invite", "magic_link", "magiclink", "magic", "passwordless", "email_change", "unsubscribe",
			"mfa", "MFA", "mfa_pending", "mfa-challenge", "2fa", "otp", "totp", "two_factor", "TwoFactor", "preauth", "pre_auth",
		} {
			rows = append(rows, useRow{name + " " + use, fmt.Sprintf(`%q:%q`, name, use)})
		}
		for _, use := range []string{
			"access", "Access", "ACCESS", "access_token", "accessToken", "accesstoken", "bearer", "Bearer", "JWT", "jwt", "at+jwt", "application/at+jwt", "AT+JWT",
			"urn:ietf:params:oauth:token-type:access_token", "urn:ietf:params:oauth:token-type:jwt", " access", "access ", "acce\u017fs",
			"user", "admin", "USER", "customer", "service", "service_account", "employee", "machine", "guest", "api", "web", "session", "login", "auth", "1", "",
			"national_id", "postal_code", "offline_sales", "managed_identity", "registered_user", "verified", "confirmed", "activated", "invited", "verified_user",
			"client_credentials", "password", "email", "sig", "enc",
		} {
			rows = append(rows, useRow{"", fmt.Sprintf(`%q:%q`, name, use)})
		}
		rows = append(rows,
			useRow{name + " refresh", fmt.Sprintf(`%q:"access refresh"`, name)},
			useRow{name + " refresh", fmt.Sprintf(`%q:"access,refresh"`, name)},
			useRow{name + " id", fmt.Sprintf(`%q:"access id"`, name)},
			useRow{name + " refresh", fmt.Sprintf(`%q:"refre\u0073h"`, name)},
			useRow{name + " refre??h", fmt.Sprintf(`%q:"refre\u017fh"`, name)}, // the long s, which folds to s
		)
	}
	// Other names in another case are rejected for that.
	for i, row := range rows {
		for _, other := range []string{"Type", "TOKEN_TYPE"} {
			rows[i].claims = strings.ReplaceAll(row.claims, `"`+other+`":`, `"x":`)
		}
	}
	checkUses(t, token.Config{}, rows)
}

// TestVerifyUseInOtherForms tests values that are not strings.
func TestVerifyUseInOtherForms(t *testing.T) {
	t.Parallel()
	var rows []useRow
	for _, name := range []string{"type", "token_type", "token_use", "tokenType", "tokenUse"} {
		for _, value := range []string{`null`, `1`, `true`, `["access"]`, `["refresh"]`, `{"access":1}`} {
			rows = append(rows, useRow{name + " not a string", fmt.Sprintf(`%q:%s`, name, value)})
		}
	}
	for _, name := range []string{"type", "token_type", "token_use"} {
		upper := strings.ToUpper(name)
		rows = append(rows, useRow{name + " in another case", fmt.Sprintf(`%q:"access"`, upper)}, useRow{name + " in another case", fmt.Sprintf(`%q:"refresh"`, upper)})
	}
	for _, name := range []string{"typ", "use", "usage", "purpose", "kind"} {
		rows = append(rows,
			useRow{name + " refresh", fmt.Sprintf(`%q:["refresh"]`, name)},
			useRow{name + " ID", fmt.Sprintf(`%q:["access","ID"]`, name)},
			useRow{name + " reset", fmt.Sprintf(`%q:[1,["x"],"access reset"]`, name)},
		)
		for _, value := range []string{`null`, `1`, `false`, `[]`, `["access","user"]`, `{"refresh":1}`, `[["refresh"]]`} {
			rows = append(rows, useRow{"", fmt.Sprintf(`%q:%s`, name, value)})
		}
	}
	rows = append(rows,
		useRow{"", `"type":"access","token_type":"Bearer","token_use":"access","typ":"Bearer"`},
		useRow{"token_type refresh", `"type":"access","token_type":"refresh"`},
		useRow{"typ Refresh", `"typ":"Refresh","type":"access"`},
		useRow{"", `"x":{"type":"refresh"},"types":"refresh","grant_type":"refresh_token","gty":"refresh_token","user_type":"id","amr":["otp","mfa"]`},
	)
	checkUses(t, token.Config{}, rows)
}

// TestVerifyScopes tests that a list of scopes declares another use only if it is nothing else.
func TestVerifyScopes(t *testing.T) {
	t.Parallel()
	var rows []useRow
	for _, name := range []string{"scope", "Scope", "scopes", "scp"} {
		for _, scopes := range []string{
			"openid profile offline_access", "offline_access", "offline", "openid offline", "openid email invite:read reset", "ADMIN", "", " ",
			"api refresh_token openid", // Salesforce's offline_access
			"invite:read", "users.verify", "https://api.example.com/reset", "read:id", "openid id",
		} {
			rows = append(rows, useRow{"", fmt.Sprintf(`%q:%q`, name, scopes)})
			list := `["` + strings.ReplaceAll(scopes, " ", `","`) + `"]`
			rows = append(rows, useRow{"", fmt.Sprintf(`%q:%s`, name, list)})
		}
		for scopes, said := range map[string]string{
			"refresh_token": "refresh_token", "refresh": "refresh", "REFRESH_TOKEN": "REFRESH_TOKEN", "refresh refresh_token": "refresh_token",
			"refresh offline_access": "refresh", "offline_access refresh": "refresh", "password_reset": "password_reset", "reset": "reset",
			"email_verification": "email_verification", "invite": "invite", "mfa": "mfa", "id_token": "id_token", "logout": "logout", " refresh ": "refresh",
		} {
			rows = append(rows, useRow{name + " " + said, fmt.Sprintf(`%q:%q`, name, scopes)})
			list := `["` + strings.ReplaceAll(scopes, " ", `","`) + `"]`
			rows = append(rows, useRow{name + " " + said, fmt.Sprintf(`%q:%s`, name, list)})
		}
		for _, value := range []string{`null`, `1`, `{"refresh":1}`, `true`, `[["refresh"]]`} {
			rows = append(rows, useRow{"", fmt.Sprintf(`%q:%s`, name, value)})
		}
	}
	checkUses(t, token.Config{}, rows)
}

// TestVerifyFlags tests boolean claims that declare another use.
func TestVerifyFlags(t *testing.T) {
	t.Parallel()
	var rows []useRow
	for _, name := range []string{
		"refresh", "Refresh", "is_refresh", "isRefresh", "refresh_token", "is_refresh_token", "isRefreshToken", "https://example.com/refresh",
		"reset", "password_reset", "passwordReset", "is_password_reset", "verify", "email_verification", "logout", "offline", "invite", "id_token", "mfa_token", "magic_link_token",
	} {
		rows = append(rows,
			useRow{name + " true", fmt.Sprintf(`%q:true`, name)}, useRow{name + " true", fmt.Sprintf(`%q:"True"`, name)},
			useRow{"", fmt.Sprintf(`%q:false`, name)}, useRow{"", fmt.Sprintf(`%q:null`, name)}, useRow{"", fmt.Sprintf(`%q:"x-1"`, name)}, useRow{"", fmt.Sprintf(`%q:1`, name)},
		)
	}
	for _, name := range []string{
		"email_verified", "phone_number_verified", "mfa", "is_mfa", "two_factor", "reset_required", "mfa_verified", "invite_only", "can_invite", "admin", "is_active", "user",
		"user_id", "email", "account", "token",
	} {
		rows = append(rows, useRow{"", fmt.Sprintf(`%q:true`, name)})
	}
	rows = append(rows, useRow{"", `"user_id":"1","uid":1`})
	checkUses(t, token.Config{}, rows)
}

// TestVerifyOtherKinds tests tokens of OpenID Connect that have no claim for their use.
func TestVerifyOtherKinds(t *testing.T) {
	t.Parallel()
	rows := []useRow{
		{"at_hash of an ID token", `"at_hash":"MTIzNDU2Nzg5MDEyMzQ1Ng"`},
		{"c_hash of an ID token", `"c_hash":"MTIzNDU2Nzg5MDEyMzQ1Ng"`},
		{"events of a logout token", `"events":{"http://schemas.openid.net/event/backchannel-logout":{}}`},
		{"", `"events":["login","logout"],"nonce":"x","sid":"y","azp":"web"`},
	}
	checkUses(t, token.Config{}, rows)
	checkUses(t, token.Config{AcceptedUses: []string{"id", "logout"}}, []useRow{{"", rows[0].claims}, {"", rows[1].claims}, {"", rows[2].claims}})
}

func TestVerifyConfiguredUses(t *testing.T) {
	t.Parallel()
	checkUses(t, token.Config{RefusedUses: []string{"kiosk", "One-Day", "device+jwt"}, AcceptedUses: []string{"mfa", "id_token", "verify_email"}}, []useRow{
		{"type kiosk", `"type":"kiosk"`},
		{"type KioskToken", `"type":"KioskToken"`},
		{"purpose one_day", `"purpose":"one_day"`},
		{"scope kiosk", `"scope":"kiosk"`},
		{"is_kiosk true", `"is_kiosk":true`},
		{"type device", `"type":"device"`},
		{"", `"type":"one","purpose":"day_one"`},
		{"type refresh", `"type":"refresh"`}, // the built-in list stays
		{"", `"type":"mfa"`},
		{"", `"type":"MFAToken","use":"id","token_use":"ID","scope":"mfa","mfa_token":true`},
		{"", `"type":"verify_email","purpose":"verifyEmail"`},
		{"type verify", `"type":"verify"`},
		{"type mfa_pending", `"type":"mfa_pending"`}, // another use
		{"type id_refresh", `"type":"id_refresh"`},
	})
	v := newVerifier(t, token.Config{AcceptedUses: []string{"dpop", "id"}})
	for typ, want := range map[string]error{"dpop+jwt": nil, "ID": nil, "Refresh": token.ErrClaims, "user": token.ErrClaims} {
		header := fmt.Sprintf(`{"alg":"HS256","typ":%q}`, typ)
		check(t, v, header, hs256(header, goodClaims), want)
	}
}

// TestRefusedUses checks that each use of the list is refused by itself, and in its usual forms.
func TestRefusedUses(t *testing.T) {
	t.Parallel()
	var rows []useRow
	for _, use := range token.RefusedUses() {
		snake := strings.ReplaceAll(use, " ", "_")
		for _, form := range []string{snake, strings.ToUpper(snake), snake + "_token", strings.ReplaceAll(use, " ", "-") + "-jwt"} {
			rows = append(rows, useRow{"type " + form, fmt.Sprintf(`"type":%q`, form)})
		}
	}
	checkUses(t, token.Config{}, rows)
}
