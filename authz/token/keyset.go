package token

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
)

// maxKeys is the greatest number of keys in a key set. It bounds the work for a token without
// kid, which is tried with every key that has none.
const maxKeys = 100

// A KeySet is what a JSON Web Key Set (RFC 7517) holds.
type KeySet struct {
	Keys []Key
	// Unused are the keys of the set that are for something else than signatures of tokens: for
	// encryption, or for an algorithm that is not wanted. Each says which key it is and why.
	Unused []string
	// Refused are the keys that must not be used, and why.
	Refused []string
}

// ParseKeySet reads a JSON Web Key Set, or a single key. algorithms are those that its keys may
// be for; empty means all with a public key. A key is for the one algorithm of its alg. A key
// without alg is for the one of algorithms that fits, or for RS256, the algorithm of its curve,
// or EdDSA if that list is empty.
//
// It returns an error for a text that is not a key set in strict JSON, and for a kid that two
// different keys have. No error contains the text.
func ParseKeySet(text []byte, algorithms []string) (KeySet, error) {
	members, wrong := parseObject(text)
	if wrong != "" {
		return KeySet{}, fmt.Errorf("is %s; want a JSON Web Key Set such as {\"keys\": [{\"kty\": \"RSA\", …}]}", wrongSet(wrong))
	}
	list, isSet := members.get("keys").array()
	switch {
	case members.shadows("keys"):
		return KeySet{}, errors.New("has keys in another case; want keys")
	case !isSet && members.get("keys") != "":
		return KeySet{}, errors.New("has keys that are no list; want a JSON Web Key Set such as {\"keys\": [{\"kty\": \"RSA\", …}]}")
	case !isSet && members.get("kty") != "":
		list = []value{value(bytes.TrimSpace(text))}
	case !isSet:
		return KeySet{}, errors.New("has no keys; want a JSON Web Key Set such as {\"keys\": [{\"kty\": \"RSA\", …}]}")
	case len(list) > maxKeys:
		return KeySet{}, fmt.Errorf("has %d keys; want at most %d", len(list), maxKeys)
	}
	var set KeySet
	seen := map[string]crypto.PublicKey{}
	for i, item := range list {
		j, found, err := readJWK(item, algorithms)
		name := fmt.Sprintf("key %d", i+1)
		if j.kid != "" {
			name += " (" + about("kid", j.kid).String() + ")"
		}
		switch unused, isUnused := errors.AsType[*unusedKey](err); {
		case isUnused:
			set.Unused = append(set.Unused, name+" "+unused.why)
			continue
		case err != nil:
			set.Refused = append(set.Refused, name+" "+err.Error())
			continue
		}
		if found.ID != "" {
			if first, twice := seen[found.ID]; twice {
				if same(first, found.Public) {
					continue // the same key under two entries
				}
				return KeySet{}, fmt.Errorf("has the %s twice, for different keys; want a different kid for each key", about("kid", found.ID))
			}
			seen[found.ID] = found.Public
		}
		set.Keys = append(set.Keys, found)
	}
	return set, nil
}

func wrongSet(wrong string) string {
	switch wrong {
	case notUTF8, notJSON, notObject:
		return wrong
	}
	return "JSON " + wrong
}

func same(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// An unusedKey is the error of a key that is for something else.
type unusedKey struct{ why string }

func (u *unusedKey) Error() string { return u.why }

func unused(format string, args ...any) error { return &unusedKey{fmt.Sprintf(format, args...)} }

// A jwk are the members that are read from a JSON Web Key.
type jwk struct {
	kty, kid, use, alg, crv string
	hasKID, hasAlg          bool
	members                 object
}

// privateMembers are the parameters of private keys (RFC 7518 sections 6.2.2 and 6.3.2, RFC 8037
// section 2).
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth"}

func readJWK(item value, algorithms []string) (jwk, Key, error) {
	members, wrong := item.object()
	if wrong != "" {
		return jwk{}, Key{}, errors.New("is " + wrong)
	}
	j := jwk{members: members}
	for _, m := range []struct {
		name    string
		text    *string
		present *bool
	}{
		{"kid", &j.kid, &j.hasKID},
		{"kty", &j.kty, new(bool)}, {"use", &j.use, new(bool)}, {"alg", &j.alg, &j.hasAlg}, {"crv", &j.crv, new(bool)},
	} {
		if members.shadows(m.name) {
			return j, Key{}, fmt.Errorf("has %s in another case", m.name)
		}
		found := members.get(m.name)
		if found == "" {
			continue
		}
		text, ok := found.text()
		if !ok {
			return j, Key{}, fmt.Errorf("has a %s that is not a string", m.name)
		}
		*m.text, *m.present = text, true
	}
	if err := j.purpose(); err != nil {
		return j, Key{}, err
	}
	for _, name := range privateMembers {
		if members.get(name) != "" {
			return j, Key{}, errors.New("is a private key, which must not be here: whoever can read it can sign tokens, so consider it lost; want public keys only")
		}
	}
	if j.hasKID && (j.kid == "" || j.kid == AnyKID) {
		return j, Key{}, fmt.Errorf("has the kid %q, which no token may have; want another one or none", j.kid)
	}
	public, err := j.public()
	if err != nil {
		return j, Key{}, err
	}
	kind, curve, err := kindOf(public)
	if err != nil {
		return j, Key{}, err
	}
	name, err := j.algorithm(kind, curve, algorithms)
	if err != nil {
		return j, Key{}, err
	}
	return j, Key{ID: j.kid, Algorithm: name, Public: public}, nil
}

// purpose returns an error if the key is not for verifying signatures.
func (j jwk) purpose() error {
	switch {
	case j.kty == "oct":
		return errors.New("is a symmetric key (kty oct), which must not be in a key set: whoever can read it can sign tokens; want a public key, or secret_file")
	case j.kty == "":
		return errors.New("has no kty; want RSA, EC or OKP")
	case j.kty != "RSA" && j.kty != "EC" && j.kty != "OKP":
		return unused("has another kty than RSA, EC and OKP")
	case j.members.get("use") != "" && j.use != "sig":
		return unused("has a use other than sig")
	}
	operations := j.members.get("key_ops")
	if operations == "" {
		return nil
	}
	list, ok := operations.array()
	if !ok {
		return errors.New("has key_ops that are no list")
	}
	if !slices.ContainsFunc(list, func(v value) bool { text, _ := v.text(); return text == "verify" }) {
		return unused("has key_ops without verify")
	}
	return nil
}

// algorithm returns the one algorithm that the key is for.
func (j jwk) algorithm(k kind, curve elliptic.Curve, wanted []string) (string, error) {
	if j.hasAlg {
		a, known := algorithmOf(j.alg)
		switch {
		case !known:
			return "", unused("has an alg that is not supported; want %s", algorithmList(PublicAlgorithms()))
		case len(wanted) > 0 && !slices.Contains(wanted, a.name):
			return "", unused("is for %s, which is not in algorithms", a.name)
		}
		return a.name, a.fits(k, curve)
	}
	var fitting []string
	for _, a := range algorithms {
		if (len(wanted) == 0 || slices.Contains(wanted, a.name)) && a.fits(k, curve) == nil {
			fitting = append(fitting, a.name)
		}
	}
	switch {
	case len(fitting) == 0:
		return "", unused("has no alg, and none of algorithms fits it")
	case len(fitting) > 1 && len(wanted) > 0:
		return "", fmt.Errorf("has no alg, and algorithms has %s for it; want one of them in algorithms", algorithmList(fitting))
	}
	return fitting[0], nil
}

// public returns the public key.
func (j jwk) public() (crypto.PublicKey, error) {
	switch j.kty {
	case "RSA":
		return j.rsa()
	case "EC":
		return j.ec()
	}
	if j.crv != "Ed25519" {
		return nil, unused("has another crv than Ed25519")
	}
	x, err := j.bytes("x", ed25519.PublicKeySize)
	return ed25519.PublicKey(x), err
}

func (j jwk) rsa() (crypto.PublicKey, error) {
	n, err := j.bytes("n", 0)
	if err != nil {
		return nil, err
	}
	e, err := j.bytes("e", 0)
	if err != nil {
		return nil, err
	}
	exponent := new(big.Int).SetBytes(e)
	if len(n) > maxRSABits/8+1 || exponent.BitLen() > strconv.IntSize-1 {
		return nil, fmt.Errorf("is an RSA key of more than %d bits or with too large an exponent", maxRSABits)
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}, nil
}

func (j jwk) ec() (crypto.PublicKey, error) {
	var curve elliptic.Curve
	switch j.crv {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	default:
		return nil, unused("has another crv than P-256, P-384 and P-521")
	}
	size := (curve.Params().BitSize + 7) / 8
	x, errX := j.bytes("x", size)
	y, errY := j.bytes("y", size)
	if err := cmp.Or(errX, errY); err != nil {
		return nil, err
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, errors.New("is a point that is not on its curve")
	}
	return public, nil
}

// bytes decodes a required member in base64url. size is its length if that is fixed.
func (j jwk) bytes(name string, size int) ([]byte, error) {
	text, ok := j.members.get(name).text()
	if !ok || text == "" {
		return nil, fmt.Errorf("has no %s", name)
	}
	decoded, err := base64.RawURLEncoding.DecodeString(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("has a %s that is not base64url", name)
	case size > 0 && len(decoded) != size:
		return nil, fmt.Errorf("has a %s of %d bytes; want %d", name, len(decoded), size)
	}
	return decoded, nil
}
