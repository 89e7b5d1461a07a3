package authz

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

const (
	// maxAbsence bounds how long it is remembered that there is no such user or
	// key: long enough for a client that tries again at once, short enough for
	// somebody who waits for a key that was made just now.
	maxAbsence = time.Second
	// absences is how many of these are remembered. They have a cache of their own,
	// so that no number of invented keys drives out a fact.
	absences = 10_000
)

// errUnanswered is for those who wait for a question whose goroutine ended
// without an answer.
var errUnanswered = errors.New("the store did not answer")

// facts are answers of a store that may be used again until they are too old or
// are forgotten.
type facts[K comparable, V any] struct {
	ask     func(context.Context, K) (V, error)
	maxAge  time.Duration
	timeout time.Duration
	now     func() time.Time

	// The caches have no clock and only bound how many answers there are: the age is
	// held against ours at each reading.
	found  *otter.Cache[K, fact[V]]
	absent *otter.Cache[K, fact[struct{}]]
	// epoch is the one that answers have to be of. A new one forgets them all.
	epoch atomic.Uint64

	// mu is over storing and forgetting, so that what was asked before something
	// was forgotten is not stored after it.
	mu sync.Mutex
	// questions are those under way that may be joined and whose answer will be
	// stored. One that is no longer here still answers who waits for it.
	questions map[K]*pending[V]

	counts CacheCounter
}

// A fact is what a store said. It was true at some time after asked, so that
// counting its age from there never makes it younger than it is.
type fact[V any] struct {
	value V
	asked time.Time
	epoch uint64
}

// A pending question is one that was sent. All but asked is for reading when done
// is closed.
type pending[V any] struct {
	asked time.Time
	done  chan struct{}
	value V
	err   error
	panic any
}

func newFacts[K comparable, V any](ask func(context.Context, K) (V, error), c StaleConfig) *facts[K, V] {
	return &facts[K, V]{
		ask:       ask,
		maxAge:    c.MaxAge,
		timeout:   cmp.Or(c.Timeout, time.Second),
		now:       c.Now,
		found:     otter.Must(&otter.Options[K, fact[V]]{MaximumSize: c.Size}),
		absent:    otter.Must(&otter.Options[K, fact[struct{}]]{MaximumSize: min(c.Size, absences)}),
		questions: make(map[K]*pending[V]),
	}
}

// get answers from what is known, else from a question under way, else from one of
// its own. The answer was asked for at most maxAge before get was called.
func (f *facts[K, V]) get(ctx context.Context, key K) (V, error) {
	var none V
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if value, err, ok := f.known(key, f.now()); ok {
		f.counts.Hit()
		return value, err
	}
	question, value, err := f.join(key)
	if question == nil {
		return value, err
	}
	select {
	case <-question.done:
	case <-ctx.Done():
		return none, ctx.Err()
	}
	switch {
	case question.panic != nil:
		// As if this check had asked by itself: whoever called it handles panics.
		panic(question.panic)
	case question.err != nil:
		return none, question.err
	}
	return question.value, nil
}

// known looks for an answer that is not too old at the time now.
func (f *facts[K, V]) known(key K, now time.Time) (value V, err error, ok bool) {
	if known, is := f.found.GetIfPresent(key); is && known.epoch == f.epoch.Load() && within(known.asked, now, f.maxAge) {
		return known.value, nil, true
	}
	if known, is := f.absent.GetIfPresent(key); is && known.epoch == f.epoch.Load() && within(known.asked, now, min(f.maxAge, maxAbsence)) {
		return value, ErrNotFound, true
	}
	return value, nil, false
}

// within reports whether what was asked is at most maxAge old, by both clocks that
// a time has: the monotonic one, which nobody sets but which stands still while
// the machine sleeps, and the wall clock. One that was set back makes a fact of
// the future: that is asked again.
func within(asked, now time.Time, maxAge time.Duration) bool {
	age, wallAge := now.Sub(asked), now.Round(0).Sub(asked.Round(0))
	return min(age, wallAge) >= 0 && max(age, wallAge) <= maxAge
}

// join returns a question under way, or begins one; or no question and the answer,
// where one has come meanwhile.
func (f *facts[K, V]) join(key K) (question *pending[V], value V, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if value, err, ok := f.known(key, now); ok {
		f.counts.Hit()
		return nil, value, err
	}
	question = f.questions[key]
	if question != nil && within(question.asked, now, f.maxAge) {
		f.counts.Shared()
	} else {
		f.counts.Miss()
		question = &pending[V]{asked: now, done: make(chan struct{}), err: errUnanswered}
		f.questions[key] = question
		go f.send(key, question)
	}
	return question, value, nil
}

// send asks the store, on its own time.
func (f *facts[K, V]) send(key K, question *pending[V]) {
	ctx, cancel := context.WithTimeout(context.Background(), f.timeout)
	defer cancel()
	defer close(question.done)
	defer func() {
		// A panic here would end the process, and not just the checks that wait.
		question.panic = recover()
		f.settle(key, question)
	}()
	question.value, question.err = f.ask(ctx, key)
}

// settle stores the answer, unless it was forgotten before it came or a later
// question has taken its place.
func (f *facts[K, V]) settle(key K, question *pending[V]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.questions[key] != question {
		return
	}
	delete(f.questions, key)
	switch {
	case question.err == nil:
		f.found.Set(key, fact[V]{question.value, question.asked, f.epoch.Load()})
		f.absent.Invalidate(key)
	case isNotFound(question.err):
		f.absent.Set(key, fact[struct{}]{struct{}{}, question.asked, f.epoch.Load()})
		f.found.Invalidate(key)
	}
}

func (f *facts[K, V]) forget(key K) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.questions, key)
	f.found.Invalidate(key)
	f.absent.Invalidate(key)
}

func (f *facts[K, V]) forgetAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.questions)
	f.epoch.Add(1)
}
