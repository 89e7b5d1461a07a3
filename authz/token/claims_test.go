package token_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"warder/authz/token"
)

// claimsRow is a row of a table: the claims of a token with a valid signature.
type claimsRow struct {
	want   error
	claims string
}

func checkClaims(t *testing.T, c token.Config, rows []claimsRow) {
	t.Helper()
	v := newVerifier(t, c)
	for _, row := range rows {
		check(t, v, row.claims, hs256(goodHeader, row.claims), row.want)
	}
}

// CL-01: exp is a number of seconds in the future. The clock is at 1800000000.
func TestVerifyExpires(t *testing.T) {
	t.Parallel()
	var rows []claimsRow
	for _, test := range []struct {
		want error
		exp  string
	}{
		{nil, `1800000001`},
		{nil, `1800000000.5`},
		{nil, `1.9e9`}, // any JSON number is accepted
		{nil, `19E+8`},
		{nil, `253402300799`},
		{nil, `253402300799.0`},
		{token.ErrExpired, `1800000000`},
		{token.ErrExpired, `1800000000.0`},
		{token.ErrExpired, `1799999999.9`},
		{token.ErrExpired, `1799999999`},
		{token.ErrExpired, `1`},
		{token.ErrExpired, `1.5`},
		{token.ErrClaims, `253402300799.5`},
		{token.ErrClaims, `253402300800`},
		{token.ErrClaims, `1800000001000`}, // milliseconds
		{token.ErrClaims, `9223372036854775807`},
		{token.ErrClaims, `9223372036854775808`},
		{token.ErrClaims, `18446744073709551617`},
		{token.ErrClaims, `1e18`},
		{token.ErrClaims, `1e308`},
		{token.ErrClaims, `1e309`},
		{token.ErrClaims, `1e999999999`},
		{token.ErrClaims, strings.Repeat("9", 4000)},
		{token.ErrClaims, `-1`},
		{token.ErrClaims, `-1800000001`},
		{token.ErrClaims, `-0`},
		{token.ErrClaims, `0`},
		{token.ErrClaims, `0.0`},
		{token.ErrClaims, `0.999`},
		{token.ErrClaims, `1e-400`},
		{token.ErrClaims, `null`},
		{token.ErrClaims, `true`},
		{token.ErrClaims, `false`},
		{token.ErrClaims, `""`},
		{token.ErrClaims, `"1800000001"`},
		{token.ErrClaims, `"never"`},
		{token.ErrClaims, `[1800000001]`},
		{token.ErrClaims, `{"value":1800000001}`},
	} {
		rows = append(rows, claimsRow{test.want, fmt.Sprintf(`{"sub":"42","jti":"s","exp":%s}`, test.exp)})
	}
	rows = append(rows,
		claimsRow{token.ErrClaims, `{"sub":"42","jti":"s"}`},
		claimsRow{token.ErrClaims, `{"sub":"42","jti":"s","EXP":1800000001}`},
		claimsRow{token.ErrClaims, `{"sub":"42","jti":"s","x":{"exp":1800000001}}`},
	)
	checkClaims(t, token.Config{}, rows)
}

func TestVerifyNotYetValid(t *testing.T) {
	t.Parallel()
	var rows []claimsRow
	for _, name := range []string{"nbf", "iat"} {
		for _, test := range []struct {
			want  error
			value string
		}{
			{nil, `1`},
			{nil, `1800000000`},
			{nil, `1799999999.5`},
			{nil, `18e8`},
			{nil, `1800000000.5`}, // clocks may differ by 5 s
			{nil, `1800000005`},
			{token.ErrNotYetValid, `1800000005.5`},
			{token.ErrNotYetValid, `1800000006`},
			{token.ErrNotYetValid, `253402300799`},
			{token.ErrClaims, `253402300800`},
			{token.ErrClaims, `1800000000000`},
			{token.ErrClaims, `1e999`},
			{token.ErrClaims, `0`},
			{token.ErrClaims, `-1`},
			{token.ErrClaims, `null`},
			{token.ErrClaims, `false`},
			{token.ErrClaims, `"1800000000"`},
			{token.ErrClaims, `[]`},
			{token.ErrClaims, `{}`},
		} {
			rows = append(rows, claimsRow{test.want, fmt.Sprintf(`{"sub":"42","jti":"s","exp":1800000060,%q:%s}`, name, test.value)})
		}
		// In another case, other readers could see a date that this package does not.
		rows = append(rows, claimsRow{token.ErrClaims, fmt.Sprintf(`{"sub":"42","jti":"s","exp":1800000060,%q:1}`, strings.ToUpper(name))})
	}
	checkClaims(t, token.Config{}, rows)
}

func TestVerifyLeeway(t *testing.T) {
	t.Parallel()
	checkClaims(t, token.Config{Leeway: 30 * time.Second}, []claimsRow{
		{nil, `{"sub":"42","jti":"s","exp":1799999971}`},
		{token.ErrExpired, `{"sub":"42","jti":"s","exp":1799999970}`},
		{nil, `{"sub":"42","jti":"s","exp":1800000060,"nbf":1800000030}`},
		{token.ErrNotYetValid, `{"sub":"42","jti":"s","exp":1800000060,"nbf":1800000031}`},
		{nil, `{"sub":"42","jti":"s","exp":1800000060,"iat":1800000030}`},
		{token.ErrNotYetValid, `{"sub":"42","jti":"s","exp":1800000060,"iat":1800000031}`},
	})
	// A leeway below the grace of 5 s counts for exp only.
	checkClaims(t, token.Config{Leeway: time.Second}, []claimsRow{
		{nil, `{"sub":"42","jti":"s","exp":1800000000}`},
		{token.ErrExpired, `{"sub":"42","jti":"s","exp":1799999999}`},
		{nil, `{"sub":"42","jti":"s","exp":1800000060,"nbf":1800000005,"iat":1800000005}`},
		{token.ErrNotYetValid, `{"sub":"42","jti":"s","exp":1800000060,"nbf":1800000006}`},
		{token.ErrNotYetValid, `{"sub":"42","jti":"s","exp":1800000060,"iat":1800000006}`},
	})
	v := newVerifier(t, token.Config{Leeway: 5 * time.Minute})
	got, err := v.Verify(hs256(goodHeader, `{"sub":"42","jti":"s","exp":1799999999.25}`), now)
	if want := time.Unix(1_799_999_999, 250_000_000); err != nil || !got.ExpiresAt.Equal(want) {
		t.Errorf("got %v, %v; want %v, without the leeway", got.ExpiresAt, err, want)
	}
	// The latest date plus the leeway does not overflow.
	check(t, v, "year 9999", hs256(goodHeader, `{"sub":"42","jti":"s","exp":253402300799}`), nil)
}

func TestVerifyIssuerAndAudience(t *testing.T) {
	t.Parallel()
	with := func(more string) string { return `{"sub":"42","jti":"s","exp":1800000060` + more + `}` }
	checkClaims(t, token.Config{Issuer: "https://id.example"}, []claimsRow{
		{nil, with(`,"iss":"https://id.example"`)},
		{nil, with(`,"iss":"https:\/\/id.example","aud":"any"`)},
		{token.ErrClaims, with(``)},
		{token.ErrClaims, with(`,"iss":""`)},
		{token.ErrClaims, with(`,"iss":"https://id.example/"`)},
		{token.ErrClaims, with(`,"iss":"HTTPS://id.example"`)},
		{token.ErrClaims, with(`,"iss":"https://id.example "`)},
		{token.ErrClaims, with(`,"iss":["https://id.example"]`)},
		{token.ErrClaims, with(`,"iss":null`)},
		{token.ErrClaims, with(`,"Iss":"https://id.example"`)},
	})
	checkClaims(t, token.Config{Audiences: []string{"api", "web"}}, []claimsRow{
		{nil, with(`,"aud":"api"`)},
		{nil, with(`,"aud":"web","iss":"any"`)},
		{nil, with(`,"aud":["other","web"]`)},
		{token.ErrClaims, with(``)},
		{token.ErrClaims, with(`,"aud":""`)},
		{token.ErrClaims, with(`,"aud":[]`)},
		{token.ErrClaims, with(`,"aud":"other"`)},
		{token.ErrClaims, with(`,"aud":"API"`)},
		{token.ErrClaims, with(`,"aud":"api web"`)},
		{token.ErrClaims, with(`,"aud":"api,web"`)},
		{token.ErrClaims, with(`,"aud":["other"]`)},
		{token.ErrClaims, with(`,"aud":[["api"]]`)},
		{token.ErrClaims, with(`,"aud":["api",1]`)},
		{token.ErrClaims, with(`,"aud":["api",null]`)},
		{token.ErrClaims, with(`,"aud":{"api":true}`)},
		{token.ErrClaims, with(`,"aud":null`)},
		{token.ErrClaims, with(`,"Aud":"api"`)},
	})
}

// A registered claim must have its type, even if its value is not checked.
func TestVerifyRegisteredTypes(t *testing.T) {
	t.Parallel()
	with := func(more string) string { return `{"uid":"42","sid":"s","exp":1800000060` + more + `}` }
	rows := []claimsRow{
		{nil, with(``)},
		{nil, with(`,"iss":"","sub":"","aud":"","jti":""`)},
		{nil, with(`,"iss":"a:b","sub":"a b","aud":[],"jti":"\u00e9","nbf":1,"iat":1`)},
		{nil, with(`,"aud":["a","b"]`)},
		{token.ErrClaims, with(`,"aud":1`)},
		{token.ErrClaims, with(`,"aud":[1]`)},
		{token.ErrClaims, with(`,"aud":null`)},
		{token.ErrClaims, with(`,"aud":false`)},
		{token.ErrClaims, with(`,"aud":{}`)},
		{token.ErrClaims, with(`,"AUD":"a"`)},
	}
	for _, name := range []string{"iss", "sub", "jti"} {
		for _, value := range []string{`1`, `null`, `true`, `["a"]`, `{"a":"b"}`} {
			rows = append(rows, claimsRow{token.ErrClaims, with(fmt.Sprintf(`,%q:%s`, name, value))})
		}
		rows = append(rows, claimsRow{token.ErrClaims, with(fmt.Sprintf(`,%q:"a"`, strings.ToUpper(name)))})
	}
	checkClaims(t, token.Config{UserClaim: "uid", SessionClaim: "sid"}, rows)
}

// CL-10: claims about roles and state are ignored.
func TestVerifyIgnoresOtherClaims(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, token.Config{})
	got, err := v.Verify(hs256(goodHeader, `{"sub":"42","jti":"s","exp":1800000060,"role":"ADMIN","roles":["ADMIN"],`+
		`"is_active":false,"user_id":"1","uid":1,"sid":"x","email":"a@b.example"}`), now)
	want := token.Claims{UserID: "42", SessionID: "s", ExpiresAt: time.Unix(1_800_000_060, 0).UTC()}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}
