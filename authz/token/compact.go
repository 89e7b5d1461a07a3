package token

import (
	"encoding/base64"
	"strings"
)

// maxLength is the greatest length of a token, in bytes.
const maxLength = 8 << 10

// A compact is a decoded JWS in compact serialization (RFC 7515 section 7.1).
type compact struct {
	signed    string // the JWS signing input: the first two segments with the dot
	header    []byte
	payload   []byte
	signature []byte // never empty
}

// splitCompact decodes the segments of a token. It accepts only their canonical encoding:
// without padding and white space, and with zero trailing bits. Otherwise several texts
// would be the same token.
func splitCompact(token string) (compact, error) {
	// The decoder ignores CR and LF, even in strict mode.
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
		{signature, &c.signature}, // a third dot is not base64url
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
