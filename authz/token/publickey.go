package token

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// ParsePublicKey reads the one public key in a PEM file: a public key (PKIX or PKCS #1) or a
// certificate, of which only the key counts. A private key is refused: warder needs none, so
// its file is in the wrong place. No error contains any text of the file.
func ParsePublicKey(text []byte) (crypto.PublicKey, error) {
	var found crypto.PublicKey
	keys := 0
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return nil, errors.New("contains a private key; want only the public key, as openssl pkey -in FILE -pubout prints it. Whoever could read this file can sign tokens, so consider the key lost")
		}
		if strings.HasSuffix(block.Type, "PARAMETERS") {
			continue // openssl ecparam writes them in front of a key
		}
		public, err := parseBlock(block)
		if err != nil {
			return nil, err
		}
		found = public
		keys++
	}
	switch {
	case keys == 1:
		_, _, err := kindOf(found)
		return found, err
	case keys > 1:
		return nil, fmt.Errorf("contains %d keys; want one, and another entry of keys for each further key", keys)
	case bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")):
		return nil, errors.New("is JSON and not PEM; a JWK or a set of them belongs in jwks_file")
	case isDER(text):
		return nil, errors.New("is DER; want PEM, as openssl pkey -pubin -inform DER -in FILE prints it")
	}
	return nil, errors.New("contains no public key; want PEM that begins with -----BEGIN PUBLIC KEY----- or -----BEGIN CERTIFICATE-----")
}

func parseBlock(block *pem.Block) (crypto.PublicKey, error) {
	switch block.Type {
	case "PUBLIC KEY":
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, errors.New("contains a PUBLIC KEY that cannot be read; want RSA, P-256, P-384, P-521 or Ed25519")
		}
		return public, nil
	case "RSA PUBLIC KEY":
		public, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err != nil {
			return nil, errors.New("contains an RSA PUBLIC KEY that cannot be read")
		}
		return public, nil
	case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("contains a CERTIFICATE that cannot be read")
		}
		return certificate.PublicKey, nil
	}
	return nil, errors.New("contains PEM of another kind than PUBLIC KEY, RSA PUBLIC KEY and CERTIFICATE")
}

// isDER reports whether a file begins as a key or a certificate in DER.
func isDER(text []byte) bool { return len(text) > 2 && text[0] == 0x30 && text[1] >= 0x20 }
