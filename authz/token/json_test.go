package token_test

import (
	"strings"
	"testing"

	"warder/authz/token"
)

// All tokens have a valid signature and the required claims. The row's text is inserted.
func TestVerifyJSON(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, token.Config{})
	nested := func(depth int) string { // nested arrays; depth 1 is inside the claims
		return `,"x":` + strings.Repeat("[", depth) + strings.Repeat("]", depth)
	}
	for _, test := range []struct {
		want error
		more string // text after the last member of the claims
	}{
		{nil, ``},
		{nil, `,"x":"a\u0000b","x\u0000":1`},
		{nil, `,"x":{"a":1,"b":[true,false,null,"s",-1.5e3,{}]}`},
		{nil, `,"x":{"sub":"1"},"y":{"sub":"2"},"z":[{"sub":"3"},{"sub":"4"}]`}, // same name, other objects
		{nil, `,"x":"\"\\\/\b\f\n\r\t","y":"\u00e9\ud83d\ude00 \uD83D\uDE00 \\ud800"`},
		{nil, ",\"x\":\"\u00e9\U0001F600\ufffd\""},
		{nil, nested(15)},

		// Duplicates, at any depth and with escapes.
		{token.ErrMalformed, `,"sub":"42"`},
		{token.ErrMalformed, `,"sub":"43"`},
		{token.ErrMalformed, `,"exp":1800000060`},
		{token.ErrMalformed, `,"EXP":1900000000`},
		{token.ErrMalformed, `,"Sub":"1"`},
		{token.ErrMalformed, `,"\u0073ub":"1"`},
		{token.ErrMalformed, `,"\u0053ub":"1"`},
		{token.ErrMalformed, ",\"\u017fub\":\"1\""}, // the long s
		{token.ErrMalformed, `,"\u017fub":"1"`},
		{token.ErrMalformed, ",\"\u212a\":1,\"k\":1"}, // the kelvin sign
		{token.ErrMalformed, ",\"\u00c9\":1,\"\u00e9\":1"},
		{token.ErrMalformed, ",\"\u03c3\":1,\"\u03c2\":1"}, // both sigmas
		{token.ErrMalformed, `,"":1,"":2`},
		{token.ErrMalformed, `,"x":{"a":1,"a":1}`},
		{token.ErrMalformed, `,"x":{"a":1,"A":1}`},
		{token.ErrMalformed, `,"x":[[{"y":{"a":1,"b":{},"a":1}}]]`},

		// Text that decoders repair.
		{token.ErrMalformed, ",\"x\":\"\xff\""},
		{token.ErrMalformed, ",\"x\":\"\xc0\xaf\""},
		{token.ErrMalformed, ",\"x\":\"\xed\xa0\x80\""},
		{token.ErrMalformed, ",\"\xff\":1"},
		{token.ErrMalformed, ",\"sub\xc3\":1"},
		{token.ErrMalformed, `,"x":"\ud800"`},
		{token.ErrMalformed, `,"x":"\uD800a"`},
		{token.ErrMalformed, `,"x":"\udc00"`},
		{token.ErrMalformed, `,"x":"\ude00\ud83d"`},
		{token.ErrMalformed, `,"x":"\ud83d\ud83d"`},
		{token.ErrMalformed, `,"x":"\ud83d\n"`},
		{token.ErrMalformed, `,"x":"\ud83d\u0041"`},
		{token.ErrMalformed, `,"x":"\\\ud800"`},
		{token.ErrMalformed, `,"\udFFF":1`},

		// Not JSON (RFC 8259).
		{token.ErrMalformed, `,`},
		{token.ErrMalformed, `,"x"`},
		{token.ErrMalformed, `,"x":`},
		{token.ErrMalformed, `,"x":01`},
		{token.ErrMalformed, `,"x":+1`},
		{token.ErrMalformed, `,"x":.5`},
		{token.ErrMalformed, `,"x":1.`},
		{token.ErrMalformed, `,"x":0x10`},
		{token.ErrMalformed, `,"x":1_0`},
		{token.ErrMalformed, `,"x":NaN`},
		{token.ErrMalformed, `,"x":Infinity`},
		{token.ErrMalformed, `,"x":True`},
		{token.ErrMalformed, `,"x":[1 2]`},
		{token.ErrMalformed, `,"x":[1,]`},
		{token.ErrMalformed, `,"x":{"a" 1}`},
		{token.ErrMalformed, `,"x":{"a":1 "b":2}`},
		{token.ErrMalformed, `,"x":'a'`},
		{token.ErrMalformed, `,x:1`},
		{token.ErrMalformed, `,1:1`},
		{token.ErrMalformed, `/**/`},
		{token.ErrMalformed, ",\"x\":\"\t\""},
		{token.ErrMalformed, ",\"x\":\"\x00\""},
		{token.ErrMalformed, `,"x":"\x41"`},
		{token.ErrMalformed, `,"x":"\u12"`},
		{token.ErrMalformed, `,"x":"`},
		{token.ErrMalformed, `}`},
		{token.ErrMalformed, `}{`},
		{token.ErrMalformed, `},{"x":1`},
		{token.ErrMalformed, nested(16)},
		{token.ErrMalformed, nested(2000)},
		{token.ErrMalformed, `,"x":` + strings.Repeat(`{"a":`, 16) + "1" + strings.Repeat("}", 16)},
		{token.ErrMalformed, `,"x":` + strings.Repeat("[", 2000)},
	} {
		claims := strings.TrimSuffix(goodClaims, "}") + test.more + "}"
		check(t, v, claims, hs256(goodHeader, claims), test.want)
	}
}

// The header and the claims must each be one JSON object.
func TestVerifyJSONObject(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, token.Config{})
	for _, shape := range []string{
		`%`, ` % `,
	} {
		check(t, v, shape, hs256(strings.Replace(shape, "%", goodHeader, 1), goodClaims), nil)
		check(t, v, shape, hs256(goodHeader, strings.Replace(shape, "%", goodClaims, 1)), nil)
	}
	for _, shape := range []string{
		` `, `null`, `true`, `1`, `"%"`, `[%]`, `[]`, `%%`, `% %`, `%,`, `%x`, `% null`, `%}`, `{%`, `{`, "%\x00", "\x00%", "\ufeff%", "%\v", "%\u00a0",
	} {
		check(t, v, shape+" as header", hs256(strings.ReplaceAll(shape, "%", goodHeader), goodClaims), token.ErrMalformed)
		check(t, v, shape+" as claims", hs256(goodHeader, strings.ReplaceAll(shape, "%", goodClaims)), token.ErrMalformed)
	}
	// An empty object is well-formed.
	check(t, v, "empty header", hs256(`{}`, goodClaims), token.ErrAlgorithm)
	check(t, v, "empty claims", hs256(goodHeader, `{}`), token.ErrClaims)
}
