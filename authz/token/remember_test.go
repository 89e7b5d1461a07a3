package token_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"warder/authz/token"
)

// A cached token is checked against the clock each time, and no other text is taken for it.
func TestRemembered(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, token.Config{Remember: 1 << 20, Leeway: 10 * time.Second})
	claims := func(from string) string {
		return fmt.Sprintf(`{"sub":"42","jti":"s-1",%s"exp":%d}`, from, now.Unix()+60)
	}
	for _, from := range []string{fmt.Sprintf(`"nbf":%d,`, now.Unix()), fmt.Sprintf(`"iat":%d,`, now.Unix()), fmt.Sprintf(`"nbf":%d,"iat":%d,`, now.Unix()-100, now.Unix())} {
		text := hs256(goodHeader, claims(from))
		for _, row := range []struct {
			want error
			at   time.Duration
		}{
			{nil, 0}, // from here on it is cached
			{nil, 69 * time.Second},
			{token.ErrExpired, 70 * time.Second},
			{nil, -10 * time.Second},
			{token.ErrNotYetValid, -11 * time.Second}, // a clock that was set back
			{token.ErrExpired, time.Hour},
			{nil, time.Second},
		} {
			got, err := v.Verify(text, now.Add(row.at))
			if !errors.Is(err, row.want) {
				t.Errorf("%s at %v: %v, want %v", from, row.at, err, row.want)
			}
			if row.want == nil && (got.UserID != "42" || got.SessionID != "s-1") || row.want != nil && got != (token.Claims{}) {
				t.Errorf("%s at %v: %+v", from, row.at, got)
			}
		}
		for i := range len(text) {
			other := text[:i] + string(rune('A'+(text[i]+1)%26)) + text[i+1:]
			if other == text {
				continue
			}
			if _, err := v.Verify(other, now); err == nil {
				t.Errorf("with another byte %d it is accepted", i)
			}
		}
		for _, other := range []string{text + "A", text[:len(text)-1], strings.ToUpper(text), text + "\n", " " + text} {
			if _, err := v.Verify(other, now); err == nil {
				t.Errorf("%q is accepted", other)
			}
		}
	}
}

// A rejected token is not cached, because it may become valid later.
func TestRejectedIsNotRemembered(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, token.Config{Remember: 1 << 20})
	text := hs256(goodHeader, fmt.Sprintf(`{"sub":"42","jti":"s-1","nbf":%d,"exp":%d}`, now.Unix()+10, now.Unix()+60))
	if _, err := v.Verify(text, now); !errors.Is(err, token.ErrNotYetValid) {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := v.Verify(text, now.Add(10*time.Second)); err != nil {
			t.Error(err)
		}
	}
	if hits, misses := v.Remembered(); hits != 2 || misses != 2 {
		t.Errorf("counted %d hits and %d misses, want 2 and 2", hits, misses)
	}
	if hits, misses := newVerifier(t, token.Config{}).Remembered(); hits+misses != 0 {
		t.Error("Remembered is not zero without a cache")
	}
}

// TestRememberedIsBounded verifies more tokens than the cache has room for.
func TestRememberedIsBounded(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, token.Config{Remember: 4 << 10})
	for i := range 200 {
		text := hs256(goodHeader, fmt.Sprintf(`{"sub":"%d","jti":"s-%d","exp":%d}`, i, i, now.Unix()+60))
		for range 2 {
			if got, err := v.Verify(text, now); err != nil || got.UserID != fmt.Sprint(i) {
				t.Fatalf("token %d: %+v %v", i, got, err)
			}
		}
	}
}

// TestRememberedAllocations checks that a cached token takes no allocations.
func TestRememberedAllocations(t *testing.T) {
	v := newVerifier(t, token.Config{Issuer: "https://id.example", Audiences: []string{"api"}, Remember: 1 << 20})
	text := hs256(goodHeader, usualClaims)
	if got := testing.AllocsPerRun(100, func() {
		if _, err := v.Verify(text, now); err != nil {
			t.Fatal(err)
		}
	}); got > 0 {
		t.Errorf("%v allocations; want none", got)
	}
}

func BenchmarkVerifyRemembered(b *testing.B) {
	v := newVerifier(b, token.Config{Issuer: "https://id.example", Audiences: []string{"api"}, Remember: 1 << 20})
	text := hs256(goodHeader, usualClaims)
	b.ReportAllocs()
	for b.Loop() {
		if got, err := v.Verify(text, now); err != nil || got.UserID != "42" {
			b.Fatal(got, err)
		}
	}
}

// TestRememberedIsWeighed fills a cache with long tokens. Each takes the memory of its text and of its claims.
func TestRememberedIsWeighed(t *testing.T) {
	t.Parallel()
	const size, length = 1 << 20, 60_000
	v := newVerifier(t, token.Config{Remember: size})
	text := func(i int) string {
		return hs256(goodHeader, fmt.Sprintf(`{"sub":"42","jti":"s-%d","exp":%d,"groups":"%s"}`, i, now.Unix()+60, strings.Repeat("g", length*3/4-200)))
	}
	for range 3 {
		for i := range 40 {
			if _, err := v.Verify(text(i), now); err != nil {
				t.Fatal(err)
			}
		}
	}
	before, _ := v.Remembered()
	for i := range 40 {
		if _, err := v.Verify(text(i), now); err != nil {
			t.Fatal(err)
		}
	}
	// 60 kB of text and 45 kB of claims are 105 kB, so there is room for ten.
	if after, _ := v.Remembered(); after-before > size/(length+length*3/4-1000) {
		t.Errorf("%d of 40 tokens are cached in %d bytes", after-before, size)
	}
}
