package mask

import (
	"strings"
	"testing"
)

// A secret that extends beyond MaxRead leaves no part of itself in the result.
func TestExcerptSplitsNoSecret(t *testing.T) {
	t.Parallel()
	const half = "canary"
	long := strings.Repeat(half, 40)
	for _, form := range []string{
		"eyJhbGciOiJIUzI1NiJ9." + long + "." + long, "password=" + long, "https://ada:" + long + "@host/x", "Bearer " + long,
		`{"password":"` + long + `"}`, "password%3D" + long,
	} {
		for begin := MaxRead - len(form); begin <= MaxRead; begin += 7 {
			text := strings.Repeat("/x", begin)[:begin] + "/" + form + strings.Repeat("/y", 20000)
			e := NewExcerpt(text)
			if len(e.Text) > MaxRead || !e.Cut {
				t.Fatalf("%d bytes are read, cut: %v", len(e.Text), e.Cut)
			}
			if got := e.Shown((*Masker)(nil).String(e.Text), MaxRead); strings.Contains(got, half) {
				t.Fatalf("%.40s at %d: %s", form, begin, got[max(0, len(got)-200):])
			}
		}
	}
}

// Without removes a credential of the request, even if the text ends within it.
func TestExcerptWithout(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text, secret, want string
		cut                bool
	}{
		{"/a/sec/ret/b", "sec/ret", "/a/" + Replacement + "/b", false},
		{"/a/sec/", "sec/ret", "/a/" + Replacement, true},
		{"/a/sec/", "sec/ret", "/a/sec/", false},
		{"/a/sec/sec/", "sec/sec/ret", "/a/" + Replacement, true},
		{"/aaaaaaab/", "aaab/c", "/aaaa" + Replacement, true},
		{"", "secret", "", true},
	} {
		if got := (Excerpt{c.text, c.cut}).Without(c.secret); got != c.want {
			t.Errorf("%q without %q is %q, want %q", c.text, c.secret, got, c.want)
		}
	}
	secret := strings.Repeat("s/cr/t", 1000)
	for begin := MaxRead - len(secret) - 1; begin < MaxRead-8; begin += 11 {
		e := NewExcerpt(strings.Repeat("x", begin) + "/" + secret + strings.Repeat("y", 9000))
		if got := e.Without(secret); strings.Contains(got, "s/c") {
			t.Fatalf("at %d: %s", begin, got[max(0, len(got)-100):])
		}
	}
}
