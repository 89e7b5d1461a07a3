package mask

import (
	"fmt"
	"io"
	"log/slog"
	"unique"
)

// Replacement replaces secrets.
const Replacement = "***FILTERED***"

// A Secret is a string that must not be printed. It prints as [Replacement] with every verb
// of fmt, in JSON and other encodings that use [encoding.TextMarshaler], and in slog. That
// includes Secrets in structs, maps, errors and unexported fields. Only [Secret.Reveal]
// returns the string.
//
// The zero Secret is the empty string and prints as the empty string, so that output shows
// whether a secret is set. Secrets can be compared with ==, but not in constant time.
type Secret struct {
	// A handle is a pointer. fmt prints unexported fields, and values with a wrong verb,
	// without calling their methods, and then shows only the pointer. The handles of equal
	// strings are equal.
	text unique.Handle[string]
}

// New returns the secret s.
func New(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{unique.Make(s)}
}

// Reveal returns the string.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return s.text.Value()
}

// IsZero reports whether the secret is empty. It makes omitzero work for JSON fields.
func (s Secret) IsZero() bool { return s == Secret{} }

// String returns [Replacement], or "" for the empty secret.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return Replacement
}

// GoString implements [fmt.GoStringer] and returns the result of String.
func (s Secret) GoString() string { return s.String() }

// Format implements [fmt.Formatter]. It prints the result of String for every verb, width and
// flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText implements [encoding.TextMarshaler] and returns the result of String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]. It sets the secret to text.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = New(string(text))
	return nil
}

// LogValue implements [slog.LogValuer] and returns the result of String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
