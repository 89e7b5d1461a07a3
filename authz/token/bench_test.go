package token_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"warder/authz/token"
)

// usualClaims has the typical size of an application's claims.
const usualClaims = `{"iss":"https://id.example","aud":"api","sub":"42","jti":"01J9Z3N5T8Q2W4E6R8T0Y2U4I6",` +
	`"iat":1799999000,"nbf":1799999000,"exp":1800000900,"type":"access","email":"someone@example.com","roles":["USER","CONTROL"]}`

// TestVerifyAllocations bounds the allocations for a token. There were 28 when the bound was
// written.
func TestVerifyAllocations(t *testing.T) {
	const most = 40
	v := newVerifier(t, token.Config{Issuer: "https://id.example", Audiences: []string{"api"}})
	text := hs256(goodHeader, usualClaims)
	got := testing.AllocsPerRun(100, func() {
		if _, err := v.Verify(text, now); err != nil {
			t.Fatal(err)
		}
	})
	if got > most {
		t.Errorf("%v allocations; want at most %d", got, most)
	}
}

func BenchmarkVerify(b *testing.B) {
	v := newVerifier(b, token.Config{Issuer: "https://id.example", Audiences: []string{"api"}})
	var names strings.Builder
	for i := range 650 {
		fmt.Fprintf(&names, `"%x":1,`, i)
	}
	for _, bench := range []struct {
		name string
		want error
		text string
	}{
		{"usual", nil, hs256(goodHeader, usualClaims)},
		{"forged", token.ErrSignature, sign(sha256.New, secret2, goodHeader, usualClaims)},
		{"deep", token.ErrClaims, hs256(goodHeader, `{"exp":1900000000,"x":[`+strings.Repeat(strings.Repeat("[", 14)+strings.Repeat("]", 14)+",", 190)+`0]}`)},
		{"members", token.ErrClaims, hs256(goodHeader, `{`+names.String()+`"exp":1900000000}`)},
		{"garbage", token.ErrMalformed, strings.Repeat("A", 8192)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(bench.text, now); !errors.Is(err, bench.want) {
					b.Fatalf("got %v, want %v", err, bench.want)
				}
			}
		})
	}
}
