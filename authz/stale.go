package authz

import (
	"context"
	"time"
)

// StaleConfig says how old what a store said may be when it is used again.
type StaleConfig struct {
	// MaxAge is how old a fact may be at the beginning of the check that uses it.
	// It has to be above 0: where nothing may be old, ask the store itself.
	MaxAge time.Duration
	// Timeout bounds a question, which goes on when the check that began it is
	// over: others may be waiting for its answer. 0 means a second.
	Timeout time.Duration
	// Size is how many facts are kept at most.
	Size int
	// Now is the clock.
	Now func() time.Time
}

// StaleUsers answers with what its Users said at most MaxAge ago: the price of a
// query less is that a change of a user that nobody announces ([StaleUsers.Forget])
// is seen that much later. Checks that miss the same user at the same time share
// one question. Only facts are kept: a user as it is and, for a second at most,
// that there is none; never an error, never a decision.
type StaleUsers struct{ facts *facts[string, User] }

// NewStaleUsers keeps what u says.
func NewStaleUsers(u Users, c StaleConfig) *StaleUsers {
	return &StaleUsers{newFacts(u.User, c)}
}

// User implements [Users].
func (s *StaleUsers) User(ctx context.Context, id string) (User, error) {
	return s.facts.get(ctx, id)
}

// Forget drops what is known of a user. A question about it that is under way
// answers who asked already, and nobody later.
func (s *StaleUsers) Forget(id string) { s.facts.forget(id) }

// Counts says how often users were answered from memory.
func (s *StaleUsers) Counts() CacheCounts { return s.facts.counts.Counts() }

// ForgetAll is Forget for every user. It costs next to nothing.
func (s *StaleUsers) ForgetAll() { s.facts.forgetAll() }

// StaleAPIKeys is [StaleUsers] for API keys. A key that expires is refused in time
// all the same, since the engine looks at the clock. There is no forgetting a single
// one: what announces a change does not know the hash.
type StaleAPIKeys struct{ facts *facts[KeyHash, APIKey] }

// NewStaleAPIKeys keeps what k says.
func NewStaleAPIKeys(k APIKeys, c StaleConfig) *StaleAPIKeys {
	return &StaleAPIKeys{newFacts(k.APIKey, c)}
}

// APIKey implements [APIKeys].
func (s *StaleAPIKeys) APIKey(ctx context.Context, hash KeyHash) (APIKey, error) {
	return s.facts.get(ctx, hash)
}

// Counts says how often API keys were answered from memory.
func (s *StaleAPIKeys) Counts() CacheCounts { return s.facts.counts.Counts() }

// ForgetAll drops what is known of API keys, like [StaleUsers.ForgetAll].
func (s *StaleAPIKeys) ForgetAll() { s.facts.forgetAll() }
