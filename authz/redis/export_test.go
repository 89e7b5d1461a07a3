package redis

import (
	"context"
	"errors"
	"net"
	"time"
)

// all returns the nodes.
func (s *Sessions) all() []*node {
	nodes, err := s.servers.Load().nodes(context.Background())
	if err != nil {
		panic(err)
	}
	return nodes
}

// Tracks reports whether facts are in use now, of all servers.
func (s *Sessions) Tracks() bool {
	for _, n := range s.all() {
		if of := n.stream.Load(); of == nil || !of.proven(s.now()) {
			return false
		}
	}
	return true
}

// Heard waits until the invalidation messages for all changes acknowledged before the
// call have been applied.
func (s *Sessions) Heard(ctx context.Context) error {
	for _, n := range s.all() {
		if err := n.heard(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) heard(ctx context.Context) error {
	began := n.s.now()
	of := n.stream.Load()
	if of == nil {
		return errors.New("nothing is tracked")
	}
	if err := n.prove(ctx, of); err != nil {
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
	key := s.keys[0].key(userID, sessionID)
	at := s.servers.Load().owner(key, s.now())
	if at.node == nil {
		return false, false
	}
	of := at.node.stream.Load()
	if of == nil {
		return false, false
	}
	found, known := of.facts.get(subject{key: key}, at.tenure, s.now())
	return found.exists, known
}

// Waiting returns the number of checks waiting for the fill of a session.
func (s *Sessions) Waiting(userID, sessionID string) int {
	key := s.keys[0].key(userID, sessionID)
	sh := s.all()[0].stream.Load().facts.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if at := sh.fills[subject{key: key}]; at != nil {
		return at.joined
	}
	return 0
}

// OpenThrough is New, and connects to the address that through returns instead of each.
func OpenThrough(c Config, through func(address string) string) (*Sessions, error) {
	s, err := c.sessions()
	if err != nil {
		return nil, err
	}
	for _, t := range []*target{s.access.current.Load(), s.sentinels.current.Load()} {
		if t != nil {
			dial := t.dial
			t.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				return dial(ctx, network, through(address))
			}
		}
	}
	s.start()
	return s, nil
}

// TrustFor is how long a primary is believed without a majority.
const TrustFor = trustFor

// SlotOf returns the slot of a key.
func SlotOf(key string) int { return slotOf(key) }
