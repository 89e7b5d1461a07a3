package redis

import (
	"context"
	"time"
)

// A deployment is how the servers of a URL belong together.
type deployment int

const (
	oneServer   deployment = iota // it has all sessions
	bySentinels                   // Sentinels say which server has all sessions
	aSentinel                     // of a connection to a Sentinel itself
	inCluster                     // each server has a part of the sessions
)

// modeError returns an error for a server that cannot be what the URL says that it is. mode is
// what the server calls itself, or "".
func (d deployment) modeError(mode string) error {
	switch {
	case d == aSentinel && mode != "" && mode != "sentinel":
		return errNotSentinel
	case d == aSentinel:
		return nil
	case mode == "sentinel":
		return errSentinel
	case d == inCluster && mode == "standalone":
		return errNotCluster
	case d != inCluster && mode == "cluster":
		return errCluster
	}
	return nil
}

// A place is the primary that has a key.
type place struct {
	node *node
	// tenure is different when the key has been at another place between. It is unsettled while
	// another server gets the key: no fact may be kept.
	tenure uint32
}

const (
	unsettled uint32 = iota
	settled          // the first tenure
)

// A topology says which server has a key.
type topology interface {
	// owner returns the place of the key, or the zero place if it is not known for sure at the
	// time now. It does not block.
	owner(key string, now time.Time) place
	// await waits until the place of the key is known.
	await(ctx context.Context, key string, until time.Time) (place, error)
	// moved reports whether a question about the key that was asked at a place, with an answer or
	// err, must be asked again, because another place has the key.
	moved(ctx context.Context, key string, at place, err error) bool
	// elsewhere returns the server that answers about a key this time, because the one that has the
	// key says so. It must be told that it is asked for that reason.
	elsewhere(to *redirection) (*node, error)
	// available reports whether all places are known, and their primaries answer.
	available() bool
	// nodes returns the primaries that have all keys together.
	nodes(ctx context.Context) ([]*node, error)
	close()
}

// deployed is a topology in an atomic pointer.
type deployed struct{ topology }

// deploy uses the servers of t from now on. Those before are closed when the questions in
// progress have been answered. No fact of them is used again.
func (s *Sessions) deploy(t *target) {
	next := &deployed{}
	switch t.among {
	case bySentinels:
		next.topology = s.watch(t)
	case inCluster:
		next.topology = s.cluster(t)
	default:
		next.topology = only{s.newNode(t.seeds[0])}
	}
	if old := s.servers.Swap(next); old != nil {
		s.afterAnswers(old.close)
	}
}

// afterAnswers calls do when the questions in progress have been answered.
func (s *Sessions) afterAnswers(do func()) {
	s.background.Go(func() {
		s.awaitAnswers(s.running)
		do()
	})
}

// awaitAnswers waits until the questions in progress have been answered, or ctx ends.
func (s *Sessions) awaitAnswers(ctx context.Context) {
	answered := time.NewTimer(s.timeout)
	defer answered.Stop()
	select {
	case <-answered.C:
	case <-ctx.Done():
	}
}

// only is the topology of one server.
type only struct{ node *node }

func (o only) owner(string, time.Time) place { return place{o.node, settled} }

func (o only) await(context.Context, string, time.Time) (place, error) {
	return place{o.node, settled}, nil
}

func (o only) moved(context.Context, string, place, error) bool { return false }

func (o only) elsewhere(to *redirection) (*node, error) { return nil, to }

func (o only) nodes(context.Context) ([]*node, error) { return []*node{o.node}, nil }

func (o only) available() bool { return o.node.breaker.Available() }

func (o only) close() { o.node.close() }
