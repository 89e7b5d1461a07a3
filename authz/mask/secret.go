package mask

import (
	"fmt"
	"io"
	"log/slog"
	"unique"
)

// Replacement stands where a secret stood.
const Replacement = "***FILTERED***"

// A Secret holds a text that must not be printed. It prints as [Replacement]
// with every verb of fmt, in JSON and every other encoding that knows
// [encoding.TextMarshaler], and in slog; also as part of structs, maps and
// errors, and in fields that are not exported. Only [Secret.Reveal] gives the text.
//
// The zero Secret holds the empty text, which is nothing to hide: it prints as
// nothing, so that output tells whether a secret was set. Secrets can be
// compared with ==, which takes no care to hide how long it takes.
type Secret struct {
	// Behind a pointer, because fmt prints a field that is not exported, and a
	// value that is given to a wrong verb, without calling any method of it.
	// The pointers of equal texts are equal.
	text unique.Handle[string]
}

// New returns a secret that holds s.
func New(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{unique.Make(s)}
}

// Reveal returns the text itself.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return s.text.Value()
}

// IsZero reports whether the secret is empty; a JSON field with omitzero is then left out.
func (s Secret) IsZero() bool { return s == Secret{} }

// String returns [Replacement], or "" for the empty secret.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return Replacement
}

// GoString returns what String returns.
func (s Secret) GoString() string { return s.String() }

// Format implements [fmt.Formatter] and prints what String returns, whatever
// the verb, the width and the flags.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText returns what String returns.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText makes the text the secret, so that a file can be decoded
// straight into one.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = New(string(text))
	return nil
}

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
