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

// minSecret is the least length of an HMAC secret, in bytes: RFC 7518 section 3.2
// wants as much as HS256 puts out.
const minSecret = 32

// A Key verifies tokens of one algorithm. It prints without its secret.
type Key struct {
	ID        string // the kid that selects it; "" for tokens without a kid
	Algorithm string // HS256, HS384 or HS512
	Secret    []byte // at least 32 bytes
}

// algorithms are those that a key can have. The list is closed: what golang-jwt
// registers besides (none among it) cannot be reached by name.
var algorithms = map[string]jwt.SigningMethod{
	"HS256": jwt.SigningMethodHS256,
	"HS384": jwt.SigningMethodHS384,
	"HS512": jwt.SigningMethodHS512,
}

// A key is a Key that can be used.
type key struct {
	algorithm string
	// verify reports an error unless the signature fits. It holds the secret,
	// where no printing by reflection finds it, and compares in constant time.
	verify func(signed string, signature []byte) error
}

// problems returns all that is wrong with a key, without its secret.
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
		found = append(found, errors.New("secret is a public key or a certificate, which anybody may hold; want random bytes"))
	}
	return found
}

// compile makes a key that has no problems ready for use.
func (k Key) compile() key {
	method, secret := algorithms[k.Algorithm], bytes.Clone(k.Secret)
	return key{k.Algorithm, func(signed string, signature []byte) error {
		return method.Verify(signed, signature, secret)
	}}
}

// isPublic reports whether an HMAC secret is the text of a public key: whoever
// moves from RS256 to HS256 without a new key lets everybody sign.
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

// Format implements [fmt.Formatter] and prints what String returns, whatever
// the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// MarshalText makes JSON and other encoders print what String returns.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// LogValue makes slog print the key without its secret.
func (k Key) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", k.ID),
		slog.String("algorithm", k.Algorithm),
		slog.String("secret", masked),
	)
}
