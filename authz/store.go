package authz

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"warder/authz/attribute"
	"warder/authz/mask"
)

var (
	// ErrNotFound is returned, possibly wrapped, by a store that has no such row.
	// Any other error means that the store could not answer.
	ErrNotFound = errors.New("not found")
	// ErrOverloaded is returned, possibly wrapped, by a store that rejected the query
	// without sending it, to keep its capacity for other queries.
	ErrOverloaded = errors.New("overloaded")
)

func isNotFound(err error) bool { return errors.Is(err, ErrNotFound) }

// unanswered returns the reason for denying after an error that means the store could
// not answer.
func unanswered(err error, unavailable Reason) Reason {
	if errors.Is(err, ErrOverloaded) {
		return ReasonOverloaded
	}
	return unavailable
}

// Sessions reports which sessions are alive.
type Sessions interface {
	// Alive reports whether the session is alive. On an error the result is unknown and
	// the bool is ignored.
	Alive(ctx context.Context, session Session) (bool, error)
}

// A Session is the session that a verified token is of.
type Session struct {
	UserID string
	ID     string    // "" if the token names no session, which only some rules allow
	Issued time.Time // the token's iat; the zero Time if it has none
}

// IssuedUpTo reports whether the token was issued no later than a time. Both are compared in
// whole seconds, because many issuers write no fractions: a token of the same second may be older.
// A token without iat may always be older.
func (s Session) IssuedUpTo(t time.Time) bool {
	return s.Issued.IsZero() || s.Issued.Unix() <= t.Unix()
}

// NoSessions is for tokens that have no sessions: each is alive until its token expires, and a
// logout is not seen before. It must be chosen by name.
type NoSessions struct{}

// Alive implements [Sessions].
func (NoSessions) Alive(context.Context, Session) (bool, error) { return true, nil }

// Users looks up users by id. The comparison is exact: an id that differs from the
// store's own spelling (042 for 42) is ErrNotFound, and so is an id that the store's
// column type cannot hold.
type Users interface {
	User(ctx context.Context, id string) (User, error)
}

// NoUsers is for a directory that has no users, because tokens say it: see [Config.UsersInTokens].
// It finds nobody.
type NoUsers struct{}

// User implements [Users].
func (NoUsers) User(context.Context, string) (User, error) { return User{}, errNoUsers }

// errNoUsers is ErrNotFound of NoUsers.
var errNoUsers = fmt.Errorf("no users are kept: %w", ErrNotFound)

// APIKeys looks up API keys by the hash of the whole key. An unknown key is
// ErrNotFound.
type APIKeys interface {
	APIKey(ctx context.Context, hash KeyHash) (APIKey, error)
}

// A User is the directory's record of a user, or what a token says about its user. The zero User is
// inactive.
type User struct {
	Active     bool
	Roles      Names
	Attributes attribute.Set // an attribute that the directory knows hides a claim of the token
}

// An APIKey is the directory's record of a key. The zero APIKey is inactive.
type APIKey struct {
	Prefix    string // public, for logs and the upstream
	Scopes    Names
	Active    bool
	ExpiresAt time.Time // the zero Time means that the key does not expire
	OwnerID   string    // "" when the key has no owner
	// Attributes are those of the key itself; a key does not inherit its owner's.
	Attributes attribute.Set
}

// A KeyHash is the SHA-256 of a whole API key. It prints masked, because keys may be
// short enough for an offline attack on a logged hash.
type KeyHash [sha256.Size]byte

// HashAPIKey hashes the key as it was presented.
func HashAPIKey(key string) KeyHash { return sha256.Sum256([]byte(key)) }

// Hex returns the hash as 64 lower-case hexadecimal digits, the form used in stores.
func (h KeyHash) Hex() string { return hex.EncodeToString(h[:]) }

// Format implements [fmt.Formatter]. It prints a mask for every verb.
func (h KeyHash) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(mask.Replacement)) }

// MarshalText implements [encoding.TextMarshaler], so that JSON and slog print a mask.
func (h KeyHash) MarshalText() ([]byte, error) { return []byte(mask.Replacement), nil }
