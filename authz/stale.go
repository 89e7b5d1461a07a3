package authz

import (
	"context"
	"strings"
	"sync"
	"time"
)

// StaleConfig configures a cache of directory facts.
type StaleConfig struct {
	// MaxAge is the greatest age of a fact at the start of the check that uses it.
	// It must be positive. To use no cached facts, use the store directly.
	MaxAge time.Duration
	// Timeout bounds one query. A query outlives the check that started it, because
	// other checks may be waiting for its result. 0 means one second.
	Timeout time.Duration
	// Size is the greatest number of facts kept.
	Size int
	// Now is the clock.
	Now func() time.Time
}

// StaleUsers caches the results of a [Users] for at most MaxAge. A change to a user
// is seen up to MaxAge late unless [StaleUsers.Forget] is called for it. Concurrent
// misses for the same user share one query. Users are cached, and that a user does not
// exist is cached for at most one second. Errors and decisions are never cached.
type StaleUsers struct{ facts *facts[string, User] }

// NewStaleUsers returns a cache of u.
func NewStaleUsers(u Users, c StaleConfig) *StaleUsers {
	roles := &sharedNames{lists: make(map[string]Names)}
	return &StaleUsers{newFacts(func(ctx context.Context, id string) (User, error) {
		user, err := u.User(ctx, id)
		user.Roles = roles.share(user.Roles)
		return user, err
	}, c)}
}

// sharedNames keeps one copy of each list of names. Thousands of users have the same few lists of
// roles, and each list would be some objects that the garbage collector visits.
type sharedNames struct {
	mu    sync.Mutex
	lists map[string]Names // by the names with commas between, which no name contains
}

// The lists that are shared are the first maxSharedNames of at most maxSharedText bytes.
const (
	maxSharedNames = 1000
	maxSharedText  = 1024
)

func (s *sharedNames) share(names Names) Names {
	if len(names) == 0 {
		return nil
	}
	text := strings.Join(names, ",")
	s.mu.Lock()
	defer s.mu.Unlock()
	if shared, found := s.lists[text]; found {
		return shared
	}
	if len(s.lists) < maxSharedNames && len(text) <= maxSharedText {
		s.lists[text] = names
	}
	return names
}

// User implements [Users].
func (s *StaleUsers) User(ctx context.Context, id string) (User, error) {
	return s.facts.get(ctx, id)
}

// Forget drops what is cached about a user. A query in progress still answers the
// checks that are waiting for it, and no later ones.
func (s *StaleUsers) Forget(id string) { s.facts.forget(id) }

// Counts returns the cache's counters.
func (s *StaleUsers) Counts() CacheCounts { return s.facts.counts.Counts() }

// ForgetAll is Forget for every user, in constant time when no query is in progress.
func (s *StaleUsers) ForgetAll() { s.facts.forgetAll() }

// StaleAPIKeys is [StaleUsers] for API keys. A cached key still expires on time,
// because the engine compares ExpiresAt with the clock in every check. A single key
// cannot be forgotten, because change notifications do not contain the hash.
type StaleAPIKeys struct{ facts *facts[KeyHash, APIKey] }

// NewStaleAPIKeys returns a cache of k.
func NewStaleAPIKeys(k APIKeys, c StaleConfig) *StaleAPIKeys {
	return &StaleAPIKeys{newFacts(k.APIKey, c)}
}

// APIKey implements [APIKeys].
func (s *StaleAPIKeys) APIKey(ctx context.Context, hash KeyHash) (APIKey, error) {
	return s.facts.get(ctx, hash)
}

// Counts returns the cache's counters.
func (s *StaleAPIKeys) Counts() CacheCounts { return s.facts.counts.Counts() }

// ForgetAll drops everything that is cached about API keys, like [StaleUsers.ForgetAll].
func (s *StaleAPIKeys) ForgetAll() { s.facts.forgetAll() }
