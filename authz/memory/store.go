package memory

import (
	"context"
	"slices"
	"sync"
	"time"

	"warder/authz"
)

// A Store holds sessions, users and API keys. It implements [authz.Sessions],
// [authz.Users] and [authz.APIKeys] and is safe for concurrent use: what a Put or
// Delete has done is seen by every question that starts after it.
type Store struct {
	now func() time.Time

	mu       sync.RWMutex
	sessions map[session]time.Time // until when; the zero time is for ever
	sweepAt  int                   // how many sessions make Put look for ended ones
	users    map[string]authz.User
	keys     map[authz.KeyHash]authz.APIKey
}

// A session is a key of two parts, so that no separator can make two sessions one.
type session struct{ userID, sessionID string }

// New returns an empty store. now is the clock that ends sessions; nil means
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

// minSweep is how many sessions are too few to look for ended ones.
const minSweep = 1024

// PutSession makes a session live for ttl from now, or for ever when ttl is 0.
// A session that lives already gets the new end.
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
	// Ended sessions nobody asks for would otherwise stay. Twice what is left
	// keeps the cost of looking small beside that of putting.
	for id, end := range s.sessions {
		if ended(end, now) {
			delete(s.sessions, id)
		}
	}
	s.sweepAt = max(minSweep, 2*len(s.sessions))
}

// DeleteSession ends a session. One that does not live is no error.
func (s *Store) DeleteSession(userID, sessionID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, session{userID, sessionID})
}

// Alive implements [authz.Sessions]. Its only error is the context's.
func (s *Store) Alive(ctx context.Context, userID, sessionID string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	s.mu.RLock()
	end, found := s.sessions[session{userID, sessionID}]
	s.mu.RUnlock()
	return found && !ended(end, s.now()), nil
}

func ended(end, now time.Time) bool { return !end.IsZero() && !now.Before(end) }

// PutUser adds or replaces a user. The roles are sorted, and names that nobody
// can hold are dropped, see [authz.NewNames].
func (s *Store) PutUser(id string, user authz.User) {
	user.Roles, _ = authz.NewNames(user.Roles)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[id] = user
}

// DeleteUser removes a user. One that is not there is no error.
func (s *Store) DeleteUser(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.users, id)
}

// User implements [authz.Users]. Its errors are [authz.ErrNotFound] and the
// context's.
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

// PutAPIKey adds or replaces an API key. The scopes are sorted, and names that
// nobody can hold are dropped, see [authz.NewNames].
func (s *Store) PutAPIKey(hash authz.KeyHash, key authz.APIKey) {
	key.Scopes, _ = authz.NewNames(key.Scopes)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[hash] = key
}

// DeleteAPIKey removes an API key. One that is not there is no error.
func (s *Store) DeleteAPIKey(hash authz.KeyHash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, hash)
}

// APIKey implements [authz.APIKeys]. Its errors are [authz.ErrNotFound] and the
// context's.
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

// Len returns how many sessions (ended ones may still count), users and API keys
// there are.
func (s *Store) Len() (sessions, users, apiKeys int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.sessions), len(s.users), len(s.keys)
}
