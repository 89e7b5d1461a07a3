package authz

import (
	"sync"
	"time"
)

// A ServiceTime estimates how long a store takes for a question, from how long it took lately.
// It is for stores that answer a limited number of questions at once, so that others wait. The
// zero value expects no time at all. It is safe for concurrent use.
type ServiceTime struct {
	mu              sync.Mutex
	mean, deviation time.Duration
	seen            int // questions, up to enoughSeen
}

// enoughSeen is the number of questions from which a ServiceTime makes an estimate. The first
// ones may have opened connections.
const enoughSeen = 8

// Took records how long the store took for a question, without what it waited before.
func (s *ServiceTime) Took(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = min(s.seen+1, enoughSeen)
	switch {
	case s.seen == 1:
		s.mean, s.deviation = d, d/2
		return
	case d < s.mean/4: // it has become much faster, so the time before says little
		s.mean, s.deviation = (s.mean+d)/2, s.deviation/2
		return
	}
	// The weights are those of TCP (RFC 6298 section 2.3).
	s.deviation += ((s.mean - d).Abs() - s.deviation) / 4
	s.mean += (d - s.mean) / 8
}

// Mean returns how long a question takes on average.
func (s *ServiceTime) Mean() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mean
}

// InTime reports whether a question that first has to wait will probably be answered within the
// time left.
func (s *ServiceTime) InTime(wait, left time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen < enoughSeen || wait+s.mean+2*s.deviation <= left
}
