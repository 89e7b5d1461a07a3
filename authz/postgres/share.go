package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"

	"warder/authz"
)

const (
	// acquaintances is how many users, and how many keys, are remembered as having
	// been found.
	acquaintances = 50_000
	// queueing is how many questions may wait for each connection of a share.
	queueing = 64
)

// errShare is for a question about somebody unknown while the share is used up.
var errShare = fmt.Errorf("directory: too many questions about unknown ones at once: %w", authz.ErrOverloaded)

// A share is the part of the pool that questions about strangers may use: about
// users or keys that were not found lately. Anybody can invent a key, and if such
// questions could take all connections, those who have one would wait behind them.
//
// Who was found lately only decides how a question is asked, never its answer.
type share[K comparable] struct {
	found *otter.Cache[K, struct{}]
	slots chan struct{} // a question that is asked
	queue chan struct{} // a question that is asked or waits
	// patience bounds the wait, so that time is left for the question.
	patience time.Duration
}

// newShare makes a share of so many connections, at least one.
func newShare[K comparable](connections int, patience time.Duration) *share[K] {
	connections = max(1, connections)
	return &share[K]{
		found:    otter.Must(&otter.Options[K, struct{}]{MaximumSize: acquaintances}),
		slots:    make(chan struct{}, connections),
		queue:    make(chan struct{}, (1+queueing)*connections),
		patience: patience,
	}
}

// enter waits until a question about key may be asked. Whoever was let in has to
// leave.
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
	if s.knows(key) { // since somebody else has asked meanwhile
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
	_, known := s.found.GetIfPresent(key)
	return known
}

// learn remembers whether the key was found. An outage says nothing about it.
func (s *share[K]) learn(key K, found bool) {
	switch known := s.knows(key); {
	case found && !known:
		s.found.Set(key, struct{}{})
	case !found && known:
		s.found.Invalidate(key)
	}
}
