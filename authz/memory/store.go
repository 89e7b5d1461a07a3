package memory

import (
	"context"
	"slices"
	"sync"
	"time"

	"warder/authz"
)

// A Store holds sessions, users and API keys. It implements [authz.Sessions],
// [authz.Users] and [authz.APIKeys]. It is safe for concurrent use. The effect of a Put or
// Delete method is seen by every lookup that starts after the method has returned.
type Store struct {
	now func() time.Time

	mu       sync.RWMutex
	sessions map[session]time.Time // expiry; the zero Time means never
	sweepAt  int                   // number of sessions at which PutSession removes expired ones
	users    map[string]authz.User
	keys     map[authz.KeyHash]authz.APIKey

	// The names of the attributes in the file that the store was loaded from. They do not change.
	userAttributes, keyAttributes []string
	revocations                   Revocations
}

// A session identifies a session. It is a struct, so that two sessions never have the same
// key, as they might with joined strings.
type session struct{ userID, sessionID string }

// New returns an empty store. now is the clock for the expiry of sessions. nil means
// time.Now.
func New(now func() time.Time) *Store {
	if now == nil {
		now = time.Now
	}
	return &Store{
		now:      now,
		sessions: make(map[session]time.Time),
		sweepAt:  minSweep,
		users:    make(map[string]authz.User),
		keys:     make(map[authz.KeyHash]authz.APIKey),
	}
}

// minSweep is the least number of sessions at which expired ones are removed.
const minSweep = 1024

// PutSession adds a session that expires after ttl, or never if ttl is 0. For an existing
// session it replaces the expiry.
func (s *Store) PutSession(userID, sessionID string, ttl time.Duration) {
	now := s.now()
	var end time.Time
	if ttl != 0 {
		end = now.Add(ttl)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[session{userID, sessionID}] = end
	if len(s.sessions) < s.sweepAt {
		return
	}
	// Remove expired sessions, which would otherwise stay forever. Doubling the threshold
	// keeps the amortized cost of PutSession constant.
	for id, end := range s.sessions {
		if ended(end, now) {
			delete(s.sessions, id)
		}
	}
	s.sweepAt = max(minSweep, 2*len(s.sessions))
}

// DeleteSession removes a session if it exists.
func (s *Store) DeleteSession(userID, sessionID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, session{userID, sessionID})
}

// Alive implements [authz.Sessions]. It returns an error only if ctx has ended.
func (s *Store) Alive(ctx context.Context, of authz.Session) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	s.mu.RLock()
	end, found := s.sessions[session{of.UserID, of.ID}]
	s.mu.RUnlock()
	return found && !ended(end, s.now()), nil
}

func ended(end, now time.Time) bool { return !end.IsZero() && !now.Before(end) }

// PutUser adds or replaces a user. It sorts the roles and drops invalid names: see
// [authz.NewNames].
func (s *Store) PutUser(id string, user authz.User) {
	user.Roles, _ = authz.NewNames(user.Roles)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[id] = user
}

// DeleteUser removes a user if it exists.
func (s *Store) DeleteUser(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.users, id)
}

// User implements [authz.Users]. It returns [authz.ErrNotFound] or the context's error.
func (s *Store) User(ctx context.Context, id string) (authz.User, error) {
	if err := ctx.Err(); err != nil {
		return authz.User{}, err
	}
	s.mu.RLock()
	user, found := s.users[id]
	s.mu.RUnlock()
	if !found {
		return authz.User{}, authz.ErrNotFound
	}
	user.Roles = slices.Clone(user.Roles)
	return user, nil
}

// PutAPIKey adds or replaces an API key. It sorts the scopes and drops invalid names: see
// [authz.NewNames].
func (s *Store) PutAPIKey(hash authz.KeyHash, key authz.APIKey) {
	key.Scopes, _ = authz.NewNames(key.Scopes)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[hash] = key
}

// DeleteAPIKey removes an API key if it exists.
func (s *Store) DeleteAPIKey(hash authz.KeyHash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, hash)
}

// APIKey implements [authz.APIKeys]. It returns [authz.ErrNotFound] or the context's error.
func (s *Store) APIKey(ctx context.Context, hash authz.KeyHash) (authz.APIKey, error) {
	if err := ctx.Err(); err != nil {
		return authz.APIKey{}, err
	}
	s.mu.RLock()
	key, found := s.keys[hash]
	s.mu.RUnlock()
	if !found {
		return authz.APIKey{}, authz.ErrNotFound
	}
	key.Scopes = slices.Clone(key.Scopes)
	return key, nil
}

// Attributes returns the names of the attributes that users and API keys have in the file that
// the store was loaded from.
func (s *Store) Attributes() (users, apiKeys []string) {
	return slices.Clone(s.userAttributes), slices.Clone(s.keyAttributes)
}

// Len returns the numbers of sessions, users and API keys. Expired sessions may be counted.
func (s *Store) Len() (sessions, users, apiKeys int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.sessions), len(s.users), len(s.keys)
}
