package policytest

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"slices"
	"strings"

	"warder/authz/token"
	"warder/policy/strict"
)

// A Signer is a private key that signs tokens in a file of cases. It protects nothing.
type Signer struct {
	PrivateKey string `json:"private_key"` // PKCS #8 in PEM

	private crypto.Signer
	public  string // in PEM
}

// completeSigners reads the private keys, and fills in the algorithms of the keys.
func (f *File) completeSigners(report func(field, format string, args ...any)) {
	for _, name := range slices.Sorted(maps.Keys(f.Signers)) {
		if s := f.Signers[name]; s == nil || !s.read() {
			report("signers."+name+".private_key", "is no private key in PEM (PKCS #8), as openssl genpkey prints it")
			f.Signers[name] = &Signer{}
		}
	}
	f.completeKeys("config.jwt.keys", f.Config.JWT.Keys, report)
	for i, is := range f.Config.JWT.Issuers {
		f.completeKeys(strict.Index("config.jwt.issuers", i)+".keys", is.Keys, report)
	}
}

func (s *Signer) read() bool {
	block, _ := pem.Decode([]byte(s.PrivateKey))
	if block == nil {
		return false
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return false
	}
	private, ok := key.(crypto.Signer)
	if !ok {
		return false
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return false
	}
	s.private, s.public = private, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return true
}

func (f *File) completeKeys(field string, keys []Key, report func(field, format string, args ...any)) {
	for i := range keys {
		k := &keys[i]
		signer, known := f.Signers[k.Signer]
		switch {
		case k.Signer == "":
			k.Algorithm = cmp.Or(k.Algorithm, "HS256")
		case !known:
			report(field, "%q is none of the file's signers", k.Signer)
		case k.Algorithm == "" && signer.private != nil:
			k.Algorithm = token.DefaultAlgorithm(signer.private.Public())
		}
	}
}

// tokenKeys returns the keys as the verifier has them.
func (f *File) tokenKeys(keys []Key) (out []token.Key) {
	for _, k := range keys {
		made := token.Key{ID: k.ID, Algorithm: k.Algorithm, Secret: []byte(k.Secret)}
		if s := f.Signers[k.Signer]; s != nil && s.private != nil {
			made.Public, made.Secret = s.private.Public(), nil
		}
		out = append(out, made)
	}
	return out
}

// signingKey returns the key that a token is signed with: the first one of a signer, or of the
// file.
func (f *File) signingKey(signer string) Key {
	if signer == "" {
		return f.Config.JWT.Keys[0]
	}
	keys := f.Config.JWT.Keys
	for _, is := range f.Config.JWT.Issuers {
		keys = slices.Concat(keys, is.Keys)
	}
	if i := slices.IndexFunc(keys, func(k Key) bool { return k.Signer == signer }); i >= 0 {
		return keys[i]
	}
	k := Key{Signer: signer} // of nobody
	if s := f.Signers[signer]; s.private != nil {
		k.Algorithm = token.DefaultAlgorithm(s.private.Public())
	}
	return k
}

// PublicKey returns the public key of a signer, in PEM.
func (f *File) PublicKey(signer string) string { return f.Signers[signer].public }

// withPublicKeys replaces {public_key:NAME} in a secret.
func (f *File) withPublicKeys(secret string) string {
	for name, s := range f.Signers {
		secret = strings.ReplaceAll(secret, "{public_key:"+name+"}", s.public)
	}
	return secret
}
