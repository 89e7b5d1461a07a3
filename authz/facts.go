package authz

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"warder/authz/cache"
)

const (
	// maxAbsence bounds how long it is cached that a user or key does not exist. It
	// covers clients that retry at once, and a key that was just created works soon.
	maxAbsence = time.Second
	// absences bounds how many such absences are cached. They have a separate cache,
	// so that requests with made-up keys cannot evict facts.
	absences = 10_000
)

// errUnanswered is the result of a question whose goroutine ended without setting one.
var errUnanswered = errors.New("the store did not answer")

// facts caches the answers of a store until they are too old or are forgotten.
type facts[K comparable, V any] struct {
	ask     func(context.Context, K) (V, error)
	maxAge  time.Duration
	timeout time.Duration
	now     func() time.Time

	// The caches bound only the number of answers. The age of an answer is checked
	// against now on every read.
	found  *cache.Cache[K, fact[V]]
	absent *cache.Cache[K, fact[struct{}]]
	// Only answers with the current epoch are used. Incrementing it forgets them all.
	epoch atomic.Uint64

	// mu guards questions and is held while an answer is stored or forgotten, so that
	// an answer to a question asked before forget is not stored after it.
	mu sync.Mutex
	// questions holds the questions in progress that checks may join and whose answers
	// will be stored. A question removed from it still answers those waiting for it.
	questions map[K]*pending[V]

	counts CacheCounter
}

// A fact is the answer of a store. It was true at some time after asked. Measuring its
// age from asked therefore never makes it look younger than it is.
type fact[V any] struct {
	value V
	asked time.Time
	epoch uint64
}

// A pending question is one that was sent. Its other fields may be read only after
// done is closed; asked may be read at any time.
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
		found:     cache.New[K, fact[V]](c.Size),
		absent:    cache.New[K, fact[struct{}]](min(c.Size, absences)),
		questions: make(map[K]*pending[V]),
	}
}

// get returns a cached answer, or joins a question in progress, or asks a new one. The
// answer was asked for at most maxAge before get was called.
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
		// Panic as if this check had asked the store itself. Its caller recovers.
		panic(question.panic)
	case question.err != nil:
		return none, question.err
	}
	return question.value, nil
}

// known returns the cached answer if it is not too old at the time now.
func (f *facts[K, V]) known(key K, now time.Time) (value V, err error, ok bool) {
	if known, is := f.found.Get(key); is && known.epoch == f.epoch.Load() && within(known.asked, now, f.maxAge) {
		return known.value, nil, true
	}
	if known, is := f.absent.Get(key); is && known.epoch == f.epoch.Load() && within(known.asked, now, min(f.maxAge, maxAbsence)) {
		return value, ErrNotFound, true
	}
	return value, nil, false
}

// within reports whether asked is at most maxAge before now by both the monotonic
// clock, which stops while the machine is suspended, and the wall clock, which can be
// set. It is false when either clock puts asked after now.
func within(asked, now time.Time, maxAge time.Duration) bool {
	age, wallAge := now.Sub(asked), now.Round(0).Sub(asked.Round(0))
	return min(age, wallAge) >= 0 && max(age, wallAge) <= maxAge
}

// join returns the question in progress for key, or starts one. When an answer was
// stored since the caller looked, it returns a nil question and that answer.
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

// send asks the store under f.timeout, not under the context of a check.
func (f *facts[K, V]) send(key K, question *pending[V]) {
	ctx, cancel := context.WithTimeout(context.Background(), f.timeout)
	defer cancel()
	defer close(question.done)
	defer func() {
		// An unrecovered panic in this goroutine would end the process. get panics
		// with it in each waiting check instead.
		question.panic = recover()
		f.settle(key, question)
	}()
	question.value, question.err = f.ask(ctx, key)
}

// settle stores the answer, unless the key was forgotten while the question was in
// progress or a later question replaced it.
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
		f.absent.Delete(key)
	case isNotFound(question.err):
		f.absent.Set(key, fact[struct{}]{struct{}{}, question.asked, f.epoch.Load()})
		f.found.Delete(key)
	}
}

func (f *facts[K, V]) forget(key K) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.questions, key)
	f.found.Delete(key)
	f.absent.Delete(key)
}

func (f *facts[K, V]) forgetAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.questions)
	f.epoch.Add(1)
}
