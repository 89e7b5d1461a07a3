package authz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// questionTime is the timeout of a question in these tests.
const questionTime = 100 * time.Millisecond

var (
	errSilent  = fmt.Errorf("the database does not answer: %w", context.DeadlineExceeded)
	errRow     = errors.New("a damaged row")
	errRefused = errors.New("connection refused")
)

// A journal is a log that several goroutines may write.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// An unstable is a store of users that fails as told. It counts who waits for it.
type unstable struct {
	answers atomic.Pointer[func(id string) (User, error)]
	asked   atomic.Int64
	now     atomic.Int64 // questions in progress
	most    atomic.Int64 // the greatest number of them
}

func (u *unstable) User(ctx context.Context, id string) (User, error) {
	u.asked.Add(1)
	u.most.Store(max(u.most.Load(), u.now.Add(1)))
	defer u.now.Add(-1)
	user, err := (*u.answers.Load())(id)
	if errors.Is(err, context.DeadlineExceeded) {
		wait := time.NewTimer(questionTime)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return user, err
}

func (u *unstable) set(answers func(id string) (User, error)) { u.answers.Store(&answers) }

func (u *unstable) guarded(t *testing.T, log *journal) *GuardedUsers {
	t.Helper()
	g := NewGuardedUsers(u, BreakerConfig[string]{
		Store: "users", Timeout: questionTime, Now: time.Now, Log: slog.New(slog.NewTextHandler(log, nil)),
		Failed: func(err error) bool { return !errors.Is(err, errRow) },
	})
	t.Cleanup(g.Close)
	return g
}

func well(string) (User, error) { return User{Active: true}, nil }

// silent returns what would allow the request, with an error.
func silent(string) (User, error) { return User{Active: true}, errSilent }

// During an outage only the checks of its first moments wait. One probe at a time asks on, and
// its first answer ends the outage.
func TestBreakerOutage(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]func(string) (User, error){
		"silent":  silent,
		"refused": func(string) (User, error) { return User{Active: true}, errRefused },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log journal
				store := new(unstable)
				store.set(well)
				g := store.guarded(t, &log)
				for range 3 { // a check each 10ms
					time.Sleep(10 * time.Millisecond)
					if u, err := g.User(t.Context(), "42"); err != nil || !u.Active || !g.Available() {
						t.Fatalf("before the outage: %v, %v", u, err)
					}
				}
				store.set(fails)
				var waited, atOnce atomic.Int64
				var checks sync.WaitGroup
				for range 500 {
					time.Sleep(10 * time.Millisecond)
					checks.Go(func() {
						began := time.Now()
						if u, err := g.User(t.Context(), "42"); err == nil || u.Active && !errors.Is(err, errSilent) && !errors.Is(err, errRefused) {
							t.Errorf("during the outage: %v, %v", u, err)
						}
						if time.Since(began) > 0 {
							waited.Add(1)
						} else {
							atOnce.Add(1)
						}
					})
				}
				checks.Wait()
				// The first failure, and then the first probe, take questionTime each.
				if most := int64(2*questionTime/(10*time.Millisecond)) + 1; waited.Load() > most {
					t.Errorf("%d checks waited, want %d at most; %d were answered at once", waited.Load(), most, atOnce.Load())
				}
				if g.Available() {
					t.Error("the store is available")
				}
				asked := store.asked.Load()
				store.most.Store(0)
				time.Sleep(10 * time.Second)
				if n := store.asked.Load() - asked; n < 20 || n > 60 || store.most.Load() != 1 {
					t.Errorf("%d probes in 10s, %d at once; want a few each second, one at a time", n, store.most.Load())
				}
				store.set(well)
				time.Sleep(lastPause + questionTime)
				if u, err := g.User(t.Context(), "7"); err != nil || !u.Active || !g.Available() {
					t.Errorf("after the outage: %v, %v", u, err)
				}
				asked = store.asked.Load()
				time.Sleep(time.Minute)
				if n := store.asked.Load() - asked; n != 0 {
					t.Errorf("%d probes after the outage", n)
				}
				if said := log.String(); strings.Count(said, "\n") != 2 ||
					!strings.Contains(said, `level=WARN msg="a store does not answer a probe either; until it does, requests that need it get a 503 at once" store=users error=`) ||
					!strings.Contains(said, `level=INFO msg="a store has answered, and is asked again" store=users`) {
					t.Errorf("the log says %s", said)
				}
			})
		})
	}
}

// An errLate is the error of a probe. looked is called whenever the breaker looks at it.
type errLate struct{ looked func() }

func (e errLate) Error() string { return "late" }

func (e errLate) Is(target error) bool {
	if target == ErrOverloaded {
		e.looked()
	}
	return false
}

// An answer that comes while the failure of a probe is recorded ends the outage too. Otherwise
// nothing would ever end it: no question is sent, and no probe is in progress.
func TestBreakerAnswerDuringProbe(t *testing.T) {
	t.Parallel()
	for meanwhile := 1; meanwhile <= 4; meanwhile++ { // the look at which the answer comes
		synctest.Test(t, func(t *testing.T) {
			var log journal
			store := new(unstable)
			g := store.guarded(t, &log)
			looks := 0
			probe := errLate{func() {
				if looks++; looks == meanwhile {
					g.Answered()
				}
			}}
			store.set(func(string) (User, error) {
				if store.asked.Load() == 1 {
					return User{}, errRefused
				}
				return User{}, probe
			})
			if _, err := g.User(t.Context(), "42"); !errors.Is(err, errRefused) {
				t.Fatalf("the first question: %v", err)
			}
			synctest.Wait()
			store.set(well)
			time.Sleep(time.Minute)
			if u, err := g.User(t.Context(), "42"); err != nil || !u.Active || !g.Available() {
				t.Errorf("a minute after an answer at look %d of %d: %v, %v", meanwhile, looks, u, err)
			}
		})
	}
}

// What is not an outage leaves the store available to all.
func TestBreakerNoOutage(t *testing.T) {
	t.Parallel()
	odd := 0
	for _, tt := range []struct {
		name    string
		answers func(id string) (User, error)
		every   time.Duration // between checks
	}{
		{"a slow user", func(id string) (User, error) {
			if id == "slow" {
				return silent(id)
			}
			return well(id)
		}, 500 * time.Millisecond},
		{"a damaged row", func(id string) (User, error) {
			if id == "slow" {
				return User{}, errRow
			}
			return well(id)
		}, time.Millisecond},
		{"half of the questions are answered", func(id string) (User, error) {
			if odd++; odd%2 == 0 {
				return silent(id)
			}
			return well(id)
		}, time.Millisecond},
		{"one question of four is answered", func(id string) (User, error) {
			if odd++; odd%4 != 0 {
				return silent(id)
			}
			return well(id)
		}, 10 * time.Millisecond},
		{"unknown users", func(string) (User, error) { return User{}, ErrNotFound }, time.Millisecond},
		{"overloaded", func(string) (User, error) { return User{}, fmt.Errorf("full: %w", ErrOverloaded) }, time.Millisecond},
		{"nobody waits", func(string) (User, error) { return User{}, fmt.Errorf("given up: %w", context.Canceled) }, time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log journal
				store := new(unstable)
				store.set(well)
				g := store.guarded(t, &log)
				_, _ = g.User(t.Context(), "42") // a probe has a question that was answered before
				var mu sync.Mutex
				store.set(func(id string) (User, error) {
					mu.Lock()
					defer mu.Unlock()
					return tt.answers(id)
				})
				var checks sync.WaitGroup
				for n := range 400 {
					time.Sleep(tt.every)
					id := "42"
					if n%2 == 0 {
						id = "slow"
					}
					checks.Go(func() { _, _ = g.User(t.Context(), id) })
					if !g.Available() {
						t.Fatalf("the store is away after %d checks: %s", n, log.String())
					}
				}
				checks.Wait()
			})
		})
	}
}

// A broken connection fails many questions at the same moment. The probe uses another one.
func TestBreakerOneConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log journal
		store := new(unstable)
		store.set(well)
		g := store.guarded(t, &log)
		_, _ = g.User(t.Context(), "42")
		time.Sleep(time.Second)
		var left atomic.Int64
		left.Store(100)
		store.set(func(id string) (User, error) {
			if left.Add(-1) >= 0 {
				return silent(id)
			}
			return well(id)
		})
		var checks sync.WaitGroup
		for range 100 {
			checks.Go(func() { _, _ = g.User(t.Context(), "42") })
		}
		checks.Wait()
		synctest.Wait()
		if u, err := g.User(t.Context(), "42"); err != nil || !u.Active || log.String() != "" {
			t.Errorf("afterwards: %v, %v, and the log says %q", u, err, log.String())
		}
	})
}

// A store that answers now and then is not reported each time.
func TestBreakerLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log journal
		store := new(unstable)
		store.set(well)
		g := store.guarded(t, &log)
		for range 30 { // for 30s
			store.set(silent)
			for g.Available() {
				_, _ = g.User(t.Context(), "42")
			}
			store.set(well)
			time.Sleep(time.Second)
			if !g.Available() {
				t.Fatal("the store is away")
			}
		}
		if n := strings.Count(log.String(), "level=WARN"); n < 3 || n > 4 || strings.Count(log.String(), "level=INFO") != n {
			t.Errorf("the log says %s", log.String())
		}
	})
}

// A probe that panics does not end the process. A breaker that is closed does not probe.
func TestBreakerEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log journal
		store := new(unstable)
		store.set(silent)
		g := store.guarded(t, &log)
		store.set(func(string) (User, error) { return User{}, errRefused })
		_, _ = g.User(t.Context(), "42")
		store.set(func(string) (User, error) { panic("the password is hunter2") })
		time.Sleep(time.Second)
		if _, err := g.User(t.Context(), "42"); err == nil || g.Available() {
			t.Errorf("User: %v", err)
		}
		if said := log.String(); !strings.Contains(said, "msg=panic") || strings.Contains(said, "hunter2") {
			t.Errorf("the log says %s", said)
		}
		g.Close()
		asked := store.asked.Load()
		time.Sleep(time.Minute)
		g.Heard("42", time.Now(), errSilent)
		synctest.Wait()
		if n := store.asked.Load() - asked; n != 0 {
			t.Errorf("%d probes after Close", n)
		}
	})
}

// A full pool is no outage by itself, but it must not hide one.
func TestBreakerFullPool(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log journal
		store := new(unstable)
		store.set(func(id string) (User, error) {
			if id == "stranger" {
				return User{}, ErrOverloaded
			}
			return silent(id)
		})
		g := store.guarded(t, &log)
		for range 10 {
			_, _ = g.User(t.Context(), "42")
			if g.Available() {
				g.suspect("stranger")
			}
		}
		time.Sleep(3 * questionTime)
		_, err := g.User(t.Context(), "stranger")
		if err == nil || errors.Is(err, ErrOverloaded) || g.Available() {
			t.Errorf("User: %v, want the outage", err)
		}
	})
}
