package authztest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// A Token is a JWT to mint.
type Token struct {
	Secret []byte
	Claims map[string]any
	Header map[string]any    // overrides; a nil value removes the parameter
	Method jwt.SigningMethod // nil means HS256
}

// Mint signs the token and returns it in compact serialization (RFC 7515). An alg in
// Header does not change the signing method.
func Mint(t testing.TB, tok Token) string {
	t.Helper()
	method := tok.Method
	if method == nil {
		method = jwt.SigningMethodHS256
	}
	token := jwt.NewWithClaims(method, jwt.MapClaims(tok.Claims))
	for name, value := range tok.Header {
		if value == nil {
			delete(token.Header, name)
			continue
		}
		token.Header[name] = value
	}
	signed, err := token.SignedString(tok.Secret)
	if err != nil {
		t.Fatalf("minting a token: %v", err)
	}
	return signed
}

// MintRaw returns a compact JWS of header and payload, exactly as written, with a valid HS256
// signature. It is for tokens that a library would not sign, such as those with duplicate
// members or text that is not JSON.
func MintRaw(secret []byte, header, payload string) string {
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." +
		base64.RawURLEncoding.EncodeToString([]byte(payload))
	return input + "." + base64.RawURLEncoding.EncodeToString(SignHS256(secret, input))
}

// SignHS256 returns the HS256 signature of a signing input: the first two
// segments of a token with the dot between them.
func SignHS256(secret []byte, input string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return mac.Sum(nil)
}
