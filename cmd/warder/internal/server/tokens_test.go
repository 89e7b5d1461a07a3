package server

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"warder/authz/authztest"
	"warder/authz/mask"
	"warder/authz/token"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
)

// secretOf returns a secret that is long enough.
func secretOf(name string) string { return name + strings.Repeat(".", 40) }

// signedWith makes a token of user 42 and session s1.
func signedWith(t testing.TB, secret string, exp time.Time, kid string) string {
	t.Helper()
	header := map[string]any{}
	if kid != "" {
		header["kid"] = kid
	}
	return authztest.Mint(t, authztest.Token{
		Secret: []byte(secret), Header: header,
		Claims: map[string]any{"sub": "42", "jti": "s1", "exp": exp.Unix()},
	})
}

func rotatingVerifier(t *testing.T, overlap time.Duration, secrets ...string) *tokenVerifier {
	t.Helper()
	s := config.DefaultSettings().JWT
	s.Overlap = overlap
	for _, secret := range secrets {
		s.Keys = append(s.Keys, config.JWTKey{Algorithm: "HS256", Secret: mask.New(secretOf(secret))})
	}
	v, err := newTokenVerifier(s, time.Second, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// accepts reports the secrets whose tokens pass. It asks twice, so that the second answer comes
// from the cache if there is one, and it asks for the payload too.
func accepts(t *testing.T, v *tokenVerifier, secrets ...string) string {
	t.Helper()
	var passed []string
	for _, secret := range secrets {
		text := signedWith(t, secretOf(secret), time.Now().Add(48*time.Hour), "")
		_, first := v.Verify(text, time.Now())
		_, second := v.Verify(text, time.Now())
		_, third := v.Payload(text, time.Now())
		for _, err := range []error{second, third} {
			if fmt.Sprint(err) != fmt.Sprint(first) {
				t.Errorf("%s: %v, and then %v", secret, first, err)
			}
		}
		if first == nil {
			passed = append(passed, secret)
		} else if !errors.Is(first, token.ErrSignature) {
			t.Errorf("%s: %v", secret, first)
		}
	}
	return strings.Join(passed, " ")
}

// replace replaces the secret of the first key and fails the test on an error.
func replace(t *testing.T, v *tokenVerifier, secret string) {
	t.Helper()
	if _, err := v.replace(0, mask.New(secretOf(secret))); err != nil {
		t.Fatal(err)
	}
}

func TestTokenOverlap(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		overlap time.Duration
		do      func(t *testing.T, v *tokenVerifier)
		want    string // of the secrets a, b and c
	}{
		{"nothing happened", time.Hour, func(*testing.T, *tokenVerifier) {}, "a"},
		{"both", time.Hour, func(t *testing.T, v *tokenVerifier) { replace(t, v, "b") }, "a b"},
		{"both at the last moment", time.Hour, func(t *testing.T, v *tokenVerifier) {
			replace(t, v, "b")
			time.Sleep(time.Hour - 1)
		}, "a b"},
		{"the new one after the overlap", time.Hour, func(t *testing.T, v *tokenVerifier) {
			replace(t, v, "b")
			accepts(t, v, "a", "b") // fills the caches
			time.Sleep(time.Hour)
		}, "b"},
		{"the new one at once", 0, func(t *testing.T, v *tokenVerifier) {
			accepts(t, v, "a")
			replace(t, v, "b")
		}, "b"},
		{"three", time.Hour, func(t *testing.T, v *tokenVerifier) { replace(t, v, "b"); replace(t, v, "c") }, "a b c"},
		{"each has its own time", time.Hour, func(t *testing.T, v *tokenVerifier) {
			replace(t, v, "b")
			time.Sleep(time.Hour / 2)
			replace(t, v, "c")
			time.Sleep(time.Hour / 2)
		}, "b c"},
		{"back", time.Hour, func(t *testing.T, v *tokenVerifier) {
			replace(t, v, "b")
			replace(t, v, "a")
			time.Sleep(time.Hour)
		}, "a"},
		{"the same again", time.Hour, func(t *testing.T, v *tokenVerifier) {
			replace(t, v, "b")
			time.Sleep(time.Hour / 2)
			replace(t, v, "b") // does not prolong
			time.Sleep(time.Hour / 2)
		}, "b"},
		{"too short", time.Hour, func(t *testing.T, v *tokenVerifier) {
			if _, err := v.replace(0, mask.New("short-canary")); err == nil || strings.Contains(err.Error(), "canary") {
				t.Errorf("error %v", err)
			}
		}, "a"},
		{"many", time.Hour, func(t *testing.T, v *tokenVerifier) {
			for _, secret := range []string{"b", "c", "d", "e", "f"} {
				replace(t, v, secret)
			}
		}, "b c"}, // a is the fifth before
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				v := rotatingVerifier(t, tt.overlap, "a")
				tt.do(t, v)
				if got := accepts(t, v, "a", "b", "c"); got != tt.want {
					t.Errorf("accepts %q, want %q", got, tt.want)
				}
				time.Sleep(25 * time.Hour) // the timers of the overlap
				if n := len(v.current.Load().previous); n != 0 {
					t.Errorf("%d secrets are kept after their time", n)
				}
			})
		})
	}
}

// TestTokenOverlapOfKeys checks that a previous secret keeps the kid and the algorithm of its key.
func TestTokenOverlapOfKeys(t *testing.T) {
	t.Parallel()
	s := config.DefaultSettings().JWT
	s.Keys = []config.JWTKey{
		{ID: "1", Algorithm: "HS256", Secret: mask.New(secretOf("one"))},
		{ID: "2", Algorithm: "HS384", Secret: mask.New(secretOf("two"))},
	}
	v, err := newTokenVerifier(s, time.Second, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	replace(t, v, "three")
	later := time.Now().Add(time.Hour)
	for _, c := range []struct {
		want        error
		secret, kid string
		exp         time.Time
	}{
		{nil, "one", "1", later},
		{nil, "three", "1", later},
		{token.ErrAlgorithm, "one", "2", later},
		{token.ErrKeyUnknown, "one", "", later},
		{token.ErrExpired, "one", "1", time.Now().Add(-time.Hour)},
		{token.ErrSignature, "four", "1", later},
	} {
		if _, err := v.Verify(signedWith(t, secretOf(c.secret), c.exp, c.kid), time.Now()); !errors.Is(err, c.want) {
			t.Errorf("%s, kid %q: %v, want %v", c.secret, c.kid, err, c.want)
		}
	}
	if hits, misses := v.Remembered(); hits+misses == 0 {
		t.Error("the counts of the caches are lost")
	}
}

// TestTokenOfUnsettledFile checks that a token is accepted which is signed with a secret that was
// written a moment ago, and that nothing else of the file is used.
func TestTokenOfUnsettledFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := clitest.WriteFile(t, dir, "secret", secretOf("a"))
	s := config.DefaultSettings().JWT
	s.Overlap = 0
	s.Keys = []config.JWTKey{{Algorithm: "HS256", Secret: mask.New(secretOf("a")), File: config.SecretFile{Key: "k", Path: path}}}
	v, err := newTokenVerifier(s, time.Second, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ content, signed, want string }{
		{secretOf("b"), "x", "a"}, // no token proves it
		{"", "b", "a"},
		{secretOf("b")[:35], "b", "a"}, // half
		{secretOf("b") + "\n", "b", "b"},
	} {
		clitest.Replace(t, path, c.content)
		_, _ = v.Verify(signedWith(t, secretOf(c.signed), time.Now().Add(time.Hour), ""), time.Now())
		// A verifier without files shows which secrets are in use.
		if got := v.settings.Keys[0].Secret.Reveal(); got != secretOf(c.want) {
			t.Errorf("file %.10q: the secret of %q is in use, want that of %q", c.content, got[:1], c.want)
		}
	}
}

// TestTokenOfReplacedFile checks that a secret that is no longer in the file is not used again,
// even if the file looks unchanged.
func TestTokenOfReplacedFile(t *testing.T) {
	t.Parallel()
	path := clitest.WriteFile(t, t.TempDir(), "secret", secretOf("b"))
	s := config.DefaultSettings().JWT
	s.Overlap = 0
	s.Keys = []config.JWTKey{{Algorithm: "HS256", Secret: mask.New(secretOf("a")), File: config.SecretFile{Key: "k", Path: path}}}
	v, err := newTokenVerifier(s, time.Second, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_ = accepts(t, v, "x") // the file is looked at
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	clitest.WriteFile(t, filepath.Dir(path), "secret", secretOf("c"))
	if err := os.Chtimes(path, time.Time{}, info.ModTime()); err != nil {
		t.Fatal(err)
	}
	replace(t, v, "c")
	if got := accepts(t, v, "a", "b", "c"); got != "c" {
		t.Errorf("accepts %q, want c alone", got)
	}
}
