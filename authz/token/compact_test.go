package token_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"warder/authz/token"
)

// mac signs two segments as they are, whether canonical or not.
func mac(segments string) string {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(segments))
	return segments + "." + encode(string(m.Sum(nil)))
}

// TP-09: only the canonical encoding of a token is accepted. All of these have a valid
// signature of their text.
func TestVerifyCompactForm(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, token.Config{})
	h, c := encode(`{"alg":"HS256"}`), encode(goodClaims+" ")
	good := mac(h + "." + c)
	signature := good[strings.LastIndex(good, ".")+1:]
	// With one byte more than a multiple of three, the last character has four unused bits.
	// With two bytes more it has two.
	c1, c2 := encode(pad(1)), encode(pad(2))
	for _, test := range []struct {
		want error
		text string
	}{
		{nil, good},
		{nil, mac(h + "." + c1)},
		{nil, mac(h + "." + c2)},

		{token.ErrMalformed, ""},
		{token.ErrMalformed, "."},
		{token.ErrMalformed, ".."},
		{token.ErrMalformed, "..."},
		{token.ErrMalformed, h},
		{token.ErrMalformed, h + "." + c},
		{token.ErrMalformed, h + "." + c + "."},
		{token.ErrMalformed, "." + c + "." + signature},
		{token.ErrMalformed, h + ".." + signature},
		{token.ErrMalformed, mac(".")},
		{token.ErrMalformed, mac(h + ".")},
		{token.ErrMalformed, mac("." + c)},
		{token.ErrMalformed, mac(h + "." + c + ".")},
		{token.ErrMalformed, good + "."},
		{token.ErrMalformed, good + ".AA"},
		{token.ErrMalformed, good + "." + c + "." + signature}, // five segments, as in a JWE
		{token.ErrMalformed, "." + good},
		{token.ErrMalformed, `{"protected":"` + h + `","payload":"` + c + `","signature":"` + signature + `"}`},
		{token.ErrMalformed, "null"},

		// Characters that some decoders skip or take for others.
		{token.ErrMalformed, good + "\n"},
		{token.ErrMalformed, good + "\r\n"},
		{token.ErrMalformed, "\n" + good},
		{token.ErrMalformed, mac(h + "\n." + c)},
		{token.ErrMalformed, mac(h + ".\r" + c)},
		{token.ErrMalformed, mac(h[:4] + "\r\n" + h[4:] + "." + c)},
		{token.ErrMalformed, h + "." + c + "." + signature[:4] + "\n" + signature[4:]},
		{token.ErrMalformed, good + "="},
		{token.ErrMalformed, good + "=="},
		{token.ErrMalformed, mac(h + "." + c1 + "==")},
		{token.ErrMalformed, mac(h + "=." + c)},
		{token.ErrMalformed, mac(h + "." + c + " ")},
		{token.ErrMalformed, mac(" " + h + "." + c)},
		{token.ErrMalformed, mac(h + "\x00." + c)},
		{token.ErrMalformed, mac(h + "?." + c)},
		{token.ErrMalformed, mac(h + "\xff." + c)},
		{token.ErrMalformed, mac("%65" + h[1:] + "." + c)},
		{token.ErrMalformed, "Bearer " + good},

		// The unused bits of the last character must be zero.
		{token.ErrMalformed, mac(h + "." + successor(c1))},
		{token.ErrMalformed, mac(h + "." + successor(c2))},
		{token.ErrMalformed, successor(good)},
		{token.ErrMalformed, mac(h + "." + c + "A")}, // a single character encodes no byte

		// A truncated or extended signature.
		{token.ErrSignature, h + "." + c + ".AA"},
		{token.ErrSignature, h + "." + c + "." + signature[:len(signature)-3]},
		{token.ErrSignature, h + "." + c + "." + encode(strings.Repeat("a", 33))},
	} {
		check(t, v, test.text, test.text, test.want)
	}
}

// The standard base64 alphabet is rejected.
func TestVerifyBase64Alphabet(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, token.Config{})
	h := encode(`{"alg":"HS256"}`)
	for _, claim := range []string{"???", "~~~", ">>>"} {
		for shift := range 3 {
			claims := fmt.Sprintf(`{"x":"%s%s",%s`, strings.Repeat(" ", shift), claim, goodClaims[1:])
			std := base64.RawStdEncoding.EncodeToString([]byte(claims))
			check(t, v, claims, mac(h+"."+encode(claims)), nil)
			if std != encode(claims) {
				check(t, v, std, mac(h+"."+std), token.ErrMalformed)
			}
		}
	}
}

func TestVerifyLength(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, token.Config{})
	const longest = 61440
	sized := func(length int) string {
		fill := (length - len(hs256(goodHeader, goodClaims))) * 3 / 4
		for ; ; fill++ {
			text := hs256(goodHeader, goodClaims+strings.Repeat(" ", fill))
			if len(text) >= length {
				return text
			}
		}
	}
	if got := len(sized(longest)); got != longest {
		t.Fatalf("made a token of %d bytes", got)
	}
	check(t, v, "61440 bytes", sized(longest), nil)
	for _, length := range []int{longest + 1, 10 << 20} {
		_, err := v.Verify(sized(length), now)
		if got := detailOf(t, err); !errors.Is(err, token.ErrMalformed) || got != "token longer than 61440 bytes" {
			t.Errorf("%d bytes: %v, %q", length, err, got)
		}
	}
}

// pad returns good claims with the given length modulo three.
func pad(over int) string {
	claims := goodClaims
	for len(claims)%3 != over {
		claims += " "
	}
	return claims
}

// successor replaces the last character of the text with the next one of the alphabet. If the
// last character has unused bits, a lenient decoder returns the same bytes.
func successor(text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, text[len(text)-1])
	other := text[:len(text)-1] + string(alphabet[last+1])
	segment := func(text string) []byte {
		decoded, _ := base64.RawURLEncoding.DecodeString(text[strings.LastIndex(text, ".")+1:])
		return decoded
	}
	if !bytes.Equal(segment(other), segment(text)) {
		panic("not another spelling of the same bytes")
	}
	return other
}
