package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"warder/authz/token"
)

// signers returns a private key for each kind of algorithm, made once.
var signers = sync.OnceValue(func() map[string]crypto.Signer {
	must := func(k crypto.Signer, err error) crypto.Signer {
		if err != nil {
			panic(err)
		}
		return k
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	rsaKey := func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }
	ec := func(c elliptic.Curve) (crypto.Signer, error) { return ecdsa.GenerateKey(c, rand.Reader) }
	return map[string]crypto.Signer{
		"RS": must(rsaKey()), "RS other": must(rsaKey()),
		"ES256": must(ec(elliptic.P256())), "ES256 other": must(ec(elliptic.P256())), "ES384": must(ec(elliptic.P384())), "ES512": must(ec(elliptic.P521())),
		"P-224": must(ec(elliptic.P224())), "EdDSA": must(ed, err),
	}
})

// signerOf returns the private key of an algorithm.
func signerOf(algorithm string) crypto.Signer {
	if algorithm[0] == 'R' || algorithm[0] == 'P' {
		return signers()["RS"]
	}
	return signers()[algorithm]
}

// signAs makes a token. It does not use the library under test.
func signAs(t testing.TB, algorithm string, key crypto.Signer, header, claims string) string {
	t.Helper()
	text := encode(header) + "." + encode(claims)
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512, "DSA": 0}[algorithm[2:]]
	digest := []byte(text)
	if hash != 0 {
		h := hash.New()
		h.Write(digest)
		digest = h.Sum(nil)
	}
	var signature []byte
	var err error
	switch algorithm[:2] {
	case "ES":
		k := key.(*ecdsa.PrivateKey)
		var r, s *big.Int
		if r, s, err = ecdsa.Sign(rand.Reader, k, digest); err == nil {
			size := (k.Curve.Params().BitSize + 7) / 8
			signature = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
		}
	case "PS":
		signature, err = key.Sign(rand.Reader, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash})
	default:
		signature, err = key.Sign(rand.Reader, digest, hash)
	}
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + encode(string(signature))
}

// publicPEM returns a public key in PEM.
func publicPEM(t testing.TB, public crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// asymmetric are the algorithms with a public key.
var asymmetric = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// Each algorithm accepts the tokens of its key, and nothing that is signed in another way.
func TestVerifyPublic(t *testing.T) {
	t.Parallel()
	for _, algorithm := range asymmetric {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			signer := signerOf(algorithm)
			public := publicPEM(t, signer.Public())
			parsed, err := token.ParsePublicKey([]byte(public))
			if err != nil {
				t.Fatal(err)
			}
			v := newVerifier(t, token.Config{Keys: []token.Key{{ID: "k", Algorithm: algorithm, Public: parsed}}})
			header := fmt.Sprintf(`{"alg":%q,"kid":"k"}`, algorithm)
			good := signAs(t, algorithm, signer, header, goodClaims)
			if got, err := v.Verify(good, now); err != nil || got.UserID != "42" {
				t.Fatalf("%+v %v", got, err)
			}
			der, _ := pem.Decode([]byte(public))
			for name, row := range map[string]struct {
				want error
				text string
			}{
				"another kid":        {token.ErrKeyUnknown, signAs(t, algorithm, signer, strings.Replace(header, `"k"`, `"K"`, 1), goodClaims)},
				"no kid":             {token.ErrKeyUnknown, signAs(t, algorithm, signer, fmt.Sprintf(`{"alg":%q}`, algorithm), goodClaims)},
				"none":               {token.ErrAlgorithm, encode(`{"alg":"none","kid":"k"}`) + "." + encode(goodClaims) + "." + encode("x")},
				"no alg":             {token.ErrAlgorithm, signAs(t, algorithm, signer, `{"kid":"k"}`, goodClaims)},
				"lower case":         {token.ErrAlgorithm, signAs(t, algorithm, signer, strings.ToLower(header), goodClaims)},
				"hmac of the PEM":    {token.ErrAlgorithm, sign(sha256.New, []byte(public), `{"alg":"HS256","kid":"k"}`, goodClaims)},
				"hmac, trimmed":      {token.ErrAlgorithm, sign(sha256.New, []byte(strings.TrimSpace(public)), `{"alg":"HS256","kid":"k"}`, goodClaims)},
				"hmac under its alg": {token.ErrSignature, sign(sha256.New, []byte(public), header, goodClaims)},
				"hmac of the DER":    {token.ErrSignature, sign(sha256.New, der.Bytes, header, goodClaims)},
				"other claims":       {token.ErrSignature, strings.Replace(good, encode(goodClaims), encode(strings.Replace(goodClaims, "42", "43", 1)), 1)},
				"zeros":              {token.ErrSignature, good[:strings.LastIndexByte(good, '.')+1] + encode(strings.Repeat("\x00", 64))},
				"a long signature":   {token.ErrSignature, good + "AAAA"},
				"embedded":           {token.ErrMalformed, signAs(t, algorithm, signer, fmt.Sprintf(`{"alg":%q,"kid":"k","jwk":{}}`, algorithm), goodClaims)},
				"a URL":              {token.ErrMalformed, signAs(t, algorithm, signer, fmt.Sprintf(`{"alg":%q,"kid":"k","jku":"https://a/"}`, algorithm), goodClaims)},
			} {
				if _, err := v.Verify(row.text, now); !errors.Is(err, row.want) {
					t.Errorf("%s: %v, want %v", name, err, row.want)
				}
			}
			for _, other := range asymmetric {
				if other == algorithm {
					continue
				}
				text := signAs(t, other, signerOf(other), fmt.Sprintf(`{"alg":%q,"kid":"k"}`, other), goodClaims)
				if _, err := v.Verify(text, now); !errors.Is(err, token.ErrAlgorithm) {
					t.Errorf("%s: %v", other, err)
				}
				text = signAs(t, other, signerOf(other), header, goodClaims)
				if _, err := v.Verify(text, now); !errors.Is(err, token.ErrSignature) {
					t.Errorf("%s under the name of %s: %v", other, algorithm, err)
				}
			}
		})
	}
}

// TestPublicKeyProblems refuses keys that are weak or do not fit the algorithm.
func TestPublicKeyProblems(t *testing.T) {
	t.Parallel()
	good := signers()["RS"].Public().(*rsa.PublicKey)
	for _, row := range []struct {
		want      string
		algorithm string
		public    crypto.PublicKey
	}{
		{"", "RS256", good},
		{"has 1024 bits; want at least 2048", "RS256", &rsa.PublicKey{N: new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 1023), big.NewInt(1)), E: 65537}},
		{"has 2047 bits", "PS512", &rsa.PublicKey{N: new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 2046), big.NewInt(1)), E: 65537}},
		{"has 8193 bits", "RS256", &rsa.PublicKey{N: new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 8192), big.NewInt(1)), E: 65537}},
		{"exponent of the RSA key is 1", "RS256", &rsa.PublicKey{N: good.N, E: 1}},
		{"exponent of the RSA key is 65536", "RS256", &rsa.PublicKey{N: good.N, E: 65536}},
		{"is even", "RS256", &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537}},
		{"algorithm RS256 is for an RSA key, and this is an elliptic curve key", "RS256", signers()["ES256"].Public()},
		{"algorithm EdDSA is for an Ed25519 key, and this is an RSA key", "EdDSA", good},
		{"algorithm ES384 is for the curve P-384, and this key is on P-256", "ES384", signers()["ES256"].Public()},
		{"algorithm ES256 is for the curve P-256, and this key is on P-224", "ES256", signers()["P-224"].Public()},
		{"algorithm HS256 is for a secret, and this is an RSA key", "HS256", good},
		{"has 32 bytes, not 31", "EdDSA", ed25519.PublicKey(make([]byte, 31))},
		{"type of the public key is not supported", "EdDSA", "text"},
		{`algorithm "" is not known`, "", good},
		{`algorithm "ES256K" is not known`, "ES256K", signers()["ES256"].Public()},
	} {
		_, err := token.NewVerifier(token.Config{Keys: []token.Key{{Algorithm: row.algorithm, Public: row.public}}})
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.algorithm, err, row.want)
		}
	}
	if _, err := token.NewVerifier(token.Config{Keys: []token.Key{{Algorithm: "RS256", Public: good, Secret: secret}}}); err == nil {
		t.Error("a key with a secret and a public key is accepted")
	}
}

// TestSecretIsPublic refuses a public key as a secret, in whichever form it is.
func TestSecretIsPublic(t *testing.T) {
	t.Parallel()
	public := signers()["RS"].Public().(*rsa.PublicKey)
	text := publicPEM(t, public)
	block, _ := pem.Decode([]byte(text))
	for name, secret := range map[string]string{
		"PEM": text, "PEM, indented": " \n" + text, "DER": string(block.Bytes), "PKCS #1": string(x509.MarshalPKCS1PublicKey(public)),
		"base64":      strings.Join(strings.Split(text, "\n")[1:8], "\n"),
		"one line":    base64.StdEncoding.EncodeToString(block.Bytes),
		"JWK":         `{"kty":"RSA","n":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAA","e":"AQAB"}`,
		"a set":       `{"keys":[{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}]}`,
		"PKCS #1 PEM": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(public)})),
	} {
		_, err := token.NewVerifier(token.Config{Keys: []token.Key{{Algorithm: "HS256", Secret: []byte(secret)}}})
		if err == nil || !strings.Contains(err.Error(), "secret is a public key") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParsePublicKey(t *testing.T) {
	t.Parallel()
	k := signers()["ES256"]
	public := publicPEM(t, k.Public())
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(k.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	pub, _ := pem.Decode([]byte(public))
	weak := &rsa.PublicKey{N: new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 1023), big.NewInt(1)), E: 65537}
	for _, row := range []struct{ name, want, text string }{
		{"a public key", "", public},
		{"text around it", "", "# the key of staging\n" + public + "\n\n"},
		{"CRLF", "", strings.ReplaceAll(public, "\n", "\r\n")},
		{"a certificate, expired", "", block("CERTIFICATE", der)},
		{"PKCS #1", "", block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(signers()["RS"].Public().(*rsa.PublicKey)))},
		{"parameters in front", "", block("EC PARAMETERS", []byte{6, 8}) + public},
		{"two keys", "contains 2 keys", public + public},
		{"a key and a certificate", "contains 2 keys", public + block("CERTIFICATE", der)},
		{"PKCS #8", "contains a private key", block("PRIVATE KEY", pkcs8)},
		{"SEC 1", "contains a private key", block("EC PRIVATE KEY", sec1)},
		{"encrypted", "contains a private key", block("ENCRYPTED PRIVATE KEY", pkcs8)},
		{"OpenSSH", "contains a private key", block("OPENSSH PRIVATE KEY", pkcs8)},
		{"both", "contains a private key", public + block("PRIVATE KEY", pkcs8)},
		{"PGP", "another kind", block("PGP PUBLIC KEY BLOCK", pub.Bytes)},
		{"a request", "another kind", block("CERTIFICATE REQUEST", der)},
		{"a broken key", "cannot be read", block("PUBLIC KEY", pub.Bytes[1:])},
		{"a key in the place of a certificate", "cannot be read", block("CERTIFICATE", pub.Bytes)},
		{"trailing bytes", "cannot be read", block("PUBLIC KEY", append(slices.Clip(pub.Bytes), 0))},
		{"weak", "has 1024 bits", publicPEM(t, weak)},
		{"DER", "is DER", string(pub.Bytes)},
		{"a JWK", "belongs in jwks_file", ` {"kty":"EC"}`},
		{"SSH", "contains no public key", "ecdsa-sha2-nistp256 AAAA me@host"},
		{"nothing", "contains no public key", ""},
		{"cut", "contains no public key", public[:60]},
	} {
		got, err := token.ParsePublicKey([]byte(row.text))
		switch {
		case row.want == "" && (err != nil || got == nil):
			t.Errorf("%s: %v", row.name, err)
		case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

func TestDefaultAlgorithm(t *testing.T) {
	t.Parallel()
	for want, public := range map[string]crypto.PublicKey{
		"RS256": signers()["RS"].Public(), "ES256": signers()["ES256"].Public(), "ES384": signers()["ES384"].Public(),
		"ES512": signers()["ES512"].Public(), "EdDSA": signers()["EdDSA"].Public(), "": signers()["P-224"].Public(),
	} {
		if got := token.DefaultAlgorithm(public); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// jwkOf returns the JSON of a public key, changed by more.
func jwkOf(t testing.TB, public crypto.PublicKey, more map[string]any) string {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	var members map[string]any
	switch k := public.(type) {
	case *rsa.PublicKey:
		members = map[string]any{"kty": "RSA", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := len(point) / 2
		members = map[string]any{"kty": "EC", "crv": k.Curve.Params().Name, "x": b64(point[1 : 1+half]), "y": b64(point[1+half:])}
	case ed25519.PublicKey:
		members = map[string]any{"kty": "OKP", "crv": "Ed25519", "x": b64(k)}
	}
	for name, value := range more {
		if members[name] = value; value == nil {
			delete(members, name)
		}
	}
	text, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestParseKeySet(t *testing.T) {
	t.Parallel()
	rs, other := signers()["RS"].Public(), signers()["RS other"].Public()
	ec, ed := signers()["ES256"].Public(), signers()["EdDSA"].Public()
	type m = map[string]any
	one := func(more m) string { return `{"keys":[` + jwkOf(t, rs, more) + `]}` }
	set := func(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `],"more":1}` }
	many := strings.Repeat(jwkOf(t, ed, nil)+",", 100) + jwkOf(t, ed, nil)
	for _, row := range []struct {
		name       string
		want       string // kid algorithm, …; or "unused: …", "refused: …" or "error: …"
		text       string
		algorithms []string
	}{
		{"usual", "a RS256", one(m{"kid": "a", "use": "sig", "alg": "RS256"}), nil},
		{"unknown members", "a RS256", one(m{"kid": "a", "alg": "RS256", "x5c": []string{"AA"}, "x5t": "x", "foo": m{"d": 1}}), nil},
		{"one key, no set", "a RS256", jwkOf(t, rs, m{"kid": "a", "alg": "RS256"}), nil},
		{"white space around one key", "a RS256", "\r\n\t " + jwkOf(t, rs, m{"kid": "a", "alg": "RS256"}) + " \n", nil},
		{"no kid", " PS384", one(m{"alg": "PS384"}), nil},
		{"no alg: RSA", "a RS256", one(m{"kid": "a"}), nil},
		{"no alg: one of algorithms", "a PS256", one(m{"kid": "a"}), []string{"PS256", "ES256"}},
		{"no alg: two of algorithms", "refused: has no alg, and algorithms has RS256 or PS256 for it", one(m{"kid": "a"}), []string{"PS256", "RS256"}},
		{"no alg: none of algorithms", "unused: none of algorithms fits", one(m{"kid": "a"}), []string{"ES256"}},
		{"all kinds", "r RS512, e ES256, d EdDSA", set(jwkOf(t, rs, m{"kid": "r", "alg": "RS512"}), jwkOf(t, ec, m{"kid": "e"}), jwkOf(t, ed, m{"kid": "d", "alg": "EdDSA"})), nil},
		{"two without kid", " RS256,  RS256", set(jwkOf(t, rs, nil), jwkOf(t, other, nil)), nil},
		{"no keys at all", "", set(), nil},
		{"alg not in algorithms", "unused: is for RS256, which is not in algorithms", one(m{"alg": "RS256"}), []string{"PS256"}},
		{"encryption", "unused: has a use other than sig", one(m{"use": "enc", "alg": "RSA-OAEP"}), nil},
		{"a use in another case", "unused: has a use other than sig", one(m{"use": "SIG"}), nil},
		{"an empty use", "unused: has a use other than sig", one(m{"use": ""}), nil},
		{"verify", "a RS256", one(m{"kid": "a", "key_ops": []string{"sign", "verify"}}), nil},
		{"no verify", "unused: has key_ops without verify", one(m{"key_ops": []string{"encrypt", "sign"}}), nil},
		{"no operations", "unused: has key_ops without verify", one(m{"key_ops": []string{}}), nil},
		{"key_ops no list", "refused: has key_ops that are no list", one(m{"key_ops": "verify"}), nil},
		{"a secret", "refused: is a symmetric key", set(`{"kty":"oct","k":"` + strings.Repeat("A", 60) + `","alg":"HS256","kid":"h"}`), nil},
		{"a secret without alg", "refused: is a symmetric key", set(`{"kty":"oct","k":"` + strings.Repeat("A", 60) + `"}`), nil},
		{"HS256 for a public key", "refused: algorithm HS256 is for a secret, and this is an RSA key", one(m{"alg": "HS256"}), nil},
		{"HS256 in algorithms", "unused: none of algorithms fits", one(nil), []string{"HS256"}},
		{"none", "unused: has an alg that is not supported", one(m{"alg": "none"}), nil},
		{"alg a number", "refused: has a alg that is not a string", one(m{"alg": 7}), nil},
		{"Alg", "refused: has alg in another case", one(m{"Alg": "RS256"}), nil},
		{"another alg", "refused: algorithm ES256 is for an elliptic curve key, and this is an RSA key", one(m{"alg": "ES256"}), nil},
		{"another curve", "refused: algorithm ES384 is for the curve P-384", set(jwkOf(t, ec, m{"alg": "ES384"})), nil},
		{"off the curve", "refused: is a point that is not on its curve", set(jwkOf(t, ec, m{"crv": "P-256", "x": encode(strings.Repeat("\x01", 32))})), nil},
		{"infinity", "refused: is a point that is not on its curve", set(jwkOf(t, ec, m{"x": encode(strings.Repeat("\x00", 32)), "y": encode(strings.Repeat("\x00", 32))})), nil},
		{"short", "refused: has a x of 31 bytes; want 32", set(jwkOf(t, ec, m{"x": encode(strings.Repeat("\x01", 31))})), nil},
		{"secp256k1", "unused: has another crv", set(jwkOf(t, ec, m{"crv": "secp256k1"})), nil},
		{"X25519", "unused: has another crv", set(jwkOf(t, ed, m{"crv": "X25519"})), nil},
		{"Ed448", "unused: has another crv", set(jwkOf(t, ed, m{"crv": "Ed448"})), nil},
		{"a kind to come", "unused: has another kty", set(`{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}`), nil},
		{"private", "refused: is a private key", one(m{"d": "AQAB"}), nil},
		{"private, one part", "refused: is a private key", one(m{"qi": "AQAB"}), nil},
		{"private Ed25519", "refused: is a private key", set(jwkOf(t, ed, m{"d": "AA"})), nil},
		{"weak", "refused: has 1024 bits", one(m{"n": encode("\x80" + strings.Repeat("\x01", 127))}), nil},
		{"huge", "refused: is an RSA key of more than 8192 bits", one(m{"n": encode("\x80" + strings.Repeat("\x01", 5000))}), nil},
		{"exponent 1", "refused: exponent of the RSA key is 1", one(m{"e": "AQ"}), nil},
		{"a great exponent", "refused: too large an exponent", one(m{"e": encode(strings.Repeat("\xff", 9))}), nil},
		{"no n", "refused: has no n", one(m{"n": nil}), nil},
		{"n in base64", "refused: has a n that is not base64url", one(m{"n": "++//"}), nil},
		{"n padded", "refused: has a n that is not base64url", one(m{"n": "AAA="}), nil},
		{"no kty", "refused: has no kty", one(m{"kty": nil}), nil},
		{"kid empty", `refused: has the kid ""`, one(m{"kid": ""}), nil},
		{"kid for any", `refused: has the kid "*"`, one(m{"kid": "*"}), nil},
		{"kid a number", "refused: has a kid that is not a string", one(m{"kid": 7}), nil},
		{"KID", "refused: has kid in another case", one(m{"KID": "a"}), nil},
		{"a kid twice", "error: has the kid a twice, for different keys", set(jwkOf(t, rs, m{"kid": "a"}), jwkOf(t, other, m{"kid": "a"})), nil},
		{"a kid twice, other kinds", "error: has the kid a twice", set(jwkOf(t, rs, m{"kid": "a"}), jwkOf(t, ec, m{"kid": "a"})), nil},
		{"the same key twice", "a RS256", set(jwkOf(t, rs, m{"kid": "a"}), jwkOf(t, rs, m{"kid": "a"})), nil},
		{"a kid for signatures and encryption", "a RS256", set(jwkOf(t, rs, m{"kid": "a"}), jwkOf(t, other, m{"kid": "a", "use": "enc"})), nil},
		{"good beside bad", "a RS256", set(jwkOf(t, rs, m{"kid": "a"}), `{"kty":"oct","k":"AA"}`), nil},
		{"no JSON", "error: is not JSON", "<html>", nil},
		{"empty", "error: is not JSON", "", nil},
		{"a list", "error: is not a JSON object", "[]", nil},
		{"two texts", "error: is not JSON", set() + set(), nil},
		{"no members", "error: has no keys", "{}", nil},
		{"keys no list", "error: has keys that are no list", `{"keys":{}}`, nil},
		{"keys null", "error: has keys that are no list", `{"keys":null}`, nil},
		{"Keys", "error: has keys in another case", `{"Keys":[]}`, nil},
		{"keys twice", "error: is JSON with a name twice", `{"keys":[],"keys":[]}`, nil},
		{"n twice", "error: is JSON with a name twice", `{"keys":[{"kty":"RSA","n":"a","N":"b"}]}`, nil},
		{"no object", "refused: is not a JSON object", `{"keys":[null]}`, nil},
		{"not UTF-8", "error: is not UTF-8", "{\"keys\":[\"\xff\"]}", nil},
		{"deep", "error: is JSON nested deeper than 16", `{"keys":[` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `]}`, nil},
		{"many", "error: has 101 keys", `{"keys":[` + many + `]}`, nil},
	} {
		got, err := token.ParseKeySet([]byte(row.text), row.algorithms)
		var found []string
		for _, k := range got.Keys {
			found = append(found, k.ID+" "+k.Algorithm)
		}
		text := strings.Join(found, ", ")
		kind, part, special := strings.Cut(row.want, ": ")
		switch kind {
		case "unused":
			text = strings.Join(got.Unused, "\n")
		case "refused":
			text = strings.Join(got.Refused, "\n")
		case "error":
			text = fmt.Sprint(err)
		default:
			special, part = false, row.want
		}
		if special && (!strings.Contains(text, part) || len(got.Keys) > 0) || !special && (text != part || err != nil) {
			t.Errorf("%s: %q, unused %q, refused %q, error %v; want %q", row.name, found, got.Unused, got.Refused, err, row.want)
		}
		if len(got.Keys) > 0 {
			if _, err := token.NewVerifier(token.Config{Keys: got.Keys}); err != nil {
				t.Errorf("%s: %v", row.name, err)
			}
		}
	}
}

// The second check of a token costs the same whatever its algorithm: the cache finds it.
func TestRememberedPublicAllocations(t *testing.T) {
	for _, algorithm := range asymmetric {
		v := newVerifier(t, token.Config{Keys: []token.Key{{Algorithm: algorithm, Public: signerOf(algorithm).Public()}}, Remember: 1 << 20})
		text := signAs(t, algorithm, signerOf(algorithm), fmt.Sprintf(`{"alg":%q}`, algorithm), goodClaims)
		if got := testing.AllocsPerRun(100, func() {
			if _, err := v.Verify(text, now); err != nil {
				t.Fatal(err)
			}
		}); got > 0 {
			t.Errorf("%s: %v allocations; want none", algorithm, got)
		}
		if _, misses := v.Remembered(); misses != 1 {
			t.Errorf("%s: verified %d times; want once", algorithm, misses)
		}
	}
}

// BenchmarkVerifyPublic has the first check of a token and the second one, by algorithm.
func BenchmarkVerifyPublic(b *testing.B) {
	for _, algorithm := range append([]string{"HS256"}, asymmetric...) {
		k, text := token.Key{Algorithm: "HS256", Secret: secret}, hs256(goodHeader, goodClaims)
		if algorithm != "HS256" {
			k = token.Key{Algorithm: algorithm, Public: signerOf(algorithm).Public()}
			text = signAs(b, algorithm, signerOf(algorithm), fmt.Sprintf(`{"alg":%q}`, algorithm), goodClaims)
		}
		for name, remember := range map[string]int{"first": 0, "second": 1 << 20} {
			b.Run(algorithm+"/"+name, func(b *testing.B) {
				v := newVerifier(b, token.Config{Keys: []token.Key{k}, Remember: remember})
				b.ReportAllocs()
				for b.Loop() {
					if _, err := v.Verify(text, now); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
