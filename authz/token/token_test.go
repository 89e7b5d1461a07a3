package token_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strings"
	"testing"
	"time"

	"warder/authz/token"
)

var (
	secret  = []byte("correct horse battery staple, 32+")
	secret2 = []byte("another secret that is long enough")
	now     = time.Unix(1_800_000_000, 0)
)

const (
	goodHeader = `{"alg":"HS256","typ":"JWT"}`
	goodClaims = `{"sub":"42","jti":"s-1","exp":1800000060}`
)

func encode(segment string) string { return base64.RawURLEncoding.EncodeToString([]byte(segment)) }

// sign makes a token with any header and claims. It does not use the library under test.
func sign(newHash func() hash.Hash, key []byte, header, claims string) string {
	text := encode(header) + "." + encode(claims)
	mac := hmac.New(newHash, key)
	mac.Write([]byte(text))
	return text + "." + encode(string(mac.Sum(nil)))
}

func hs256(header, claims string) string { return sign(sha256.New, secret, header, claims) }

func newVerifier(t testing.TB, c token.Config) *token.Verifier {
	t.Helper()
	if c.Keys == nil {
		c.Keys = []token.Key{{Algorithm: "HS256", Secret: secret}}
	}
	v, err := token.NewVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// detailOf returns the detail of an error of Verify.
func detailOf(t *testing.T, err error) string {
	t.Helper()
	rejection, ok := errors.AsType[*token.Rejection](err)
	if !ok {
		t.Errorf("%v is no Rejection", err)
		return ""
	}
	return rejection.Detail.String()
}

// check verifies one token. The error must be the sentinel and have no other text.
func check(t *testing.T, v *token.Verifier, what, text string, want error) {
	t.Helper()
	claims, err := v.Verify(text, now)
	if !errors.Is(err, want) || err != nil && err.Error() != want.Error() {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
	if err != nil && claims != (token.Claims{}) {
		t.Errorf("%s: rejected, but with claims %+v", what, claims)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, token.Config{})
	got, err := v.Verify(hs256(goodHeader, goodClaims), now)
	want := token.Claims{UserID: "42", SessionID: "s-1", ExpiresAt: time.Unix(1_800_000_060, 0).UTC()}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

// Verify returns the error of the first check that fails.
func TestVerifyOrder(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, token.Config{Keys: []token.Key{{ID: "a", Algorithm: "HS256", Secret: secret}}})
	const expired = `{"sub":"42","jti":"s","exp":1}`
	forged := func(header, claims string) string { return sign(sha256.New, secret2, header, claims) }
	for _, test := range []struct {
		want error
		text string
	}{
		{token.ErrMalformed, forged(`{"kid":"no","alg":"none"}`, `{"sub":"42","sub":"43"}`)},
		{token.ErrKeyUnknown, forged(`{"kid":"no","alg":"none"}`, expired)},
		{token.ErrAlgorithm, forged(`{"kid":"a","alg":"none"}`, expired)},
		{token.ErrSignature, forged(`{"kid":"a","alg":"HS256"}`, expired)},
		{token.ErrSignature, forged(`{"kid":"a","alg":"HS256"}`, `{}`)},
		{token.ErrExpired, hs256(`{"kid":"a","alg":"HS256"}`, `{"sub":":","jti":"s","exp":1,"nbf":253402300799}`)},
		{token.ErrNotYetValid, hs256(`{"kid":"a","alg":"HS256"}`, `{"sub":":","jti":"s","exp":253402300799,"nbf":253402300798}`)},
		{token.ErrClaims, hs256(`{"kid":"a","alg":"HS256"}`, `{"sub":":","jti":"s","exp":253402300799}`)},
		{nil, hs256(`{"kid":"a","alg":"HS256"}`, `{"sub":".","jti":"s","exp":253402300799}`)},
	} {
		check(t, v, test.text, test.text, test.want)
	}
}

// TestVerifyOtherText tries every text that is one edit away from a valid token.
func TestVerifyOtherText(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, token.Config{})
	good := hs256(goodHeader, goodClaims)
	check(t, v, "unchanged", good, nil)
	refused := func(text string) {
		t.Helper()
		if _, err := v.Verify(text, now); err == nil {
			t.Errorf("accepted %q, which is not %q", text, good)
		}
	}
	for i := range len(good) + 1 {
		for c := range 256 {
			if i < len(good) && byte(c) != good[i] {
				refused(good[:i] + string([]byte{byte(c)}) + good[i+1:])
			}
			refused(good[:i] + string([]byte{byte(c)}) + good[i:])
		}
		if i < len(good) {
			refused(good[:i])
			refused(good[:i] + good[i+1:])
		}
	}
}

func TestVerifyKeys(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, token.Config{Keys: []token.Key{
		{Algorithm: "HS256", Secret: secret},
		{Algorithm: "HS256", Secret: secret2},
		{Algorithm: "HS512", Secret: secret2},
		{ID: "a", Algorithm: "HS384", Secret: secret},
		{ID: "b", Algorithm: "HS256", Secret: secret},
		{ID: "../../dev/null", Algorithm: "HS256", Secret: secret},
	}})
	s256, s384, s512 := sha256.New, sha512.New384, sha512.New
	for _, test := range []struct {
		want   error
		hash   func() hash.Hash
		key    []byte
		header string
	}{
		// Without a kid all keys without an id are tried, and no others.
		{nil, s256, secret, `{"alg":"HS256"}`},
		{nil, s256, secret2, `{"alg":"HS256"}`},
		{nil, s512, secret2, `{"alg":"HS512"}`},
		{token.ErrSignature, s512, secret, `{"alg":"HS512"}`},
		{token.ErrAlgorithm, s384, secret, `{"alg":"HS384"}`},

		// A kid selects one key.
		{nil, s384, secret, `{"alg":"HS384","kid":"a"}`},
		{nil, s256, secret, `{"alg":"HS256","kid":"b"}`},
		{nil, s256, secret, `{"alg":"HS256","kid":"\u0062"}`},
		{nil, s256, secret, `{"alg":"HS256","kid":"../../dev/null"}`},
		{token.ErrSignature, s384, secret2, `{"alg":"HS384","kid":"a"}`},
		{token.ErrSignature, s256, secret2, `{"alg":"HS256","kid":"b"}`},
		{token.ErrAlgorithm, s256, secret, `{"alg":"HS256","kid":"a"}`},
		{token.ErrKeyUnknown, s256, secret, `{"alg":"HS256","kid":"c"}`},
		{token.ErrKeyUnknown, s256, secret, `{"alg":"HS256","kid":"B"}`},
		{token.ErrKeyUnknown, s256, secret, `{"alg":"HS256","kid":"b "}`},
		{token.ErrKeyUnknown, s256, secret, `{"alg":"HS256","kid":""}`},
		{token.ErrKeyUnknown, s256, nil, `{"alg":"HS256","kid":"/dev/null"}`},
		{token.ErrKeyUnknown, s256, secret, `{"alg":"HS256","kid":"b' OR '1'='1"}`},

		// A kid must be a string.
		{token.ErrMalformed, s256, secret, `{"alg":"HS256","kid":null}`},
		{token.ErrMalformed, s256, secret, `{"alg":"HS256","kid":0}`},
		{token.ErrMalformed, s256, secret, `{"alg":"HS256","kid":false}`},
		{token.ErrMalformed, s256, secret, `{"alg":"HS256","kid":["b"]}`},
		{token.ErrMalformed, s256, secret, `{"alg":"HS256","kid":{"b":"b"}}`},
		{token.ErrMalformed, s256, secret, `{"alg":"HS256","kid":"b","kid":"b"}`},
		{token.ErrMalformed, s256, secret, `{"alg":"HS256","kid":"b","Kid":"b"}`},
		{token.ErrMalformed, s256, secret, `{"alg":"HS256","Kid":"b"}`},
		{token.ErrMalformed, s256, secret, `{"alg":"HS256","\u212aid":"b"}`}, // the kelvin sign
	} {
		check(t, v, test.header, sign(test.hash, test.key, test.header, goodClaims), test.want)
	}
}

// TestVerifyAnyKID tests keys that are for every token that no other key is for.
func TestVerifyAnyKID(t *testing.T) {
	t.Parallel()
	third := []byte("a third secret that is long enough")
	any1, any2 := token.Key{ID: "*", Algorithm: "HS256", Secret: secret}, token.Key{ID: "*", Algorithm: "HS512", Secret: secret2}
	named, without := token.Key{ID: "a", Algorithm: "HS256", Secret: third}, token.Key{Algorithm: "HS256", Secret: third}
	for _, test := range []struct {
		want   error
		keys   []token.Key
		key    []byte
		header string
	}{
		{nil, []token.Key{any1}, secret, `{"alg":"HS256","kid":"b"}`},
		{nil, []token.Key{any1}, secret, `{"alg":"HS256","kid":"\u00e9 /"}`},
		{nil, []token.Key{any1}, secret, `{"alg":"HS256","kid":""}`},
		{nil, []token.Key{any1}, secret, `{"alg":"HS256"}`},
		{token.ErrSignature, []token.Key{any1}, third, `{"alg":"HS256","kid":"b"}`},
		{token.ErrAlgorithm, []token.Key{any1}, secret, `{"alg":"HS512","kid":"b"}`},
		{token.ErrMalformed, []token.Key{any1}, secret, `{"alg":"HS256","kid":1}`},

		// The kid * of a token is like any other.
		{nil, []token.Key{any1}, secret, `{"alg":"HS256","kid":"*"}`},
		{token.ErrKeyUnknown, []token.Key{named, without}, third, `{"alg":"HS256","kid":"*"}`},
		{token.ErrSignature, []token.Key{named, any1}, third, `{"alg":"HS256","kid":"*"}`},

		// All of several are tried.
		{nil, []token.Key{any2, any1}, secret, `{"alg":"HS256","kid":"b"}`},
		{nil, []token.Key{any2, {ID: "*", Algorithm: "HS256", Secret: third}, any1}, secret, `{"alg":"HS256","kid":"b"}`},

		// A key with the kid of the token comes first, and is the only one.
		{nil, []token.Key{any1, named}, third, `{"alg":"HS256","kid":"a"}`},
		{token.ErrSignature, []token.Key{any1, named}, secret, `{"alg":"HS256","kid":"a"}`},
		{token.ErrAlgorithm, []token.Key{any1, {ID: "a", Algorithm: "HS512", Secret: third}}, secret, `{"alg":"HS256","kid":"a"}`},
		{token.ErrSignature, []token.Key{any1, named}, third, `{"alg":"HS256","kid":"b"}`},
		{nil, []token.Key{any1, named}, secret, `{"alg":"HS256","kid":"A"}`},
		{nil, []token.Key{any1, named}, secret, `{"alg":"HS256"}`},

		// So does a key without an id, for a token without one.
		{nil, []token.Key{any1, without}, third, `{"alg":"HS256"}`},
		{token.ErrSignature, []token.Key{any1, without}, secret, `{"alg":"HS256"}`},
		{nil, []token.Key{any1, without}, secret, `{"alg":"HS256","kid":"b"}`},
		{nil, []token.Key{any1, without}, secret, `{"alg":"HS256","kid":""}`},
		{token.ErrSignature, []token.Key{any1, without}, third, `{"alg":"HS256","kid":"b"}`},
	} {
		v := newVerifier(t, token.Config{Keys: test.keys})
		check(t, v, fmt.Sprint(test.keys, test.header), sign(sha256.New, test.key, test.header, goodClaims), test.want)
	}
}

func TestVerifyOnlyKeysWithID(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, token.Config{Keys: []token.Key{{ID: "a", Algorithm: "HS256", Secret: secret}}})
	check(t, v, "no kid", hs256(goodHeader, goodClaims), token.ErrKeyUnknown)
	check(t, &token.Verifier{}, "zero Verifier", hs256(goodHeader, goodClaims), token.ErrKeyUnknown)
}

func TestVerifyHeader(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, token.Config{})
	for _, test := range []struct {
		want   error
		header string
	}{
		{nil, `{"alg":"HS256"}`},
		{nil, " {\t\"alg\" :\r\n\"HS256\" } "},
		{nil, `{"\u0061lg":"HS\u0032\u0035\u0036"}`},
		{nil, `{"alg":"HS256","x":{"crit":["exp"]},"y":[1,"a",null,{}]}`}, // unknown parameters are ignored

		// TP-01: none in any case, and any other algorithm than that of the key.
		{token.ErrAlgorithm, `{}`},
		{token.ErrAlgorithm, `{"typ":"JWT"}`},
		{token.ErrAlgorithm, `{"alg":""}`},
		{token.ErrAlgorithm, `{"alg":"none"}`},
		{token.ErrAlgorithm, `{"alg":"None"}`},
		{token.ErrAlgorithm, `{"alg":"NONE"}`},
		{token.ErrAlgorithm, `{"alg":"nOnE"}`},
		{token.ErrAlgorithm, `{"alg":"n\u006fne"}`},
		{token.ErrAlgorithm, `{"alg":"none "}`},
		{token.ErrAlgorithm, `{"alg":" HS256"}`},
		{token.ErrAlgorithm, `{"alg":"hs256"}`},
		{token.ErrAlgorithm, `{"alg":"HS\u017f256"}`},
		{token.ErrAlgorithm, `{"alg":"HS384"}`},
		{token.ErrAlgorithm, `{"alg":"HS512"}`},
		{token.ErrAlgorithm, `{"alg":"RS256"}`},
		{token.ErrAlgorithm, `{"alg":"ES256"}`},
		{token.ErrAlgorithm, `{"alg":"PS256"}`},
		{token.ErrAlgorithm, `{"alg":"EdDSA"}`},
		{token.ErrAlgorithm, `{"alg":"dir"}`},
		{token.ErrMalformed, `{"alg":null}`},
		{token.ErrMalformed, `{"alg":0}`},
		{token.ErrMalformed, `{"alg":true}`},
		{token.ErrMalformed, `{"alg":["HS256"]}`},
		{token.ErrMalformed, `{"alg":{"HS256":""}}`},

		// TP-07: duplicate and case-shadowed members.
		{token.ErrMalformed, `{"alg":"HS256","alg":"HS256"}`},
		{token.ErrMalformed, `{"alg":"none","alg":"HS256"}`},
		{token.ErrMalformed, `{"alg":"HS256","\u0061lg":"none"}`},
		{token.ErrMalformed, `{"alg":"HS256","ALG":"none"}`},
		{token.ErrMalformed, `{"ALG":"HS256"}`},
		{token.ErrMalformed, `{"Alg":"none","alg":"HS256"}`},
		{token.ErrMalformed, `{"alg":"HS256","Typ":"JWT"}`},

		// TP-08: parameters that change the interpretation or that contain or locate a key.
		{token.ErrMalformed, `{"alg":"HS256","crit":["exp"],"exp":1}`},
		{token.ErrMalformed, `{"alg":"HS256","crit":[]}`},
		{token.ErrMalformed, `{"alg":"HS256","crit":null}`},
		{token.ErrMalformed, `{"alg":"HS256","CRIT":["exp"]}`},
		{token.ErrMalformed, `{"alg":"HS256","\u0063rit":["exp"]}`},
		{token.ErrMalformed, `{"alg":"HS256","b64":false,"crit":["b64"]}`},
		{token.ErrMalformed, `{"alg":"HS256","b64":true}`},
		{token.ErrMalformed, `{"alg":"HS256","B64":false}`},
		{token.ErrMalformed, `{"alg":"HS256","zip":"DEF"}`},
		{token.ErrMalformed, `{"alg":"HS256","cty":"JWT"}`},
		{token.ErrMalformed, `{"alg":"HS256","cTy":"JWT"}`},
		{token.ErrMalformed, `{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}`},
		{token.ErrMalformed, `{"alg":"HS256","jwK":{"kty":"oct","k":"AA"}}`},
		{token.ErrMalformed, `{"alg":"HS256","jw\u212a":{"kty":"oct","k":"AA"}}`},
		{token.ErrMalformed, `{"alg":"HS256","jku":"http://127.0.0.1/"}`},
		{token.ErrMalformed, `{"alg":"HS256","x5u":"http://127.0.0.1/"}`},
		{token.ErrMalformed, `{"alg":"HS256","x5c":[]}`},
		{token.ErrMalformed, `{"alg":"HS256","x5t":""}`},
		{token.ErrMalformed, `{"alg":"HS256","x5t#S256":""}`},
		{token.ErrMalformed, `{"alg":"HS256","X5T#s256":""}`},

		// The typ must be that of an access token.
		{nil, `{"alg":"HS256","typ":"JWT"}`},
		{nil, `{"alg":"HS256","typ":"jwt"}`},
		{nil, `{"alg":"HS256","typ":"at+jwt"}`},
		{nil, `{"alg":"HS256","typ":"AT+JWT"}`},
		{nil, `{"alg":"HS256","typ":"application/jwt"}`},
		{nil, `{"alg":"HS256","typ":"application/at+jwt"}`},
		{nil, `{"alg":"HS256","typ":"Bearer"}`},
		{nil, `{"alg":"HS256","typ":"access_token"}`},
		{token.ErrClaims, `{"alg":"HS256","typ":"Refresh"}`},
		{token.ErrClaims, `{"alg":"HS256","typ":"ID"}`},
		{token.ErrClaims, `{"alg":"HS256","typ":"dpop+jwt"}`},
		{token.ErrClaims, `{"alg":"HS256","typ":""}`},
		{token.ErrClaims, `{"alg":"HS256","typ":"logout+jwt"}`},
		{token.ErrClaims, `{"alg":"HS256","typ":"refresh+jwt"}`},
		{token.ErrClaims, `{"alg":"HS256","typ":"application/refresh+jwt"}`},
		{token.ErrClaims, `{"alg":"HS256","typ":"text/jwt"}`},
		{token.ErrClaims, `{"alg":"HS256","typ":"JOSE+JSON"}`},
		{token.ErrMalformed, `{"alg":"HS256","typ":null}`},
		{token.ErrMalformed, `{"alg":"HS256","typ":1}`},
		{token.ErrMalformed, `{"alg":"HS256","typ":["JWT"]}`},
	} {
		check(t, v, test.header, hs256(test.header, goodClaims), test.want)
	}
}

// TP-05: alg does not change the algorithm that a key is used with.
func TestVerifyAlgorithmConfusion(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, token.Config{Keys: []token.Key{{Algorithm: "HS512", Secret: secret}}})
	for _, alg := range []string{"none", "HS256", "HS384", "RS256", "RS512", "ES512", "PS512"} {
		header := fmt.Sprintf(`{"alg":%q}`, alg)
		check(t, v, header, sign(sha512.New, secret, header, goodClaims), token.ErrAlgorithm)
		check(t, v, header+" unsigned", encode(header)+"."+encode(goodClaims)+".AA", token.ErrAlgorithm)
	}
}

func TestVerifyConcurrently(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, token.Config{})
	failures := make(chan error)
	const workers = 8
	for w := range workers {
		go func() {
			failures <- func() error {
				for i := range 200 {
					user := fmt.Sprintf("%d-%d", w, i)
					claims := strings.Replace(goodClaims, "42", user, 1)
					got, err := v.Verify(hs256(goodHeader, claims), now)
					if err != nil || got.UserID != user {
						return fmt.Errorf("user %s: got %+v, %w", user, got, err)
					}
				}
				return nil
			}()
		}()
	}
	for range workers {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
}

// Changing the configuration later does not change a Verifier.
func TestVerifierIsImmutable(t *testing.T) {
	t.Parallel()
	c := token.Config{
		Keys:      []token.Key{{Algorithm: "HS256", Secret: append([]byte(nil), secret...)}},
		Audiences: []string{"api"},
	}
	v := newVerifier(t, c)
	clear(c.Keys[0].Secret)
	c.Keys[0] = token.Key{}
	c.Audiences[0] = "other"
	claims := strings.Replace(goodClaims, "{", `{"aud":"api",`, 1)
	check(t, v, "after the change", hs256(goodHeader, claims), nil)
}

func TestSentinelsDiffer(t *testing.T) {
	t.Parallel()
	all := []error{
		token.ErrMalformed, token.ErrKeyUnknown, token.ErrAlgorithm, token.ErrSignature,
		token.ErrExpired, token.ErrNotYetValid, token.ErrClaims,
	}
	for i, a := range all {
		for _, b := range all[i+1:] {
			if errors.Is(a, b) || a.Error() == b.Error() {
				t.Errorf("%v is %v", a, b)
			}
		}
	}
}
