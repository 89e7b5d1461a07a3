package token

import (
	"encoding/base64"
	"strings"
)

// maxLength bounds a token's text, in bytes.
const maxLength = 8 << 10

// A compact is a JWS in compact form (RFC 7515 section 7.1), decoded.
type compact struct {
	signed    string // the text that is signed: the first two segments and their dot
	header    []byte
	payload   []byte
	signature []byte // never empty
}

// splitCompact takes a token apart. Each segment has one spelling only: no
// padding, no white space, and no bits in the last character that decode to
// nothing. Otherwise one signature would fit many texts.
func splitCompact(token string) (compact, error) {
	// The decoder skips CR and LF wherever they stand, even when it is strict.
	if len(token) > maxLength || strings.ContainsAny(token, "\r\n") {
		return compact{}, ErrMalformed
	}
	head, rest, ok := strings.Cut(token, ".")
	payload, signature, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 {
		return compact{}, ErrMalformed
	}
	c := compact{signed: token[:len(head)+1+len(payload)]}
	for _, part := range []struct {
		text    string
		decoded *[]byte
	}{
		{head, &c.header},
		{payload, &c.payload},
		{signature, &c.signature}, // a dot in it is no base64url
	} {
		decoded, err := base64url.DecodeString(part.text)
		if err != nil || len(decoded) == 0 {
			return compact{}, ErrMalformed
		}
		*part.decoded = decoded
	}
	return c, nil
}

var base64url = base64.RawURLEncoding.Strict()
