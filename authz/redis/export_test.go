package redis

import (
	"context"
	"errors"
	"time"
)

// node returns the node of a topology with one.
func (s *Sessions) node() *node {
	nodes, err := s.servers.Load().nodes(context.Background())
	if err != nil {
		panic(err)
	}
	return nodes[0]
}

// Tracks reports whether facts are in use now.
func (s *Sessions) Tracks() bool {
	of := s.node().stream.Load()
	return of != nil && of.proven(s.now())
}

// Heard waits until the invalidation messages for all changes acknowledged before the
// call have been applied.
func (s *Sessions) Heard(ctx context.Context) error {
	began := s.now()
	of := s.node().stream.Load()
	if of == nil {
		return errors.New("nothing is tracked")
	}
	if err := s.node().prove(ctx, of); err != nil {
		return err
	}
	again := time.NewTicker(100 * time.Microsecond)
	defer again.Stop()
	for of.proof.Load().Before(began) {
		select {
		case <-of.ctx.Done():
			return context.Cause(of.ctx)
		case <-ctx.Done():
			return ctx.Err()
		case <-again.C:
		}
	}
	return nil
}

// Kept reports whether there is a fact about the session, and whether it is alive.
func (s *Sessions) Kept(userID, sessionID string) (alive, known bool) {
	of := s.node().stream.Load()
	if of == nil {
		return false, false
	}
	return of.facts.get(s.key.key(userID, sessionID), s.now())
}

// Waiting returns the number of checks waiting for the fill of a session.
func (s *Sessions) Waiting(userID, sessionID string) int {
	key := s.key.key(userID, sessionID)
	sh := s.node().stream.Load().facts.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if at := sh.fills[key]; at != nil {
		return at.joined
	}
	return 0
}
