package token_test

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"warder/authz/token"
)

func TestDetail(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, token.Config{
		Keys:   []token.Key{{Algorithm: "HS256", Secret: secret}, {ID: "a", Algorithm: "HS256", Secret: secret}},
		Issuer: "https://id.example", Audiences: []string{"api", "web"}, UserClaim: "uid",
	})
	good := hs256(goodHeader, `{"uid":"42","jti":"s-1","exp":1800000060,"iss":"https://id.example","aud":"api"}`)
	if _, err := v.Verify(good, now); err != nil {
		t.Fatal(err)
	}
	claims := func(claims string) string { return hs256(goodHeader, claims) }
	with := func(more string) string {
		return claims(`{"uid":"42","jti":"s-1","exp":1800000060,"iss":"https://id.example","aud":"api",` + more + `}`)
	}
	header := func(header string) string { return hs256(header, goodClaims) }
	jwt := hs256(goodHeader, goodClaims)
	for _, test := range []struct{ want, text string }{
		{"token longer than 61440 bytes", strings.Repeat("A", 61441)},
		{"token with a line end", good + "\n"},
		{"token not three segments", "A"},
		{"token not three segments", good + ".A"},
		{"header empty", strings.TrimPrefix(good, good[:strings.Index(good, ".")])},
		{"payload not base64url", encode(goodHeader) + ".a+b.AA"},
		{"signature empty", good[:strings.LastIndex(good, ".")+1]},
		{"header not JSON", header("{")},
		{"header not UTF-8", header("\xff")},
		{"header not a JSON object", header("[]")},
		{"header with a name twice", header(`{"alg":"HS256","alg":"HS256"}`)},
		{"header nested deeper than 16", header(`{"x":` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + `}`)},
		{"header with crit", header(`{"alg":"HS256","Crit":[]}`)},
		{"header with x5t#s256", header(`{"alg":"HS256","x5t#S256":""}`)},
		{"kid in another case", header(`{"alg":"HS256","KID":"a"}`)},
		{"kid not a string", header(`{"alg":"HS256","kid":1}`)},
		{"payload not JSON", claims("{")},
		{"payload with a name twice", claims(`{"a":1,"A":1}`)},
		{"payload with half a surrogate pair", claims(`{"a":"\ud800"}`)},

		{"kid abc", header(`{"alg":"HS256","kid":"abc"}`)},
		{"kid empty", header(`{"alg":"HS256","kid":""}`)},
		{"kid FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE", header(`{"alg":"HS256","kid":"FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE"}`)},
		{"kid ../../dev/null", header(`{"alg":"HS256","kid":"../../dev/null"}`)},
		{"kid a?b??c??d??e", header(`{"alg":"HS256","kid":"a b\"'c\n\u0000d\u00e9e"}`)},
		{"kid " + strings.Repeat("k", 64), header(`{"alg":"HS256","kid":"` + strings.Repeat("k", 64) + `"}`)},
		{"kid " + strings.Repeat("k", 64) + "…(cut)", header(`{"alg":"HS256","kid":"` + strings.Repeat("k", 65) + `"}`)},
		{"kid (withheld)", header(`{"alg":"HS256","kid":"` + jwt + `"}`)},
		{"kid (withheld)", header(`{"alg":"HS256","kid":"x` + jwt[:30] + `"}`)},
		{"kid (withheld)", header(`{"alg":"HS256","kid":"` + strings.Repeat("a", 30) + "." + strings.Repeat("b", 30) + "." + strings.Repeat("c", 30) + `"}`)},
		{"alg missing", header(`{}`)},
		{"alg missing", header(`{"alg":""}`)},
		{"alg none", header(`{"alg":"none"}`)},
		{"alg RS256", header(`{"alg":"RS256","kid":"a"}`)},
		{"kid a", sign(sha256.New, secret2, `{"alg":"HS256","kid":"a"}`, goodClaims)},
		{"no kid", sign(sha256.New, secret2, `{"alg":"HS256"}`, goodClaims)},

		{"exp has passed", claims(`{"exp":1}`)},
		{"nbf in the future", claims(`{"exp":1800000060,"nbf":1800000010}`)},
		{"iat in the future", claims(`{"exp":1800000060,"nbf":1,"iat":1800000010}`)},
		{"nbf in the future", claims(`{"exp":1800000060,"nbf":1800000010,"iat":1800000001}`)},

		{"exp missing", claims(`{}`)},
		{"exp not a date in seconds", claims(`{"exp":1800000060000}`)},
		{"exp not a date in seconds", claims(`{"exp":"1800000060"}`)},
		{"iat not a date in seconds", claims(`{"exp":1800000060,"iat":null}`)},
		{"uid missing", claims(`{"exp":1800000060,"sub":"42"}`)},
		{"uid not an id", claims(`{"exp":1800000060,"uid":"someone's secret"}`)},
		{"jti missing", claims(`{"exp":1800000060,"uid":"42"}`)},
		{"jti not an id", claims(`{"exp":1800000060,"uid":"42","jti":null}`)},
		{"iss missing", claims(`{"exp":1800000060,"uid":"42","jti":"s"}`)},
		{"iss other", claims(`{"exp":1800000060,"uid":"42","jti":"s","iss":"other"}`)},
		{"iss https://id.example/", claims(`{"exp":1800000060,"uid":"42","jti":"s","iss":"https://id.example/"}`)},
		{"iss not a string", claims(`{"exp":1800000060,"uid":"42","jti":"s","iss":["other"]}`)},
		{"aud missing", claims(`{"exp":1800000060,"uid":"42","jti":"s","iss":"https://id.example"}`)},
		{"aud missing", claims(`{"exp":1800000060,"uid":"42","jti":"s","iss":"https://id.example","aud":[]}`)},
		{"aud other", claims(`{"exp":1800000060,"uid":"42","jti":"s","iss":"https://id.example","aud":"other"}`)},
		{"aud other,account", claims(`{"exp":1800000060,"uid":"42","jti":"s","iss":"https://id.example","aud":["other","account"]}`)},
		{"aud not a string or a list of strings", claims(`{"exp":1800000060,"uid":"42","jti":"s","iss":"https://id.example","aud":1}`)},
		{"sub not a string", with(`"sub":42`)},
		{"iat in another case", with(`"IAT":1`)},
		{"header typ Refresh", hs256(`{"alg":"HS256","typ":"Refresh"}`, `{"uid":"42","jti":"s-1","exp":1800000060,"iss":"https://id.example","aud":"api"}`)},
		{"type refresh", with(`"type":"refresh"`)},
		{"scope refresh_token", with(`"scope":"refresh_token"`)},
	} {
		_, err := v.Verify(test.text, now)
		if err == nil {
			t.Errorf("%.60s: accepted, want %q", test.text, test.want)
			continue
		}
		if got := detailOf(t, err); got != test.want {
			t.Errorf("%.60s: detail %q, want %q", test.text, got, test.want)
		}
		if strings.Contains(err.Error(), " "+test.want) {
			t.Errorf("the text of the error has the detail: %v", err)
		}
	}
}

// clean is what a detail consists of: a fixed text or the name of a claim, and a value. A name
// and a value come from the client and have harmless characters only, and not many.
var clean = regexp.MustCompile(`^([A-Za-z0-9 #+-]*|([A-Za-z0-9._@|+=~:/,*#?-]{1,64}|\(withheld\))( not a string)?)` +
	`( [A-Za-z0-9._@|+=~:/,*#?-]{1,64}(…\(cut\))?| \(withheld\))?$`)

// FuzzDetail fuzzes what a client writes into a token. No detail has more than a bounded,
// harmless part of it.
func FuzzDetail(f *testing.F) {
	f.Add("abc", "refresh", "other")
	f.Add("\x00\n\"", strings.Repeat("é", 100), "eyJhbGciOiJIUzI1NiJ9")
	f.Add(strings.Repeat("k", 1000), " ", "\u2028***")
	f.Add("0", "\xe6\xe6\xe6\xe6refresh", "other")
	f.Add("0", "https://id.example/is_refresh", "https://id.example/token_use")
	v := newVerifier(f, token.Config{Issuer: "x", Audiences: []string{"y"}})
	any := newVerifier(f, token.Config{Keys: []token.Key{{ID: "*", Algorithm: "HS256", Secret: secret}}})
	f.Fuzz(func(t *testing.T, kid, use, iss string) {
		for _, text := range []string{
			hs256(fmt.Sprintf(`{"alg":"HS256","kid":%s}`, quote(kid)), goodClaims),
			hs256(fmt.Sprintf(`{"alg":%s}`, quote(kid)), goodClaims),
			hs256(fmt.Sprintf(`{"alg":"HS256","typ":%s}`, quote(use)), goodClaims),
			hs256(`{"alg":"HS256"}`, fmt.Sprintf(`{"sub":"42","jti":"s","exp":1800000060,"type":%s,"iss":%s}`, quote(use), quote(iss))),
			hs256(`{"alg":"HS256"}`, fmt.Sprintf(`{"sub":"42","jti":"s","exp":1800000060,"aud":[%s],"iss":"x"}`, quote(iss))),
			hs256(`{"alg":"HS256"}`, fmt.Sprintf(`{"sub":"42","jti":"s","exp":1800000060,%s:true,%s:"refresh"}`, quote(use), quote(iss))),
			kid + "." + use + "." + iss,
		} {
			for _, v := range []*token.Verifier{v, any} {
				_, err := v.Verify(text, now)
				if err == nil {
					continue
				}
				if got := detailOf(t, err); !clean.MatchString(got) || strings.Contains(got, "eyJ") || got == "" {
					t.Errorf("%q: detail %q", text, got)
				}
			}
		}
	})
}
