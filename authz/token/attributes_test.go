package token_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"warder/authz/token"
)

func manyAttributes(n int) token.Attributes {
	all := token.Attributes{}
	for i := range n {
		all[fmt.Sprintf("a%d", i)] = fmt.Sprintf("claim%d", i)
	}
	return all
}

// goodWith returns the claims of a good token, and more.
func goodWith(more string) string { return `{"sub":"42","jti":"s-1","exp":1800000060` + more + `}` }

// TestAttributes: strings, whole numbers and truth values are attributes. Other values have no one
// text, and claims in another case are refused.
func TestAttributes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		want string // the value; "absent", "unreadable" or the error's detail
		path string
		more string
	}{
		{"acme", "tenant", `,"tenant":"acme"`},
		{"acme", "tenant", `,"tenant":"\u0061cme"`},
		{"two words, and more", "tenant", `,"tenant":"two words, and more"`},
		{"7", "tenant", `,"tenant":7`},
		{"-7", "tenant", `,"tenant":-7`},
		{"0", "tenant", `,"tenant":0`},
		{"9007199254740993", "tenant", `,"tenant":9007199254740993`},
		{"99999999999999999999", "tenant", `,"tenant":99999999999999999999`},
		{"true", "tenant", `,"tenant":true`},
		{"false", "tenant", `,"tenant":false`},
		{"acme", "org.id", `,"org":{"id":"acme"}`},
		{"acme", "org.id", `,"org.id":"acme","org":{"id":"evil"}`},
		{"acme", "https://example.com/tenant", `,"https://example.com/tenant":"acme"`},
		{"absent", "tenant", ``},
		{"absent", "tenant", `,"tenant":null`},
		{"absent", "tenant", `,"tenant":""`},
		{"absent", "org.id", `,"org":{}`},
		{"absent", "org.id", `,"org":null`},
		{"absent", "org.unit.id", `,"org":{"unit":null}`},
		{"unreadable", "org.id", `,"org":"acme"`},
		{"unreadable", "org.id", `,"org":""`},
		{"unreadable", "org.id", `,"org":7`},
		{"unreadable", "org.id", `,"org":[{"id":"acme"}]`},
		{"unreadable", "org.unit.id", `,"org":{"unit":true}`},
		{"unreadable", "org.unit.id", `,"org":[]`},
		{"absent", "org.id", `,"id":"acme"`},
		{"unreadable", "tenant", `,"tenant":["acme"]`},
		{"unreadable", "tenant", `,"tenant":{"id":"acme"}`},
		{"unreadable", "tenant", `,"tenant":[]`},
		{"unreadable", "tenant", `,"tenant":7.0`},
		{"unreadable", "tenant", `,"tenant":7.5`},
		{"unreadable", "tenant", `,"tenant":1e3`},
		{"unreadable", "tenant", `,"tenant":1E3`},
		{"unreadable", "tenant", `,"tenant":-0`},
		{"unreadable", "tenant", `,"tenant":" acme"`},
		{"unreadable", "tenant", `,"tenant":"acme\n"`},
		{"unreadable", "tenant", `,"tenant":"a\r\nx-warder-user: 1"`},
		{"unreadable", "tenant", `,"tenant":"a\u0000b"`},
		{"unreadable", "tenant", `,"tenant":"a\u0085b"`},
		{"unreadable", "tenant", `,"tenant":"a\u2028b"`},
		{"unreadable", "tenant", `,"tenant":"` + strings.Repeat("a", 1025) + `"`},
		{"unreadable", "tenant", `,"tenant":` + strings.Repeat("9", 1025)},
		{"tenant in another case", "tenant", `,"Tenant":"acme"`},
		{"tenant in another case", "tenant", `,"TENANT":null`},
		{"org.id in another case", "org.id", `,"org":{"ID":"acme"}`},
		{"org.id in another case", "org.id", `,"Org":{"id":"acme"}`},
		{"org.id in another case", "org.id", `,"ORG.ID":"acme"`},
		{"payload with a name twice", "tenant", `,"tenant":"acme","Tenant":"evil"`},
		{"payload with a name twice", "org.id", `,"org":{"id":"acme","Id":"evil"}`},
	} {
		c := token.Config{Attributes: token.Attributes{"a": row.path}}
		for _, remember := range []int{0, 1 << 20} {
			c.Remember = remember
			v := newVerifier(t, c)
			for range 2 {
				claims, err := v.Verify(hs256(goodHeader, goodWith(row.more)), now)
				value, found, findErr := claims.Attributes.Find("a")
				got := value
				switch {
				case err != nil:
					got = detailOf(t, err)
				case findErr != nil:
					got = "unreadable"
				case !found:
					got = "absent"
				}
				if got != row.want {
					t.Errorf("%s of %s: %s, want %s", row.path, row.more, got, row.want)
				}
			}
		}
	}
}

// TestAttributesOfIssuers: an issuer's own map replaces that of all.
func TestAttributesOfIssuers(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		want map[string]string
		own  token.Attributes
	}{
		{map[string]string{"tenant": "acme", "plan": "gold"}, nil},
		{map[string]string{}, token.Attributes{}},
		{map[string]string{"tenant": "7"}, token.Attributes{"tenant": "org.id"}},
	} {
		c := twoIssuers(t)
		c.Attributes = token.Attributes{"tenant": "tenant", "plan": "plan"}
		c.Issuers[1].Attributes = row.own
		claims, err := newVerifier(t, c).Verify(signAs(t, "ES256", signers()["ES256"], `{"alg":"ES256","kid":"2"}`,
			goodWith(`,"account":{"id":"7"},"sid":"t","iss":"`+issuerB+`","tenant":"acme","plan":"gold","org":{"id":7}`)), now)
		if err != nil {
			t.Fatal(err)
		}
		if got := maps.Collect(claims.Attributes.All()); !maps.Equal(got, row.want) {
			t.Errorf("with %v: %v, want %v", row.own, got, row.want)
		}
	}
}
