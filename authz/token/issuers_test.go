package token_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"warder/authz/token"
)

const (
	issuerA = "https://a.example.com/"
	issuerB = "https://b.example.com/"
)

// twoIssuers is a configuration with two issuers that use the same kid, and with own keys.
func twoIssuers(t testing.TB) token.Config {
	t.Helper()
	return token.Config{
		Keys: []token.Key{{Algorithm: "HS256", Secret: secret}},
		Issuers: []token.Issuer{
			{Name: issuerA, Keys: []token.Key{{ID: "1", Algorithm: "RS256", Public: signers()["RS"].Public()}}, Audiences: []string{"a"}},
			{Name: issuerB, Keys: []token.Key{{ID: "1", Algorithm: "RS256", Public: signers()["RS other"].Public()}, {ID: "2", Algorithm: "ES256", Public: signers()["ES256"].Public()}}, UserClaim: "account.id", SessionClaim: "sid"},
		},
	}
}

// No key of an issuer proves a token of another.
func TestIssuers(t *testing.T) {
	t.Parallel()
	c := twoIssuers(t)
	without := c
	without.Keys = nil
	claims := func(more string) string { return `{"sub":"42","jti":"s-1","exp":1800000060,` + more + `}` }
	ofA, ofB := claims(`"aud":"a","iss":"`+issuerA+`"`), claims(`"account":{"id":"7"},"sid":"t","iss":"`+issuerB+`"`)
	rs := func(key, kid, claims string) string {
		return signAs(t, "RS256", signers()[key], fmt.Sprintf(`{"alg":"RS256","kid":%q}`, kid), claims)
	}
	for _, row := range []struct {
		name      string
		want      error // with own keys
		wantAlone error // without them
		user      string
		text      string
	}{
		{"a", nil, nil, "42", rs("RS", "1", ofA)},
		{"b", nil, nil, "7", rs("RS other", "1", ofB)},
		{"b, its other key", nil, nil, "7", signAs(t, "ES256", signers()["ES256"], `{"alg":"ES256","kid":"2"}`, ofB)},
		{"own", nil, token.ErrClaims, "42", hs256(goodHeader, goodClaims)},
		{"own, an iss that nobody has", nil, token.ErrClaims, "42", hs256(goodHeader, claims(`"iss":"https://c.example.com/"`))},

		{"a's key, iss of b", token.ErrSignature, token.ErrSignature, "", rs("RS", "1", ofB)},
		{"b's key, iss of a", token.ErrSignature, token.ErrSignature, "", rs("RS other", "1", ofA)},
		{"b's kid, iss of a", token.ErrKeyUnknown, token.ErrKeyUnknown, "", signAs(t, "ES256", signers()["ES256"], `{"alg":"ES256","kid":"2"}`, ofA)},
		{"own key, iss of a", token.ErrKeyUnknown, token.ErrKeyUnknown, "", hs256(goodHeader, ofA)},
		{"own key, iss of a and its kid", token.ErrAlgorithm, token.ErrAlgorithm, "", hs256(`{"alg":"HS256","kid":"1"}`, ofA)},
		{"a's key, no iss", token.ErrKeyUnknown, token.ErrClaims, "", rs("RS", "1", claims(`"aud":"a"`))},
		{"a's key, an iss that nobody has", token.ErrKeyUnknown, token.ErrClaims, "", rs("RS", "1", claims(`"aud":"a","iss":"https://c.example.com/"`))},
		{"a's key, iss without the slash", token.ErrKeyUnknown, token.ErrClaims, "", rs("RS", "1", claims(`"aud":"a","iss":"https://a.example.com"`))},
		{"a's key, iss in capitals", token.ErrKeyUnknown, token.ErrClaims, "", rs("RS", "1", claims(`"aud":"a","iss":"`+strings.ToUpper(issuerA)+`"`))},
		{"a's key, iss a list", token.ErrKeyUnknown, token.ErrClaims, "", rs("RS", "1", claims(`"aud":"a","iss":["`+issuerA+`"]`))},
		{"a's key, iss null", token.ErrKeyUnknown, token.ErrClaims, "", rs("RS", "1", claims(`"aud":"a","iss":null`))},
		{"a's key, iss empty", token.ErrKeyUnknown, token.ErrClaims, "", rs("RS", "1", claims(`"aud":"a","iss":""`))},
		{"a's key, Iss", token.ErrKeyUnknown, token.ErrClaims, "", rs("RS", "1", claims(`"aud":"a","Iss":"`+issuerA+`"`))},
		{"iss twice", token.ErrMalformed, token.ErrMalformed, "", rs("RS", "1", claims(`"iss":"`+issuerB+`","iss":"`+issuerA+`"`))},
		{"iss of a in the header", token.ErrKeyUnknown, token.ErrClaims, "", signAs(t, "RS256", signers()["RS"], `{"alg":"RS256","kid":"1","iss":"`+issuerA+`"}`, claims(`"aud":"a"`))},
		{"a, another audience", token.ErrClaims, token.ErrClaims, "", rs("RS", "1", claims(`"aud":"b","iss":"`+issuerA+`"`))},
		{"b, the user claim of a", token.ErrClaims, token.ErrClaims, "", rs("RS other", "1", claims(`"sid":"t","iss":"`+issuerB+`"`))},
		{"a, an escaped iss", nil, nil, "42", rs("RS", "1", claims(`"aud":"a","iss":"https:\/\/a.example.com\/"`))},
	} {
		for i, v := range []*token.Verifier{newVerifier(t, c), verifierOf(t, without)} {
			want := []error{row.want, row.wantAlone}[i]
			got, err := v.Verify(row.text, now)
			if !errors.Is(err, want) || (want == nil && got.UserID != row.user) {
				t.Errorf("%s, own keys %v: %+v %v, want %v", row.name, i == 0, got, err, want)
			}
		}
	}
}

func verifierOf(t testing.TB, c token.Config) *token.Verifier {
	t.Helper()
	v, err := token.NewVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Tokens of an issuer whose keys are not known are neither valid nor invalid. Those of others
// are not affected.
func TestKeysUnknown(t *testing.T) {
	t.Parallel()
	c := twoIssuers(t)
	c.Issuers[0].Keys, c.Issuers[0].KeysUnknown = nil, true
	v := newVerifier(t, c)
	claims := func(iss string) string {
		return `{"sub":"42","jti":"s-1","account":{"id":"7"},"sid":"t","exp":1800000060,"iss":"` + iss + `"}`
	}
	for _, row := range []struct {
		want         error
		issuer, text string
	}{
		{token.ErrKeysUnknown, issuerA, signAs(t, "RS256", signers()["RS"], `{"alg":"RS256","kid":"1"}`, claims(issuerA))},
		{token.ErrKeysUnknown, issuerA, hs256(`{"alg":"none"}`, claims(issuerA))},
		{token.ErrKeyUnknown, issuerB, signAs(t, "RS256", signers()["RS"], `{"alg":"RS256","kid":"9"}`, claims(issuerB))},
		{token.ErrMalformed, "", hs256(`{"alg":"RS256","crit":["a"]}`, claims(issuerA))},
		{nil, "", signAs(t, "RS256", signers()["RS other"], `{"alg":"RS256","kid":"1"}`, claims(issuerB))},
		{nil, "", hs256(goodHeader, goodClaims)},
	} {
		_, err := v.Verify(row.text, now)
		if !errors.Is(err, row.want) {
			t.Errorf("%v, want %v", err, row.want)
		}
		if rejection, ok := errors.AsType[*token.Rejection](err); ok && rejection.Issuer != row.issuer {
			t.Errorf("%v: issuer %q, want %q", err, rejection.Issuer, row.issuer)
		}
	}
}

func TestIssuerProblems(t *testing.T) {
	t.Parallel()
	k := []token.Key{{Algorithm: "RS256", Public: signers()["RS"].Public()}}
	named := func(kids ...string) (keys []token.Key) {
		for _, kid := range kids {
			keys = append(keys, token.Key{ID: kid, Algorithm: "RS256", Public: k[0].Public, Source: "from " + kid})
		}
		return keys
	}
	for _, row := range []struct {
		want string
		c    token.Config
	}{
		{"", token.Config{Issuers: []token.Issuer{{Name: "a", Keys: k}, {Name: "b", Keys: k}}}},
		{"", token.Config{Issuers: []token.Issuer{{Name: "a", KeysUnknown: true}}}},
		{"", token.Config{Issuer: "a", Issuers: []token.Issuer{{Name: "a", Keys: k}}}}, // there are no keys that Issuer is for
		{"issuers[0].issuer: is empty", token.Config{Issuers: []token.Issuer{{Keys: k}}}},
		{"issuers[0].keys: none is given", token.Config{Issuers: []token.Issuer{{Name: "a"}}}},
		{`issuers[1].issuer: "a" is also issuers[0].issuer`, token.Config{Issuers: []token.Issuer{{Name: "a", Keys: k}, {Name: "a", Keys: k}}}},
		{`issuers[0].issuer: "a" is also the issuer of keys`, token.Config{Issuer: "a", Keys: k, Issuers: []token.Issuer{{Name: "a", Keys: k}}}},
		{`from a: kid "a" is also the kid of from a`, token.Config{Issuers: []token.Issuer{{Name: "a", Keys: named("a", "b", "a")}}}},
		{`issuers[0].audiences: one is empty`, token.Config{Issuers: []token.Issuer{{Name: "a", Keys: k, Audiences: []string{""}}}}},
		{`issuers[0].session_claim: is "sub", the same as user_claim`, token.Config{Issuers: []token.Issuer{{Name: "a", Keys: k, SessionClaim: "sub"}}}},
		{`issuers[0].user_claim: "a..b" has no name before or after a dot`, token.Config{Issuers: []token.Issuer{{Name: "a", Keys: k, UserClaim: "a..b"}}}},
		{`user_claim: ".b" has no name before or after a dot`, token.Config{Keys: k, UserClaim: ".b"}},
		{`issuers[0].keys[0]: algorithm "x" is not known`, token.Config{Issuers: []token.Issuer{{Name: "a", Keys: []token.Key{{Algorithm: "x", Public: k[0].Public}}}}}},
	} {
		_, err := token.NewVerifier(row.c)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.HasPrefix(err.Error(), row.want)) {
			t.Errorf("%v, want %q", err, row.want)
		}
	}
}
