package token

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// minSecret is the least length of an HMAC secret, in bytes. It is the length of the HS256
// output, which RFC 7518 section 3.2 requires for HS256. For HS384 and HS512 the RFC requires
// more (48 and 64 bytes), which is not enforced.
const minSecret = 32

// AnyKID is the ID of keys for tokens that no other key is for, whatever their kid.
const AnyKID = "*"

// A Key verifies tokens with one algorithm. It prints without its secret.
type Key struct {
	ID        string // the kid that selects the key; "" for tokens without a kid, or AnyKID
	Algorithm string // HS256, HS384 or HS512
	Secret    []byte // at least 32 bytes
}

// algorithms are the supported algorithms. Others that golang-jwt registers, such as none,
// cannot be selected.
var algorithms = map[string]jwt.SigningMethod{
	"HS256": jwt.SigningMethodHS256,
	"HS384": jwt.SigningMethodHS384,
	"HS512": jwt.SigningMethodHS512,
}

// A key is a checked Key that is ready for use.
type key struct {
	algorithm string
	// verify returns an error unless the signature is valid. It compares in constant time.
	// The secret is in a closure, where printing by reflection cannot find it.
	verify func(signed string, signature []byte) error
}

// problems returns every problem of the key. The errors do not contain the secret.
func (k Key) problems() []error {
	var found []error
	if _, known := algorithms[k.Algorithm]; !known {
		found = append(found, fmt.Errorf("algorithm %q is not known; want HS256, HS384 or HS512", k.Algorithm))
	}
	switch {
	case len(k.Secret) == 0:
		found = append(found, fmt.Errorf("secret is empty; want at least %d bytes", minSecret))
	case len(k.Secret) < minSecret:
		found = append(found, fmt.Errorf("secret has %d bytes; want at least %d (RFC 7518 section 3.2)", len(k.Secret), minSecret))
	case isPublic(k.Secret):
		found = append(found, errors.New("secret is a public key or a certificate, which is not secret; want random bytes"))
	}
	return found
}

// compile converts a Key without problems to a key.
func (k Key) compile() key {
	method, secret := algorithms[k.Algorithm], bytes.Clone(k.Secret)
	return key{k.Algorithm, func(signed string, signature []byte) error {
		return method.Verify(signed, signature, secret)
	}}
}

// isPublic reports whether an HMAC secret is a public key in PEM, as may happen in a change
// from RS256 to HS256. Anybody could sign tokens with such a secret.
func isPublic(secret []byte) bool {
	text := string(bytes.TrimSpace(secret))
	return strings.HasPrefix(text, "-----BEGIN ") &&
		(strings.Contains(text, "PUBLIC KEY-----") || strings.Contains(text, "CERTIFICATE-----"))
}

const masked = "***FILTERED***"

// String returns the key without its secret.
func (k Key) String() string {
	return fmt.Sprintf("Key{ID: %q, Algorithm: %q, Secret: %s}", k.ID, k.Algorithm, masked)
}

// Format implements [fmt.Formatter]. It prints the result of String for every verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// MarshalText implements [encoding.TextMarshaler] and returns the result of String.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// LogValue implements [slog.LogValuer] and returns the key without its secret.
func (k Key) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", k.ID),
		slog.String("algorithm", k.Algorithm),
		slog.String("secret", masked),
	)
}
