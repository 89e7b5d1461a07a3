package postgres

import (
	"context"
	"fmt"
	"time"

	"warder/authz"
	"warder/authz/cache"
)

const (
	// acquaintances is the greatest number of found keys that a share remembers.
	acquaintances = 1 << 17
	// queueing is the number of questions that may wait for each connection of a share.
	queueing = 64
)

// errShare is returned for an unknown user or key while its share is used up.
var errShare = fmt.Errorf("directory: too many concurrent questions about unknown users or API keys: %w", authz.ErrOverloaded)

// A share is the part of the pool for questions about strangers, that is users or keys
// that were not found recently. Anybody can make up a key. If questions about such keys
// could use every connection, questions about existing keys would have to wait for them.
//
// Whether a key was found recently affects only how it is asked about, never the answer.
type share[K comparable] struct {
	found *cache.Cache[K, struct{}]
	slots chan struct{} // holds an element for each question in progress
	queue chan struct{} // holds an element for each question in progress or waiting
	// patience bounds the wait for a slot, so that time is left for the question.
	patience time.Duration
}

// newShare returns a share with the given number of connections, but at least one.
func newShare[K comparable](connections int, patience time.Duration) *share[K] {
	connections = max(1, connections)
	return &share[K]{
		found:    cache.New[K, struct{}](acquaintances),
		slots:    make(chan struct{}, connections),
		queue:    make(chan struct{}, (1+queueing)*connections),
		patience: patience,
	}
}

// enter waits until a question about key may be asked. If it returns no error, the caller
// must call leave after the question.
func (s *share[K]) enter(ctx context.Context, key K) (leave func(), err error) {
	if s.knows(key) {
		return func() {}, nil
	}
	select {
	case s.queue <- struct{}{}:
	default:
		return nil, errShare
	}
	leave = func() { <-s.queue }
	enough := time.NewTimer(s.patience)
	defer enough.Stop()
	select {
	case s.slots <- struct{}{}:
		leave = func() { <-s.slots; <-s.queue }
	case <-enough.C:
		err = errShare
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
	if s.knows(key) { // another question has found it meanwhile
		leave()
		return func() {}, nil
	}
	if err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

func (s *share[K]) knows(key K) bool {
	_, known := s.found.Get(key)
	return known
}

// learn records whether the key was found. It must not be called after an outage.
func (s *share[K]) learn(key K, found bool) {
	switch known := s.knows(key); {
	case found && !known:
		s.found.Set(key, struct{}{})
	case !found && known:
		s.found.Delete(key)
	}
}
