package authz

import (
	"context"
	"time"

	"github.com/maypok86/otter/v2"
)

// NewStaleUsers returns users that answers with what u said at most maxAge ago:
// the price of a query less is that a change of a user is seen that much later.
// At most size users are kept. Only facts are: an error is asked about again the
// next time, and so is a user that was not there. now is the clock.
func NewStaleUsers(u Users, maxAge time.Duration, size int, now func() time.Time) Users {
	return &staleUsers{users: u, facts: newFacts[string, User](maxAge, size, now)}
}

// NewStaleAPIKeys is NewStaleUsers for API keys. A key that expires is refused in
// time all the same, since the engine looks at the clock.
func NewStaleAPIKeys(k APIKeys, maxAge time.Duration, size int, now func() time.Time) APIKeys {
	return &staleAPIKeys{keys: k, facts: newFacts[KeyHash, APIKey](maxAge, size, now)}
}

type staleUsers struct {
	users Users
	facts *facts[string, User]
}

func (s *staleUsers) User(ctx context.Context, id string) (User, error) {
	return s.facts.get(id, func() (User, error) { return s.users.User(ctx, id) })
}

type staleAPIKeys struct {
	keys  APIKeys
	facts *facts[KeyHash, APIKey]
}

func (s *staleAPIKeys) APIKey(ctx context.Context, hash KeyHash) (APIKey, error) {
	return s.facts.get(hash, func() (APIKey, error) { return s.keys.APIKey(ctx, hash) })
}

// facts are answers that may be used again until they are too old.
type facts[K comparable, V any] struct {
	cache  *otter.Cache[K, fact[V]]
	maxAge time.Duration
	now    func() time.Time
}

// A fact is what a store said. It was true at some time after asked, so that
// counting its age from there never makes it younger than it is.
type fact[V any] struct {
	value V
	asked time.Time
}

func newFacts[K comparable, V any](maxAge time.Duration, size int, now func() time.Time) *facts[K, V] {
	// The age is held against the clock at each reading; the cache itself has
	// no clock and only bounds how many there are.
	return &facts[K, V]{
		cache:  otter.Must(&otter.Options[K, fact[V]]{MaximumSize: size}),
		maxAge: maxAge,
		now:    now,
	}
}

func (f *facts[K, V]) get(key K, ask func() (V, error)) (V, error) {
	asked := f.now()
	if known, ok := f.cache.GetIfPresent(key); ok {
		// A clock that was set back makes a fact of the future: ask again.
		if age := asked.Sub(known.asked); 0 <= age && age <= f.maxAge {
			return known.value, nil
		}
	}
	value, err := ask()
	if err != nil {
		return value, err
	}
	// A slow query may end after a later one whose fact is newer: keep that.
	f.cache.Compute(key, func(known fact[V], found bool) (fact[V], otter.ComputeOp) {
		if found && known.asked.After(asked) && !known.asked.After(f.now()) {
			return known, otter.CancelOp
		}
		return fact[V]{value, asked}, otter.WriteOp
	})
	return value, nil
}
