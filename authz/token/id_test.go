package token_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"warder/authz/token"
)

func TestValidID(t *testing.T) {
	t.Parallel()
	const others = "._@|+=~-"
	for c := range 256 {
		b := byte(c)
		want := 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte(others, b) >= 0
		for _, s := range []string{string([]byte{b}), "a" + string([]byte{b}), string([]byte{b}) + "a"} {
			if token.ValidID(s) != want {
				t.Errorf("ValidID(%q) = %v", s, !want)
			}
		}
	}
	for _, test := range []struct {
		want bool
		s    string
	}{
		{true, "user@example.com"},
		{true, "auth0|5f7c8ec7c33c6c004bbafe82"},
		{true, "6f9619ff-8b86-d011-b42d-00c04fc964ff"},
		{true, strings.Repeat("a", 128)},
		{false, strings.Repeat("a", 129)},
		{false, ""},
		{false, "\u00e9"},
		{false, "a:b"},
	} {
		if token.ValidID(test.s) != test.want {
			t.Errorf("ValidID(%q) = %v", test.s, !test.want)
		}
	}
}

// The user claim and the session claim are read by the same rules, whatever their names.
func TestVerifyIDs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		want  string // "" if rejected
		value string
	}{
		{"42", `"42"`},
		{"42", `"\u0034\u0032"`},
		{"042", `"042"`},
		{"a.b_c@d|e+f=g~h-i", `"a.b_c@d|e+f=g~h-i"`},
		{"null", `"null"`},

		// SK-14: numbers keep their digits.
		{"0", `0`},
		{"42", `42`},
		{"9007199254740992", `9007199254740992`},
		{"9007199254740993", `9007199254740993`}, // 2^53+1 is not exact as a float64
		{"9223372036854775808", `9223372036854775808`},
		{strings.Repeat("9", 128), strings.Repeat("9", 128)},
		{"", strings.Repeat("9", 129)},
		{"", `-0`},
		{"", `-42`},
		{"", `42.0`},
		{"", `42.5`},
		{"", `42e0`},
		{"", `4.2e1`},
		{"", `1E2`},

		// SK-01 and other characters that could make another session's key.
		{"", `""`},
		{"", `":"`},
		{"", `"42:s"`},
		{"", `"42 "`},
		{"", `"*"`},
		{"", `"a/b"`},
		{"", `"a\\b"`},
		{"", `"a\nb"`},
		{"", `"a{b}"`},
		{"", `"a,b"`},
		{"", `"a%00"`},
		{"", `"\u0661"`}, // an Arabic digit
		{"", `"` + strings.Repeat("a", 129) + `"`},
		{"", `null`},
		{"", `true`},
		{"", `["42"]`},
		{"", `{"id":"42"}`},
	} {
		for _, names := range [][2]string{{"sub", "jti"}, {"jti", "sub"}, {"user_id", "sid"}, {"sub", "sid"}, {"iss", "jti"}, {"User Id", "jti"}} {
			v := newVerifier(t, token.Config{UserClaim: names[0], SessionClaim: names[1]})
			want := error(nil)
			if test.want == "" {
				want = token.ErrClaims
			}
			asUser := fmt.Sprintf(`{%q:%s,%q:"other","exp":1800000060}`, names[0], test.value, names[1])
			got, err := v.Verify(hs256(goodHeader, asUser), now)
			if !errors.Is(err, want) || got.UserID != test.want {
				t.Errorf("%s: got %+v, %v", asUser, got, err)
			}
			asSession := fmt.Sprintf(`{%q:"other",%q:%s,"exp":1800000060}`, names[0], names[1], test.value)
			got, err = v.Verify(hs256(goodHeader, asSession), now)
			if !errors.Is(err, want) || got.SessionID != test.want {
				t.Errorf("%s: got %+v, %v", asSession, got, err)
			}
		}
	}
}

func TestVerifyIDsMissing(t *testing.T) {
	t.Parallel()
	checkClaims(t, token.Config{}, []claimsRow{
		{token.ErrClaims, `{"jti":"s","exp":1800000060}`},
		{token.ErrClaims, `{"sub":"42","exp":1800000060}`},
		{token.ErrClaims, `{"SUB":"42","jti":"s","exp":1800000060}`},
		{token.ErrClaims, `{"sub":"42","Jti":"s","exp":1800000060}`},
	})
	checkClaims(t, token.Config{UserClaim: "user.id", SessionClaim: "sid"}, []claimsRow{
		{nil, `{"user.id":"42","sid":"s","exp":1800000060}`},
		{nil, `{"user.id":42,"sid":7,"sub":"43","jti":"t","exp":1800000060}`},
		{token.ErrClaims, `{"user.id":42,"sid":7,"sub":43,"exp":1800000060}`}, // sub is not an id here, so it must be a string
		{token.ErrClaims, `{"sub":"42","jti":"s","exp":1800000060}`},
		{nil, `{"user":{"id":"42"},"sid":"s","exp":1800000060}`}, // a path
		{nil, `{"user":{"id":"43"},"user.id":"42","sid":"s","exp":1800000060}`},
		{token.ErrClaims, `{"User":{"id":"42"},"sid":"s","exp":1800000060}`},
		{token.ErrClaims, `{"user":{"ID":"42"},"sid":"s","exp":1800000060}`},
		{token.ErrClaims, `{"user":{"id":{"id":"42"}},"sid":"s","exp":1800000060}`},
		{token.ErrClaims, `{"user":[{"id":"42"}],"sid":"s","exp":1800000060}`},
		{token.ErrClaims, `{"user":"42","sid":"s","exp":1800000060}`},
		{token.ErrClaims, `{"user":{"id":null},"sid":"s","exp":1800000060}`},
		{token.ErrClaims, `{"User.Id":"42","sid":"s","exp":1800000060}`},
	})
	checkClaims(t, token.Config{UserClaim: "https://example.com/a.b", SessionClaim: "a.b.c"}, []claimsRow{
		{nil, `{"https://example.com/a.b":"42","a":{"b":{"c":"s"}},"exp":1800000060}`},
		{nil, `{"https://example.com/a.b":"42","a":{"b.c":"s"},"exp":1800000060}`},
		{nil, `{"https://example.com/a.b":"42","a.b.c":"s","exp":1800000060}`},
		{token.ErrClaims, `{"https://example.com/a.b":"42","a.b":{"c":"s"},"exp":1800000060}`}, // only one way to read it
	})
}
