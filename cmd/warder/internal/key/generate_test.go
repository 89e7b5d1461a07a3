package key

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestGenerate checks that keys are different, fit the rules for API keys, begin with their
// public prefix, and keep 128 bits that the prefix does not show.
func TestGenerate(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[A-Za-z0-9._~+/=-]{8,256}$`)
	for _, prefix := range []string{"", "ak_", strings.Repeat("~", maxPrefix)} {
		if err := checkPrefix(prefix); err != nil {
			t.Errorf("%q: %v", prefix, err)
		}
		keys, publics := map[string]bool{}, map[string]bool{}
		for range 1000 {
			key, public := generate(prefix)
			secret, found := strings.CutPrefix(key, public+"_")
			if !found || !form.MatchString(key) || !strings.HasPrefix(public, prefix) || len(secret)*5 < 128 {
				t.Fatalf("the key %q of the prefix %q", key, public)
			}
			keys[secret], publics[public] = true, true
		}
		if len(keys) != 1000 || len(publics) != 1000 {
			t.Errorf("1000 keys have %d secrets and %d prefixes", len(keys), len(publics))
		}
	}
	for _, prefix := range []string{"a b", "a,b", "ä", "\n", "a\x00", strings.Repeat("a", maxPrefix+1), "%41"} {
		if checkPrefix(prefix) == nil {
			t.Errorf("the prefix %q is accepted", prefix)
		}
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	for _, scope := range []string{"a", "assets:read", "ä b", "*"} {
		if err := checkScopes([]string{scope}); err != nil {
			t.Errorf("%q: %v", scope, err)
		}
	}
	for _, scope := range []string{"", " ", "a,b", ",", "a\n", "a\x00b", " a", "a ", "a\u0085b", "a\xffb"} {
		if checkScopes([]string{"good", scope}) == nil {
			t.Errorf("the scope %q is accepted", scope)
		}
	}
	if checkScopes(make([]string, maxScopes+1)) == nil {
		t.Error("any number of scopes is accepted")
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 12, 0, 0, 500, time.UTC)
	for text, want := range map[string]time.Duration{
		"1m": time.Minute, "90m": 90 * time.Minute, "12h": 12 * time.Hour, "90d": 90 * day, "2w": 14 * day, "3660d": maxLife,
		"2026-11-30T13:00:00Z": time.Hour, "2026-11-30T14:00:00+01:00": time.Hour,
	} {
		got, err := readExpiry(text, now)
		if at := now.Add(want).Truncate(time.Second); err != nil || !got.Equal(at) || got.Location() != time.UTC {
			t.Errorf("%s: %v, %v; want %v", text, got, err, at)
		}
	}
	if got, err := readExpiry("never", now); err != nil || !got.IsZero() {
		t.Errorf("never: %v, %v", got, err)
	}
	for _, text := range []string{
		"", "0", "90", "d", "0d", "0m", "-1d", "+1d", "1.5d", "1y", "1s", "90 d", "90D", "1d1h", "1e9d", "Never", "2026-11-30", "2026-11-30T12:00:30Z",
		"2026-11-30T11:59:59Z", "2026-02-30T00:00:00Z", "2036-12-31T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "3661d", "999999999w",
		"9223372036854775807d", "tomorrow", "∞", "1d\n",
	} {
		if got, err := readExpiry(text, now); err == nil {
			t.Errorf("%q is accepted, as %v", text, got)
		}
	}
	for text, want := range map[string]time.Duration{"0m": 0, "7d": 7 * day, "90d": maxOverlap} {
		if got, err := readOverlap(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "91d", "-1d", "never", "1y", "999999999w"} {
		if got, err := readOverlap(text); err == nil {
			t.Errorf("the overlap %q is accepted, as %v", text, got)
		}
	}
}
