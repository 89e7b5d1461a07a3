package authz

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A slowStore answers each question with the state at the time of the question, one
// second later. It is for use in a synctest bubble, where the second takes no real time.
type slowStore struct {
	mu    sync.Mutex
	now   truth
	asked int
	ctx   context.Context // of the latest question
}

type truth struct {
	user  User
	err   error
	throw any
	takes time.Duration // 0 means one second
}

func slow(now truth) *slowStore { return &slowStore{now: now} }

func (s *slowStore) User(ctx context.Context, _ string) (User, error) {
	s.mu.Lock()
	s.asked++
	s.ctx = ctx
	now := s.now
	s.mu.Unlock()
	time.Sleep(cmp.Or(now.takes, time.Second))
	if now.throw != nil {
		panic(now.throw)
	}
	return now.user, now.err
}

func (s *slowStore) become(now truth) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

// wantAsked fails the test unless the store was asked want times.
func (s *slowStore) wantAsked(t *testing.T, want int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked != want {
		t.Errorf("the store was asked %d times, want %d", s.asked, want)
	}
}

var active = truth{user: User{Active: true}}

// An outcome is the result of one call of User.
type outcome struct {
	user  User
	err   error
	threw any
	after time.Duration
}

// ask calls User in a goroutine and returns a channel that receives the outcome.
func ask(ctx context.Context, users Users, id string) <-chan outcome {
	out := make(chan outcome, 1)
	started := time.Now()
	go func() {
		var o outcome
		defer func() {
			o.threw = recover()
			o.after = time.Since(started)
			out <- o
		}()
		o.user, o.err = users.User(ctx, id)
	}()
	return out
}

func TestFactsOneQuestionForMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := slow(active)
		users := NewStaleUsers(store, config(time.Minute, time.Now))
		var all []<-chan outcome
		for range 50 {
			all = append(all, ask(t.Context(), users, "42"))
			time.Sleep(time.Millisecond)
		}
		other := ask(t.Context(), users, "43")
		for _, one := range all {
			if o := <-one; o.err != nil || !o.user.Active {
				t.Fatalf("%+v", o)
			}
		}
		<-other
		store.wantAsked(t, 2) // for two users
		if _, err := users.User(t.Context(), "42"); err != nil {
			t.Fatal(err)
		}
		if got, want := users.Counts(), (CacheCounts{Hits: 1, Shared: 49, Misses: 2}); got != want {
			t.Errorf("counted %+v, want %+v", got, want)
		}
	})
}

// When the check that started a question is cancelled, the other checks still get the
// answer, each within its own deadline.
func TestFactsOwnDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := slow(active)
		users := NewStaleUsers(store, config(time.Minute, time.Now))
		ctx, cancel := context.WithCancel(t.Context())
		first := ask(ctx, users, "42")
		time.Sleep(100 * time.Millisecond)
		short, cancelShort := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancelShort()
		second := ask(short, users, "42")
		third := ask(t.Context(), users, "42")
		time.Sleep(100 * time.Millisecond)
		cancel()
		if o := <-first; !errors.Is(o.err, context.Canceled) || o.user.Active || o.after != 200*time.Millisecond {
			t.Errorf("the cancelled check got %+v", o)
		}
		if o := <-second; !errors.Is(o.err, context.DeadlineExceeded) || o.after != 200*time.Millisecond {
			t.Errorf("the check with a short deadline got %+v", o)
		}
		if o := <-third; o.err != nil || !o.user.Active {
			t.Errorf("the third check got %+v", o)
		}
		store.wantAsked(t, 1)
		if at, ok := store.ctx.Deadline(); !ok || time.Until(at) > time.Minute {
			t.Error("the question has no deadline")
		}
	})
}

// A question that hangs ends at its timeout, and the next check asks again.
func TestFactsQuestionsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hung := usersFunc(func(ctx context.Context, _ string) (User, error) {
			<-ctx.Done()
			return User{Active: true}, ctx.Err()
		})
		users := NewStaleUsers(hung, StaleConfig{MaxAge: time.Hour, Timeout: 150 * time.Millisecond, Size: 10, Now: time.Now})
		for range 2 {
			if o := <-ask(t.Context(), users, "42"); o.err == nil || o.user.Active || o.after != 150*time.Millisecond {
				t.Errorf("%+v", o)
			}
		}
	})
}

type usersFunc func(context.Context, string) (User, error)

func (f usersFunc) User(ctx context.Context, id string) (User, error) { return f(ctx, id) }

// An error reaches the checks that are waiting and is not cached. A value that a store
// returns along with an error is dropped.
func TestFactsErrorsAreSharedAndNotKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		store := slow(truth{user: User{Active: true}, err: down})
		users := NewStaleUsers(store, config(time.Minute, time.Now))
		for range 2 {
			first, second := ask(t.Context(), users, "42"), ask(t.Context(), users, "42")
			for _, one := range []<-chan outcome{first, second} {
				if o := <-one; !errors.Is(o.err, down) || o.user.Active {
					t.Errorf("%+v", o)
				}
			}
		}
		store.wantAsked(t, 2)
		store.become(active)
		if o := <-ask(t.Context(), users, "42"); o.err != nil || !o.user.Active {
			t.Errorf("after the error: %+v", o)
		}
	})
}

// A panic in a store reaches each waiting check, as it would without a cache, and does not
// end the process.
func TestFactsPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := slow(truth{user: User{Active: true}, throw: "a canary"})
		users := NewStaleUsers(store, config(time.Minute, time.Now))
		first, second := ask(t.Context(), users, "42"), ask(t.Context(), users, "42")
		for _, one := range []<-chan outcome{first, second} {
			if o := <-one; o.threw != "a canary" || o.user.Active {
				t.Errorf("%+v, want the panic", o)
			}
		}
		store.become(active)
		if o := <-ask(t.Context(), users, "42"); o.err != nil || o.threw != nil || !o.user.Active {
			t.Errorf("after the panic: %+v", o)
		}
	})
}

// A check may use an answer that was asked for at most MaxAge before the check began. It
// does not join a question that has been in progress for longer.
func TestFactsOldQuestionIsNotJoined(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		later time.Duration
		asks  int
	}{{100 * time.Millisecond, 1}, {100*time.Millisecond + 1, 2}} {
		synctest.Test(t, func(t *testing.T) {
			store := slow(active)
			users := NewStaleUsers(store, config(100*time.Millisecond, time.Now))
			first := ask(t.Context(), users, "42")
			time.Sleep(test.later)
			store.become(truth{}) // the user is deactivated
			second := ask(t.Context(), users, "42")
			<-first
			if o := <-second; o.err != nil || o.user.Active != (test.asks == 1) {
				t.Errorf("%v later: %+v", test.later, o)
			}
			store.wantAsked(t, test.asks)
		})
	}
}

// A question that starts earlier and ends later does not replace a newer fact.
func TestFactsNewerStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := slow(active)
		users := NewStaleUsers(store, config(300*time.Millisecond, time.Now))
		first := ask(t.Context(), users, "42") // ends after 1s
		time.Sleep(900 * time.Millisecond)
		store.become(truth{takes: 50 * time.Millisecond})
		<-ask(t.Context(), users, "42") // ends after 950ms
		<-first
		if o := <-ask(t.Context(), users, "42"); o.user.Active {
			t.Error("the older answer replaced the newer one")
		}
		store.wantAsked(t, 2)
	})
}

// forgetting holds each way to forget user 42.
var forgetting = map[string]func(*StaleUsers){
	"Forget":    func(s *StaleUsers) { s.Forget("42") },
	"ForgetAll": func(s *StaleUsers) { s.ForgetAll() },
}

func TestFactsForget(t *testing.T) {
	t.Parallel()
	for name, forget := range forgetting {
		synctest.Test(t, func(t *testing.T) {
			store := slow(active)
			users := NewStaleUsers(store, config(time.Hour, time.Now))
			<-ask(t.Context(), users, "42")
			<-ask(t.Context(), users, "43")
			store.become(truth{})
			forget(users)
			if o := <-ask(t.Context(), users, "42"); o.user.Active {
				t.Errorf("%s: the fact is still used", name)
			}
			if o := <-ask(t.Context(), users, "43"); o.user.Active != (name == "Forget") {
				t.Errorf("%s: another user is %+v", name, o)
			}
		})
	}
}

// A question asked before Forget and answered after it answers the checks that were
// waiting. No later check gets its answer, from the cache or by joining it.
func TestFactsForgetDuringQuestion(t *testing.T) {
	t.Parallel()
	for name, forget := range forgetting {
		synctest.Test(t, func(t *testing.T) {
			store := slow(active)
			users := NewStaleUsers(store, config(time.Hour, time.Now))
			first := ask(t.Context(), users, "42")
			time.Sleep(500 * time.Millisecond)
			store.become(truth{})
			forget(users)
			second := ask(t.Context(), users, "42")
			if o := <-first; !o.user.Active {
				t.Fatalf("%s: the question before the change: %+v", name, o)
			}
			if o := <-ask(t.Context(), users, "42"); o.user.Active {
				t.Errorf("%s: the answer from before the change was stored", name)
			}
			if o := <-second; o.user.Active {
				t.Errorf("%s: a check after the change joined the question from before it", name)
			}
			store.wantAsked(t, 2)
		})
	}
}

func TestFactsForgetAllKeys(t *testing.T) {
	t.Parallel()
	store := &script{key: APIKey{Active: true}}
	keys := NewStaleAPIKeys(store, config(time.Hour, time.Now))
	_, _ = keys.APIKey(t.Context(), HashAPIKey("wk_12345678"))
	store.key = APIKey{}
	keys.ForgetAll()
	if key, err := keys.APIKey(t.Context(), HashAPIKey("wk_12345678")); err != nil || key.Active {
		t.Errorf("APIKey = %+v, %v", key, err)
	}
}

func TestFactsAbsence(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		asks   int // calls to the store, for two lookups
		maxAge time.Duration
		later  time.Duration
	}{
		{1, time.Hour, 0},
		{1, time.Hour, time.Second},
		{2, time.Hour, time.Second + 1},
		{1, 200 * time.Millisecond, 200 * time.Millisecond},
		{2, 200 * time.Millisecond, 200*time.Millisecond + 1},
		{2, time.Hour, -1},
	} {
		clock := &clock{time.Unix(1e9, 0)}
		store := &script{err: fmt.Errorf("wrapped: %w", ErrNotFound)}
		keys := NewStaleAPIKeys(store, config(test.maxAge, clock.now))
		for range 2 {
			if key, err := keys.APIKey(t.Context(), KeyHash{}); !errors.Is(err, ErrNotFound) || key.Active {
				t.Fatalf("APIKey = %+v, %v", key, err)
			}
			clock.t = clock.t.Add(test.later)
		}
		if store.asked != test.asks {
			t.Errorf("%v later: %d questions, want %d", test.later, store.asked, test.asks)
		}
	}
}

// After Forget, a user that was created is found at once, and a user that was deleted is
// absent at once.
func TestFactsAbsenceEnds(t *testing.T) {
	t.Parallel()
	for name, forget := range forgetting {
		store := &script{err: ErrNotFound}
		users := NewStaleUsers(store, config(time.Hour, time.Now))
		_, _ = users.User(t.Context(), "42")
		store.err, store.user = nil, User{Active: true}
		forget(users)
		if user, err := users.User(t.Context(), "42"); err != nil || !user.Active {
			t.Errorf("%s: User = %+v, %v; the absence is still cached", name, user, err)
		}
		store.err = ErrNotFound
		forget(users)
		if user, err := users.User(t.Context(), "42"); !errors.Is(err, ErrNotFound) || user.Active {
			t.Errorf("%s: User = %+v, %v; the fact is still cached", name, user, err)
		}
	}
}

// A newer answer replaces an older one of the other kind for good: the older one does not
// come back when the clock is set back to a time at which it was not too old.
func TestFactsOlderAnswerIsGone(t *testing.T) {
	t.Parallel()
	for _, absent := range []bool{false, true} {
		clock := &clock{time.Unix(1e9, 0)}
		store := &script{user: User{Active: true}}
		become := func(absent bool) {
			if store.err = nil; absent {
				store.err = ErrNotFound
			}
		}
		users := NewStaleUsers(store, config(5*time.Second, clock.now))
		become(!absent)
		_, _ = users.User(t.Context(), "42")
		become(absent)
		clock.t = clock.t.Add(10 * time.Second)
		_, _ = users.User(t.Context(), "42")
		clock.t = clock.t.Add(-9500 * time.Millisecond)
		if user, err := users.User(t.Context(), "42"); errors.Is(err, ErrNotFound) != absent || user.Active == absent {
			t.Errorf("absent %v: User = %+v, %v", absent, user, err)
		}
	}
}

// Requests with made-up keys do not evict facts.
func TestFactsAbsencesLeaveFactsAlone(t *testing.T) {
	t.Parallel()
	store := &script{key: APIKey{Active: true}}
	keys := NewStaleAPIKeys(store, config(time.Hour, time.Now))
	for n := range byte(100) {
		_, _ = keys.APIKey(t.Context(), KeyHash{n})
	}
	store.err = ErrNotFound
	for n := range 5000 {
		_, _ = keys.APIKey(t.Context(), KeyHash{1: 1, 2: byte(n), 3: byte(n >> 8)})
	}
	asked := store.asked
	for n := range byte(100) {
		_, _ = keys.APIKey(t.Context(), KeyHash{n})
	}
	if store.asked != asked {
		t.Errorf("%d of 100 facts were evicted", store.asked-asked)
	}
	if n := keys.facts.absent.Len(); n > 100 {
		t.Errorf("%d absences are kept, want at most 100", n)
	}
}

func TestFactsEndedContext(t *testing.T) {
	t.Parallel()
	store := &script{user: User{Active: true}}
	users := NewStaleUsers(store, config(time.Hour, time.Now))
	_, _ = users.User(t.Context(), "42")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if user, err := users.User(ended, "42"); !errors.Is(err, context.Canceled) || user.Active {
		t.Errorf("User = %+v, %v", user, err)
	}
}

// BenchmarkFactsHit measures a cache hit, the usual case.
func BenchmarkFactsHit(b *testing.B) {
	users := NewStaleUsers(&script{user: User{Active: true}}, config(time.Hour, time.Now))
	b.ReportAllocs()
	for b.Loop() {
		if user, err := users.User(b.Context(), "42"); err != nil || !user.Active {
			b.Fatal(user, err)
		}
	}
}
