package token

import (
	"encoding/base64"
	"strings"
)

// maxLength is the greatest length of a token, in bytes: what Envoy passes on by default
// (max_request_headers_kb).
const maxLength = 60 << 10

// tooLong is the detail of a longer token. A test compares the number with maxLength.
const tooLong = "token longer than 61440 bytes"

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
	if len(token) > maxLength {
		return compact{}, reject(ErrMalformed, tooLong)
	}
	// The decoder ignores CR and LF, even in strict mode.
	if strings.ContainsAny(token, "\r\n") {
		return compact{}, reject(ErrMalformed, "token with a line end")
	}
	head, rest, ok := strings.Cut(token, ".")
	payload, signature, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || strings.Contains(signature, ".") {
		return compact{}, reject(ErrMalformed, "token not three segments")
	}
	c := compact{signed: token[:len(head)+1+len(payload)]}
	for _, part := range []struct {
		text    string
		decoded *[]byte
		empty   string
		other   string
	}{
		{head, &c.header, "header empty", "header not base64url"},
		{payload, &c.payload, "payload empty", "payload not base64url"},
		{signature, &c.signature, "signature empty", "signature not base64url"},
	} {
		decoded, err := base64url.DecodeString(part.text)
		switch {
		case err != nil:
			return compact{}, reject(ErrMalformed, part.other)
		case len(decoded) == 0:
			return compact{}, reject(ErrMalformed, part.empty)
		}
		*part.decoded = decoded
	}
	return c, nil
}

var base64url = base64.RawURLEncoding.Strict()

// payloadOf returns the payload of a verified token.
func payloadOf(token string) (string, error) {
	_, rest, _ := strings.Cut(token, ".")
	text, _, _ := strings.Cut(rest, ".")
	payload, err := base64url.DecodeString(text)
	if err != nil {
		return "", reject(ErrMalformed, "payload not base64url") // verified tokens have a good one
	}
	return string(payload), nil
}
