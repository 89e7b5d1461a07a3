package token

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// minSecret is the least length of an HMAC secret, in bytes. It is the length of the HS256
// output, which RFC 7518 section 3.2 requires for HS256. For HS384 and HS512 the RFC requires
// more (48 and 64 bytes), which is not enforced.
const minSecret = 32

// AnyKID is the ID of keys for tokens that no other key is for, whatever their kid.
const AnyKID = "*"

// A Key verifies tokens with one algorithm. It has a secret or a public key. It prints without
// its secret.
type Key struct {
	ID        string           // the kid that selects the key; "" for tokens without a kid, or AnyKID
	Algorithm string           // one of Algorithms
	Secret    []byte           // for HS256, HS384 and HS512: at least 32 bytes
	Public    crypto.PublicKey // for the others: see ParsePublicKey and ParseKeySet
	Source    string           // the key of the configuration that it is from, for errors; "" means its place in the list
}

// A key is a checked Key that is ready for use.
type key struct {
	algorithm string
	// verify returns an error unless the signature is valid. An HMAC is compared in constant
	// time. The secret is in a closure, where printing by reflection cannot find it.
	verify func(signed string, signature []byte) error
}

// problems returns every problem of the key. The errors do not contain the secret.
func (k Key) problems() []error {
	var found []error
	a, known := algorithmOf(k.Algorithm)
	if !known {
		found = append(found, fmt.Errorf("algorithm %q is not known; want %s", k.Algorithm, algorithmList(Algorithms())))
	}
	switch {
	case k.Public != nil && len(k.Secret) > 0:
		found = append(found, errors.New("has a secret and a public key; want one of the two"))
	case k.Public != nil:
		found = append(found, k.publicProblems(a, known)...)
	default:
		found = append(found, k.secretProblems(a, known)...)
	}
	return found
}

func (k Key) publicProblems(a algorithm, known bool) []error {
	kind, curve, err := kindOf(k.Public)
	if err == nil && known {
		err = a.fits(kind, curve)
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

func (k Key) secretProblems(a algorithm, known bool) []error {
	switch {
	case known && a.kind != kindSecret:
		return []error{fmt.Errorf("algorithm %s needs a public key; want public_key_file or jwks_file", a.name)}
	case len(k.Secret) == 0:
		return []error{fmt.Errorf("secret is empty; want at least %d bytes", minSecret)}
	case len(k.Secret) < minSecret:
		return []error{fmt.Errorf("secret has %d bytes; want at least %d (RFC 7518 section 3.2)", len(k.Secret), minSecret)}
	case isPublic(k.Secret):
		return []error{errors.New("secret is a public key or a certificate, which is not secret; want random bytes")}
	}
	return nil
}

// algorithmList returns names as a list in words.
func algorithmList(names []string) string {
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// compile converts a Key without problems to a key.
func (k Key) compile() key {
	a, _ := algorithmOf(k.Algorithm)
	material := k.Public
	if material == nil {
		material = bytes.Clone(k.Secret)
	}
	return key{a.name, func(signed string, signature []byte) error {
		return a.method.Verify(signed, signature, material)
	}}
}

// isPublic reports whether an HMAC secret is a public key, in PEM, in DER, as the base64 of a
// PEM file, or as a JWK or a set of them, as may happen in a change between RS256 and HS256.
// Anybody could sign tokens with such a secret.
func isPublic(secret []byte) bool {
	trimmed := bytes.TrimSpace(secret)
	text := string(trimmed)
	if strings.HasPrefix(text, "-----BEGIN ") {
		return strings.Contains(text, "PUBLIC KEY-----") || strings.Contains(text, "CERTIFICATE-----")
	}
	if json.Valid(trimmed) && strings.Contains(text, `"kty"`) && !strings.Contains(text, `"oct"`) {
		return true
	}
	der := secret
	if decoded, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err == nil {
		der = decoded
	}
	if _, err := x509.ParsePKIXPublicKey(der); err == nil {
		return true
	}
	if _, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return true
	}
	_, err := x509.ParseCertificate(der)
	return err == nil
}

const masked = "***FILTERED***"

// String returns the key without its secret.
func (k Key) String() string {
	name, shown := k.shown()
	return fmt.Sprintf("Key{ID: %q, Algorithm: %q, %s: %s}", k.ID, k.Algorithm, name, shown)
}

// shown returns the name of what the key has, and what is printed of it.
func (k Key) shown() (name, shown string) {
	if k.Public == nil {
		return "Secret", masked
	}
	kind, _, _ := kindOf(k.Public)
	return "Public", kind.String()
}

// Format implements [fmt.Formatter]. It prints the result of String for every verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// MarshalText implements [encoding.TextMarshaler] and returns the result of String.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// LogValue implements [slog.LogValuer] and returns the key without its secret.
func (k Key) LogValue() slog.Value {
	name, shown := k.shown()
	return slog.GroupValue(
		slog.String("id", k.ID),
		slog.String("algorithm", k.Algorithm),
		slog.String(strings.ToLower(name), shown),
	)
}
