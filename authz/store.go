package authz

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

var (
	// ErrNotFound is what a store returns, wrapped or not, when it answered and
	// has no such row. Any other error means that the store could not answer.
	ErrNotFound = errors.New("not found")
	// ErrOverloaded is what a store returns, wrapped or not, when it did not ask,
	// so that the questions of others can be answered.
	ErrOverloaded = errors.New("overloaded")
)

func isNotFound(err error) bool { return errors.Is(err, ErrNotFound) }

// unanswered is the reason for an error of a store that is no answer.
func unanswered(err error, unavailable Reason) Reason {
	if errors.Is(err, ErrOverloaded) {
		return ReasonOverloaded
	}
	return unavailable
}

// Sessions says whether a session still lives.
type Sessions interface {
	// Alive reports whether the session exists. An error is not an answer.
	Alive(ctx context.Context, userID, sessionID string) (bool, error)
}

// Users finds users by id, exactly as spelled: an id that is not the store's
// own spelling of it (042 for 42) is ErrNotFound, and so is one that the
// store could not hold.
type Users interface {
	User(ctx context.Context, id string) (User, error)
}

// APIKeys finds API keys by the hash of the whole key.
type APIKeys interface {
	APIKey(ctx context.Context, hash KeyHash) (APIKey, error)
}

// A User is what the directory says of a user. The zero User is inactive.
type User struct {
	Active bool
	Roles  Names
}

// An APIKey is what the directory says of a key. The zero APIKey is inactive.
type APIKey struct {
	Prefix    string // public, for logs and the upstream
	Scopes    Names
	Active    bool
	ExpiresAt time.Time // the zero time: never
	OwnerID   string    // "" when it belongs to nobody
}

// A KeyHash is the SHA-256 of a whole API key. It prints masked: with the key's
// length bounded, a hash in a log is worth attacking.
type KeyHash [sha256.Size]byte

// HashAPIKey hashes the key as it was presented.
func HashAPIKey(key string) KeyHash { return sha256.Sum256([]byte(key)) }

// Hex returns the hash as stores hold it: 64 lower-case hexadecimal digits.
func (h KeyHash) Hex() string { return hex.EncodeToString(h[:]) }

// Format implements fmt.Formatter and prints the mask, whatever the verb.
func (h KeyHash) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("***FILTERED***")) }

// MarshalText makes JSON and slog print the mask.
func (h KeyHash) MarshalText() ([]byte, error) { return []byte("***FILTERED***"), nil }
