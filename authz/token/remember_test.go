package token_test

import (
	"errors"
	"fmt"
	"runtime"
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

// TestRememberedIsSmall caches tokens with long claims that are not used. A cached token takes the memory of its text, and
// not that of all its claims.
func TestRememberedIsSmall(t *testing.T) {
	const tokens, length = 300, 60_000
	v := newVerifier(t, token.Config{
		Remember: 64 << 20, RolesClaim: "roles", ValidRole: func(string) bool { return true }, Attributes: token.Attributes{"tenant": "tenant"},
	})
	text := func(i int) string {
		return hs256(goodHeader, fmt.Sprintf(`{"sub":"u-%d","jti":"s-%d","exp":%d,"roles":["role-%d"],"tenant":"t-%d","groups":"%s"}`, i, i, now.Unix()+60, i, i, strings.Repeat("g", length*3/4-400)))
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range tokens {
		if _, err := v.Verify(text(i), now); err != nil {
			t.Fatal(err)
		}
	}
	if grown := int64(heap()) - int64(before); grown > tokens*(length+10_000) {
		t.Errorf("%d tokens of %d bytes take %d bytes in the cache", tokens, length, grown)
	}
	if hits, misses := v.Remembered(); hits != 0 || misses != tokens {
		t.Errorf("%d hits, %d misses", hits, misses)
	}
	for i := range tokens {
		got, err := v.Verify(text(i), now)
		if err != nil || got.UserID != fmt.Sprint("u-", i) || got.User.Roles[0] != fmt.Sprint("role-", i) || got.Attributes.Get("tenant") != fmt.Sprint("t-", i) {
			t.Fatalf("token %d: %+v, %v", i, got, err)
		}
	}
	if hits, _ := v.Remembered(); hits < tokens*9/10 {
		t.Errorf("%d of %d tokens are cached", hits, tokens)
	}
}

// TestRememberedIsWeighed fills a cache with tokens of many roles, which take memory too.
func TestRememberedIsWeighed(t *testing.T) {
	t.Parallel()
	const size, roles = 1 << 20, 900
	v := newVerifier(t, token.Config{Remember: size, RolesClaim: "roles", ValidRole: func(string) bool { return true }})
	text := func(i int) string {
		names := make([]string, roles)
		for n := range names {
			names[n] = fmt.Sprintf(`"role-of-a-usual-length-%d-%d"`, i, n)
		}
		return hs256(goodHeader, fmt.Sprintf(`{"sub":"42","jti":"s-%d","exp":%d,"roles":[%s]}`, i, now.Unix()+60, strings.Join(names, ",")))
	}
	for range 3 {
		for i := range 100 {
			if _, err := v.Verify(text(i), now); err != nil {
				t.Fatal(err)
			}
		}
	}
	before, _ := v.Remembered()
	for i := range 100 {
		if _, err := v.Verify(text(i), now); err != nil {
			t.Fatal(err)
		}
	}
	if after, _ := v.Remembered(); after-before > size/(roles*25) {
		t.Errorf("%d of 100 tokens with %d roles are cached in %d bytes", after-before, roles, size)
	}
}

// BenchmarkVerifyRememberedMany verifies cached tokens in turn, as many users send them.
func BenchmarkVerifyRememberedMany(b *testing.B) {
	for _, users := range []int{1, 1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(users), func(b *testing.B) {
			v := newVerifier(b, token.Config{Remember: 512 << 20})
			tokens := make([]string, users)
			for i := range tokens {
				tokens[i] = hs256(goodHeader, fmt.Sprintf(`{"sub":"%d","jti":"f6c1a1de-4c8e-4b0a-9a0c-%012d","iat":%d,"exp":%d,"email":"user%d@example.com","name":"A user with a name of usual length","roles":["A","B"]}`,
					i, i, now.Unix(), now.Unix()+3600, i))
				if _, err := v.Verify(tokens[i], now); err != nil {
					b.Fatal(err)
				}
			}
			runtime.GC()
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if _, err := v.Verify(tokens[n*7919%users], now); err != nil {
					b.Fatal(err)
				}
				n++
			}
		})
	}
}
