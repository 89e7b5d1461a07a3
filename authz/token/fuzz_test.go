package token_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"warder/authz/token"
)

// accepted checks an accepted token without using the package: its encoding is canonical,
// its MAC is valid, and the returned claims are those of the token.
func accepted(t *testing.T, text string, got token.Claims) {
	t.Helper()
	if len(text) > 61440 {
		t.Fatalf("accepted %d bytes", len(text))
	}
	segments := strings.Split(text, ".")
	if len(segments) != 3 {
		t.Fatalf("accepted %d segments", len(segments))
	}
	var decoded [3][]byte
	for i, segment := range segments {
		var err error
		if decoded[i], err = base64.RawURLEncoding.DecodeString(segment); err != nil || encode(string(decoded[i])) != segment {
			t.Fatalf("accepted the segment %q", segment)
		}
	}
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(segments[0] + "." + segments[1]))
	if !hmac.Equal(m.Sum(nil), decoded[2]) {
		t.Fatal("accepted a wrong MAC")
	}

	var header, claims map[string]json.RawMessage
	for text, members := range map[*[]byte]*map[string]json.RawMessage{&decoded[0]: &header, &decoded[1]: &claims} {
		if !utf8.Valid(*text) || json.Unmarshal(*text, members) != nil {
			t.Fatalf("accepted %q", *text)
		}
		// Encoded again, an object with duplicate members would be shorter.
		lower := map[string]bool{}
		for name := range *members {
			lower[strings.ToLower(name)] = true
		}
		if len(lower) != len(*members) {
			t.Fatalf("accepted %q", *text)
		}
	}
	var parameters struct{ Alg, Kid string }
	if json.Unmarshal(decoded[0], &parameters) != nil || parameters.Alg != "HS256" || header["kid"] != nil || header["crit"] != nil {
		t.Fatalf("accepted the header %s", decoded[0])
	}
	for name, want := range map[string]string{"sub": got.UserID, "jti": got.SessionID} {
		var s string
		if json.Unmarshal(claims[name], &s) != nil {
			s = string(claims[name])
		}
		if s != want || !token.ValidID(want) {
			t.Fatalf("accepted %s: %q, read as %q", name, claims[name], want)
		}
	}
	var exp float64
	if json.Unmarshal(claims["exp"], &exp) != nil || exp <= float64(now.Unix()) || !got.ExpiresAt.After(now) {
		t.Fatalf("accepted exp %s, read as %v", claims["exp"], got.ExpiresAt)
	}
}

// FuzzVerify fuzzes the text of a token.
func FuzzVerify(f *testing.F) {
	good := hs256(goodHeader, goodClaims)
	for _, seed := range []string{
		good,       // the only valid one
		good + "=", // padding
		good[:len(good)-1] + "\n" + good[len(good)-1:], // a character that the decoder skips
		successor(good),                                                         // another encoding of the same signature
		good[:strings.LastIndex(good, ".")+1],                                   // no signature
		encode(`{"alg":"none"}`) + "." + encode(goodClaims) + ".",               // none
		hs256(goodHeader, `{"sub":"42","sub":"43","jti":"s","exp":1800000060}`), // a duplicate member
		hs256(goodHeader, `{"sub":"42","jti":"s","exp":1}`),                     // expired
		hs256(`{"alg":"HS256","kid":"x"}`, goodClaims),                          // an unknown key
		sign(sha512.New, secret, `{"alg":"HS512"}`, goodClaims),                 // another algorithm
		sign(sha256.New, secret2, goodHeader, goodClaims),                       // another key
		"..", "", "a.b.c",
		"\xff.\x00.é",
	} {
		f.Add(seed)
	}
	v := newVerifier(f, token.Config{})
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := v.Verify(text, now); err == nil {
			accepted(t, text, got)
		}
	})
}

// FuzzVerifySigned fuzzes headers and claims with a valid signature.
func FuzzVerifySigned(f *testing.F) {
	for _, seed := range [][2]string{
		{goodHeader, goodClaims},
		{`{"alg":"HS256","crit":["exp"]}`, goodClaims},                                       // an extension
		{`{"alg":"HS256","ALG":"none"}`, goodClaims},                                         // case-shadowed
		{`{"alg":"HS256","kid":null}`, goodClaims},                                           // not a string
		{goodHeader, `{"sub":9007199254740993,"jti":7,"exp":1.9e9}`},                         // numbers
		{goodHeader, `{"sub":"a\ud83d\ude00","jti":"\u0073","exp":1800000001.5}`},            // escapes
		{goodHeader, `{"sub":"42","jti":"s","exp":1e999,"nbf":-1,"iat":null}`},               // invalid dates
		{goodHeader, `{"sub":"42","jti":"s","exp":1800000060,"aud":["a"],"x":[[{"a":{}}]]}`}, // nesting
		{goodHeader, `{"sub":"42","jti":"s","exp":1800000060,"token_use":"refresh"}`},        // another use
		{goodHeader, goodClaims + "x"},                                                       // trailing data
		{"\xff", "\u212a"},
	} {
		f.Add(seed[0], seed[1])
	}
	v := newVerifier(f, token.Config{})
	f.Fuzz(func(t *testing.T, header, claims string) {
		text := hs256(header, claims)
		got, err := v.Verify(text, now)
		if errors.Is(err, token.ErrSignature) {
			t.Fatal("rejected a valid signature")
		}
		if err == nil {
			accepted(t, text, got)
		}
	})
}

// quote returns a JSON string.
func quote(s string) string {
	quoted, _ := json.Marshal(s) // strings cannot fail
	return string(quoted)
}

// FuzzParseKeySet checks that no text makes the reader of key sets panic, that every key which it
// returns can be used, and that it returns none with a kid that no token may have.
func FuzzParseKeySet(f *testing.F) {
	for _, text := range []string{
		`{"keys":[]}`, `{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"a"}]}`, `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		`{"keys":[{"kty":"EC","crv":"P-256","x":"04N0xi21hs","y":"UI8exy","key_ops":["verify"],"use":"sig","alg":"ES256"}]}`, `{"keys":[{"kty":"oct","k":"AA"},null,[],1]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := token.ParseKeySet(text, nil)
		if err != nil || len(set.Keys) == 0 {
			return
		}
		if _, err := token.NewVerifier(token.Config{Keys: set.Keys}); err != nil {
			t.Errorf("%v", err)
		}
		for _, k := range set.Keys {
			if k.ID == token.AnyKID || k.Public == nil || k.Secret != nil {
				t.Errorf("%v", k)
			}
		}
	})
}
