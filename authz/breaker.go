package authz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"warder/authz/mask"
)

const (
	// firstPause and lastPause bound the pause between two probes. They are well below the 2s
	// within which warder must recover from an outage.
	firstPause = 25 * time.Millisecond
	lastPause  = 250 * time.Millisecond
	// knownFor is the minimum age of a known question before it is replaced.
	knownFor = time.Second
	// breakerQuiet is the minimum time between two outages of one store that are logged.
	breakerQuiet = 10 * time.Second
)

// errAway is wrapped by the error of a question that was not sent because the store does not
// answer.
var errAway = errors.New("not asked")

// errFault is the result of a probe that panicked.
var errFault = errors.New("a fault of warder itself")

// BreakerConfig configures a [Breaker]. All fields but Failed and Renew are required.
type BreakerConfig[K any] struct {
	// Store is the name of the store in the log.
	Store string
	// Ask asks the store about key. Probes use it.
	Ask func(ctx context.Context, key K) error
	// Failed reports whether an error means that the store does not answer. It is false for an
	// error that is about one question, because anybody may be able to cause it. Nil means that
	// every error does.
	Failed func(error) bool
	// Renew is called after each probe that failed, to replace connections that may be dead. It
	// may be nil.
	Renew func()
	// Timeout is that of a question.
	Timeout time.Duration
	// Log is told when the store is away and when it is back.
	Log *slog.Logger
	// Now is the clock.
	Now func() time.Time
}

// A Breaker keeps checks from waiting for a store that does not answer. The caller asks it
// before each question ([Breaker.Refuse]) and tells it each result ([Breaker.Heard]).
//
// A question that fails without the store having answered any other meanwhile makes a store
// suspect. A probe then asks it in the background about something that it has answered before.
// When that fails too, the store is away: questions are refused at once, and one probe at a time
// asks again. The first answer of any kind ends this. So neither one slow answer nor one broken
// connection makes a store away. A store that answers only some of its questions is asked on, as
// long as it answers one while another waits.
//
// A Breaker holds no facts. Whatever its state, only an answer of the store can allow a request.
type Breaker[K any] struct {
	c     BreakerConfig[K]
	began time.Time

	answered atomic.Int64          // when the newest answer came, since began; -1 before the first
	away     atomic.Pointer[error] // what refused questions get; nil while questions are sent

	// Questions for probes. If the store cannot answer one of them, it may answer the other.
	known   atomic.Pointer[K] // one that was answered
	refused atomic.Pointer[K] // one that was refused
	renewed atomic.Int64      // when known was set, since began

	mu      sync.Mutex
	probing bool      // a goroutine probes
	said    time.Time // when the log last said that the store is away
	quiet   bool      // the log does not say that the store is away
	running context.Context
	stop    context.CancelFunc
	probes  sync.WaitGroup
}

// NewBreaker returns a Breaker of a store that answers. The caller must call [Breaker.Close].
func NewBreaker[K any](c BreakerConfig[K]) *Breaker[K] {
	if c.Failed == nil {
		c.Failed = func(error) bool { return true }
	}
	b := &Breaker[K]{c: c, began: c.Now()}
	b.answered.Store(-1)
	b.running, b.stop = context.WithCancel(context.Background()) //nolint:gosec // Close calls stop
	return b
}

// Close ends the probes. The store is no longer probed afterwards.
func (b *Breaker[K]) Close() {
	b.mu.Lock()
	b.stop()
	b.mu.Unlock()
	b.probes.Wait()
}

// Available reports whether questions are sent to the store.
func (b *Breaker[K]) Available() bool { return b.away.Load() == nil }

// Refuse returns an error if the store must not be asked about key now.
func (b *Breaker[K]) Refuse(key K) error {
	why := b.away.Load()
	if why == nil {
		return nil
	}
	if b.refused.Load() == nil {
		kept := key // so that key itself is not allocated
		b.refused.CompareAndSwap(nil, &kept)
	}
	return *why
}

// Heard records the result of a question about key that was asked at the time asked.
func (b *Breaker[K]) Heard(key K, asked time.Time, err error) {
	switch {
	case errors.Is(err, ErrOverloaded) || errors.Is(err, context.Canceled): // the store was not asked, or nobody waits
	case err == nil:
		b.keep(key)
		b.Answered()
	case isNotFound(err) || !b.c.Failed(err):
		b.Answered()
	case b.answered.Load() < int64(asked.Sub(b.began)):
		b.suspect(key)
	}
}

// Answered records that the store has answered.
func (b *Breaker[K]) Answered() {
	b.answered.Store(int64(b.c.Now().Sub(b.began)))
	if b.away.Load() != nil {
		b.back()
	}
}

// keep keeps a question that was answered, for probes.
func (b *Breaker[K]) keep(key K) {
	now, last := int64(b.c.Now().Sub(b.began)), b.renewed.Load()
	if b.known.Load() != nil && now-last < int64(knownFor) || !b.renewed.CompareAndSwap(last, now) {
		return
	}
	kept := key // as in Refuse
	b.known.Store(&kept)
}

// suspect starts a probe, unless there is one.
func (b *Breaker[K]) suspect(key K) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.probing || b.running.Err() != nil {
		return
	}
	b.probing = true
	b.probes.Go(func() {
		b.probe(key)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.probing = false
	})
}

// probe asks the store until it has answered. failed is the question that made it suspect.
func (b *Breaker[K]) probe(failed K) {
	began := b.c.Now()
	answered := func() bool { return b.answered.Load() >= int64(began.Sub(b.began)) }
	pause := firstPause
	for n := 0; !answered(); n++ {
		key := failed
		if known := b.known.Load(); known != nil && n%2 == 0 {
			key = *known
		} else if refused := b.refused.Swap(nil); refused != nil {
			key, failed = *refused, *refused
		}
		asked := b.c.Now()
		err := b.ask(key)
		if b.running.Err() != nil {
			return
		}
		b.Heard(key, asked, err)
		switch now := b.c.Now(); {
		case answered():
			return
		// A probe that found no room is no proof by itself. A store that is only slow gives
		// some answer meanwhile.
		case !errors.Is(err, ErrOverloaded) || now.Sub(began) >= 2*b.c.Timeout:
			b.gone(now, err)
			if answered() { // since it was looked at above, by an answer that found nothing to end
				b.back()
				return
			}
			if b.c.Renew != nil {
				b.c.Renew()
			}
		}
		// Many instances of warder should not ask at the same moment.
		again := time.NewTimer(pause - rand.N(pause/4)) //nolint:gosec // no secret
		select {
		case <-again.C:
		case <-b.running.Done():
			again.Stop()
			return
		}
		pause = min(2*pause, lastPause)
	}
}

// ask sends one probe. A panic of the store counts as an outage: there is no caller to recover it.
func (b *Breaker[K]) ask(key K) (err error) {
	ctx, cancel := context.WithTimeout(b.running, b.c.Timeout)
	defer cancel()
	defer func() {
		if fault := recover(); fault != nil {
			mask.LogPanic(ctx, b.c.Log, "probing "+b.c.Store, fault)
			err = errFault
		}
	}()
	return b.c.Ask(ctx, key)
}

// gone records that the store does not answer.
func (b *Breaker[K]) gone(now time.Time, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	why := fmt.Errorf("%w: %w", errAway, err)
	if errors.Is(err, ErrOverloaded) {
		why = errAway // the store does not answer, so the reason is another
	}
	if b.away.Swap(&why) != nil {
		return
	}
	if b.quiet = !b.said.IsZero() && now.Sub(b.said) < breakerQuiet; b.quiet {
		return
	}
	b.said = now
	b.c.Log.Warn("a store does not answer a probe either; until it does, requests that need it get a 503 at once", "store", b.c.Store, "error", err)
}

// back records that the store answers again.
func (b *Breaker[K]) back() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away.Swap(nil) != nil && !b.quiet {
		b.c.Log.Info("a store has answered, and is asked again", "store", b.c.Store)
	}
}

// guarded asks a store unless its breaker refuses.
type guarded[K, V any] struct {
	*Breaker[K]
	ask func(context.Context, K) (V, error)
}

func newGuarded[K, V any](ask func(context.Context, K) (V, error), c BreakerConfig[K]) guarded[K, V] {
	c.Ask = func(ctx context.Context, key K) error {
		_, err := ask(ctx, key)
		return err
	}
	return guarded[K, V]{NewBreaker(c), ask}
}

func (g guarded[K, V]) get(ctx context.Context, key K) (V, error) {
	if err := g.Refuse(key); err != nil {
		var none V
		return none, err
	}
	asked := g.c.Now()
	value, err := g.ask(ctx, key)
	g.Heard(key, asked, err)
	return value, err
}

// GuardedUsers is a [Users] with a [Breaker].
type GuardedUsers struct{ guarded[string, User] }

// NewGuardedUsers returns u with a breaker. It sets c.Ask.
func NewGuardedUsers(u Users, c BreakerConfig[string]) *GuardedUsers {
	return &GuardedUsers{newGuarded(u.User, c)}
}

// User implements [Users].
func (g *GuardedUsers) User(ctx context.Context, id string) (User, error) { return g.get(ctx, id) }

// GuardedAPIKeys is an [APIKeys] with a [Breaker].
type GuardedAPIKeys struct{ guarded[KeyHash, APIKey] }

// NewGuardedAPIKeys returns k with a breaker. It sets c.Ask.
func NewGuardedAPIKeys(k APIKeys, c BreakerConfig[KeyHash]) *GuardedAPIKeys {
	return &GuardedAPIKeys{newGuarded(k.APIKey, c)}
}

// APIKey implements [APIKeys].
func (g *GuardedAPIKeys) APIKey(ctx context.Context, hash KeyHash) (APIKey, error) {
	return g.get(ctx, hash)
}
