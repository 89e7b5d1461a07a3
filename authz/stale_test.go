package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// script is a store that returns its fields and counts the calls.
type script struct {
	user  User
	key   APIKey
	err   error
	asked int
	slow  func()
}

func (s *script) User(context.Context, string) (User, error) {
	s.asked++
	user, err := s.user, s.err
	if s.slow != nil {
		s.slow()
	}
	return user, err
}

func (s *script) APIKey(context.Context, KeyHash) (APIKey, error) {
	s.asked++
	return s.key, s.err
}

func config(maxAge time.Duration, now func() time.Time) StaleConfig {
	return StaleConfig{MaxAge: maxAge, Timeout: time.Minute, Size: 100, Now: now}
}

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func TestStaleUsersAge(t *testing.T) {
	t.Parallel()
	const maxAge = 5 * time.Second
	for _, c := range []struct {
		asks int // calls to the store, for two lookups
		name string
		step time.Duration
	}{
		{1, "at once", 0},
		{1, "a nanosecond before the end", maxAge - 1},
		{1, "exactly at the end", maxAge},
		{2, "a nanosecond after the end", maxAge + 1},
		{2, "the clock was set back", -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := &script{user: User{Active: true}}
			clock := &clock{time.Unix(1e9, 0)}
			users := NewStaleUsers(store, config(maxAge, clock.now))
			for range 2 {
				if user, err := users.User(t.Context(), "42"); err != nil || !user.Active {
					t.Fatalf("User = %v, %v; want an active user", user, err)
				}
				clock.t = clock.t.Add(c.step)
			}
			if store.asked != c.asks {
				t.Errorf("the store was asked %d times, want %d", store.asked, c.asks)
			}
		})
	}
}

// The age of a fact is counted from the start of its query, however long the query takes.
func TestStaleUsersAgeCountsFromTheQuestion(t *testing.T) {
	t.Parallel()
	clock := &clock{time.Unix(1e9, 0)}
	store := &script{user: User{Active: true}, slow: func() { clock.t = clock.t.Add(3 * time.Second) }}
	users := NewStaleUsers(store, config(5*time.Second, clock.now))
	_, _ = users.User(t.Context(), "42")
	clock.t = clock.t.Add(2*time.Second + 1)
	_, _ = users.User(t.Context(), "42")
	if store.asked != 2 {
		t.Errorf("the store was asked %d times, want 2: the fact is older than 5s, counted from the start of the query", store.asked)
	}
}

func TestStaleKeepsFactsOnly(t *testing.T) {
	t.Parallel()
	for _, err := range []error{errors.New("down"), ErrOverloaded, context.DeadlineExceeded} {
		store := &script{user: User{Active: true}, key: APIKey{Active: true}, err: err}
		users := NewStaleUsers(store, config(time.Minute, time.Now))
		keys := NewStaleAPIKeys(store, config(time.Minute, time.Now))
		for range 2 {
			if _, got := users.User(t.Context(), "42"); !errors.Is(got, err) {
				t.Errorf("User: %v, want %v", got, err)
			}
			if _, got := keys.APIKey(t.Context(), HashAPIKey("wk_12345678")); !errors.Is(got, err) {
				t.Errorf("APIKey: %v, want %v", got, err)
			}
		}
		if store.asked != 4 {
			t.Errorf("%v: the store was asked %d times, want 4: errors are not cached", err, store.asked)
		}
	}
}

// A store's outage does not matter while a fact is young enough. After that the check gets
// the error, not the old fact.
func TestStaleErrorAfterFact(t *testing.T) {
	t.Parallel()
	clock := &clock{time.Unix(1e9, 0)}
	store := &script{key: APIKey{Active: true}}
	keys := NewStaleAPIKeys(store, config(time.Second, clock.now))
	hash := HashAPIKey("wk_12345678")
	_, _ = keys.APIKey(t.Context(), hash)
	store.err = errors.New("down")
	if _, err := keys.APIKey(t.Context(), hash); err != nil {
		t.Errorf("within the bound: %v, want the fact", err)
	}
	clock.t = clock.t.Add(time.Second + 1)
	if _, err := keys.APIKey(t.Context(), hash); err == nil {
		t.Error("after the bound: an answer, want the error")
	}
}

func TestStaleKeysAreApart(t *testing.T) {
	t.Parallel()
	store := &script{user: User{Active: true}}
	users := NewStaleUsers(store, config(time.Minute, time.Now))
	_, _ = users.User(t.Context(), "1")
	store.user = User{}
	if user, _ := users.User(t.Context(), "2"); user.Active {
		t.Error("User(2) returned the fact about user 1")
	}
	if user, _ := users.User(t.Context(), "1"); !user.Active {
		t.Error("user 1 was asked again within the bound")
	}
}

// Users have the roles that the store gave them, and those with the same roles share one list.
func TestStaleSharesRoles(t *testing.T) {
	t.Parallel()
	store := &script{}
	users := NewStaleUsers(store, config(time.Minute, time.Now))
	got := func(id string, roles ...string) Names {
		t.Helper()
		store.user = User{Active: true, Roles: slices.Clone(roles)}
		user, err := users.User(t.Context(), id)
		if err != nil || !slices.Equal(user.Roles, roles) {
			t.Fatalf("user %s has the roles %q, %v; want %q", id, user.Roles, err, roles)
		}
		return user.Roles
	}
	one, two, other := got("1", "A", "B"), got("2", "A", "B"), got("3", "A B")
	if &one[0] != &two[0] {
		t.Error("two users with the same roles do not share them")
	}
	if &one[0] == &other[0] {
		t.Error("users with different roles share them")
	}
	got("4")
	long := strings.Repeat("x", maxSharedText+1)
	if one, two := got("5", long), got("6", long); &one[0] == &two[0] {
		t.Error("a long list is kept")
	}
	for n := range 2 * maxSharedNames {
		got(fmt.Sprint("user-", n), fmt.Sprint("role-", n))
	}
	if first, second := got("7", "last"), got("8", "last"); &first[0] == &second[0] {
		t.Errorf("more than %d lists are kept", maxSharedNames)
	}
}

func TestStaleIsBounded(t *testing.T) {
	t.Parallel()
	const size = 100
	store := &script{user: User{Active: true}}
	users := NewStaleUsers(store, config(time.Minute, time.Now))
	for i := range 50 * size {
		_, _ = users.User(t.Context(), fmt.Sprint(i))
	}
	if n := users.facts.found.Len(); n > size {
		t.Errorf("%d facts are kept, want at most %d", n, size)
	}
	if n := len(users.facts.questions); n > 0 {
		t.Errorf("%d questions are kept after their answers", n)
	}
}
