package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// A kind is what a key is: a secret, or the type of a public key.
type kind int

const (
	kindNone kind = iota
	kindSecret
	kindRSA
	kindEC
	kindEd25519
)

// String returns the kind as errors name it.
func (k kind) String() string {
	switch k {
	case kindSecret:
		return "a secret"
	case kindRSA:
		return "an RSA key"
	case kindEC:
		return "an elliptic curve key"
	case kindEd25519:
		return "an Ed25519 key"
	default:
		return "no key"
	}
}

// An algorithm is how signatures are checked, and the keys that fit.
type algorithm struct {
	name   string
	method jwt.SigningMethod
	kind   kind
	curve  elliptic.Curve // of kindEC
}

// algorithms are the supported algorithms. Others that golang-jwt registers, such as none,
// cannot be selected. The first that fits a public key is its default.
var algorithms = []algorithm{
	{"HS256", jwt.SigningMethodHS256, kindSecret, nil},
	{"HS384", jwt.SigningMethodHS384, kindSecret, nil},
	{"HS512", jwt.SigningMethodHS512, kindSecret, nil},
	{"RS256", jwt.SigningMethodRS256, kindRSA, nil},
	{"RS384", jwt.SigningMethodRS384, kindRSA, nil},
	{"RS512", jwt.SigningMethodRS512, kindRSA, nil},
	{"PS256", saltOfHash(jwt.SigningMethodPS256), kindRSA, nil},
	{"PS384", saltOfHash(jwt.SigningMethodPS384), kindRSA, nil},
	{"PS512", saltOfHash(jwt.SigningMethodPS512), kindRSA, nil},
	{"ES256", jwt.SigningMethodES256, kindEC, elliptic.P256()},
	{"ES384", jwt.SigningMethodES384, kindEC, elliptic.P384()},
	{"ES512", jwt.SigningMethodES512, kindEC, elliptic.P521()},
	{"EdDSA", jwt.SigningMethodEdDSA, kindEd25519, nil},
}

// saltOfHash returns a PSS method that accepts only a salt as long as the hash, as RFC 7518
// section 3.5 has it. The method of golang-jwt accepts a salt of any length.
func saltOfHash(m *jwt.SigningMethodRSAPSS) *jwt.SigningMethodRSAPSS {
	strict := *m
	strict.VerifyOptions = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
	return &strict
}

func algorithmOf(name string) (algorithm, bool) {
	i := slices.IndexFunc(algorithms, func(a algorithm) bool { return a.name == name })
	if i < 0 {
		return algorithm{}, false
	}
	return algorithms[i], true
}

// Algorithms returns the names of the supported algorithms.
func Algorithms() []string {
	names := make([]string, len(algorithms))
	for i, a := range algorithms {
		names[i] = a.name
	}
	return names
}

// PublicAlgorithms returns the names of the supported algorithms with a public key.
func PublicAlgorithms() []string {
	return slices.DeleteFunc(Algorithms(), func(name string) bool { return strings.HasPrefix(name, "HS") })
}

// Limits of RSA keys. RFC 7518 section 3.3 requires 2048 bits. The others bound the work of a
// check, and are those of TLS and of package rsa.
const (
	minRSABits     = 2048
	maxRSABits     = 8192
	maxRSAExponent = 1<<31 - 1
)

// kindOf returns the kind of a public key and what is wrong with the key itself.
func kindOf(public crypto.PublicKey) (kind, elliptic.Curve, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return kindRSA, nil, checkRSA(k)
	case *ecdsa.PublicKey:
		if _, err := k.Bytes(); err != nil { // the point is not on the curve, or is infinity
			return kindEC, nil, errors.New("the point is not on the curve")
		}
		return kindEC, k.Curve, nil
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return kindEd25519, nil, fmt.Errorf("an Ed25519 key has %d bytes, not %d", ed25519.PublicKeySize, len(k))
		}
		return kindEd25519, nil, nil
	}
	return kindNone, nil, errors.New("the type of the public key is not supported; want RSA, P-256, P-384, P-521 or Ed25519")
}

func checkRSA(k *rsa.PublicKey) error {
	switch bits := k.N.BitLen(); {
	case bits < minRSABits:
		return fmt.Errorf("the RSA key has %d bits; want at least %d (RFC 7518 section 3.3)", bits, minRSABits)
	case bits > maxRSABits:
		return fmt.Errorf("the RSA key has %d bits; want at most %d", bits, maxRSABits)
	case k.N.Bit(0) == 0:
		return errors.New("the modulus of the RSA key is even, so it is no product of two primes")
	case k.E < 3 || k.E%2 == 0 || k.E > maxRSAExponent:
		return fmt.Errorf("the exponent of the RSA key is %d; want an odd one of 3 or more, usually 65537", k.E)
	case isROCA(k.N):
		return errors.New("the RSA key is of the weak kind ROCA (CVE-2017-15361), whose private key can be computed; make a new one")
	}
	return nil
}

// fits returns an error unless a key of that kind and curve can be used with the algorithm.
func (a algorithm) fits(k kind, curve elliptic.Curve) error {
	switch {
	case a.kind != k:
		return fmt.Errorf("algorithm %s is for %s, and this is %s", a.name, a.kind, k)
	case a.kind == kindEC && a.curve != curve:
		return fmt.Errorf("algorithm %s is for the curve %s, and this key is on %s", a.name, a.curve.Params().Name, curve.Params().Name)
	}
	return nil
}

// DefaultAlgorithm returns the algorithm that a public key is used with when none is named:
// RS256, that of the curve, or EdDSA. It returns "" if no algorithm fits.
func DefaultAlgorithm(public crypto.PublicKey) string {
	k, curve, err := kindOf(public)
	if err != nil {
		return ""
	}
	for _, a := range algorithms {
		if a.fits(k, curve) == nil {
			return a.name
		}
	}
	return ""
}
