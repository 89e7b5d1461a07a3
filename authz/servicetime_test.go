package authz

import (
	"testing"
	"time"
)

// A store that has become slower or faster is known soon. Slow first answers, which may have
// opened connections, refuse nothing.
func TestServiceTime(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	var s ServiceTime
	took := func(n int, d time.Duration) {
		for range n {
			s.Took(d)
		}
	}
	for _, step := range []struct {
		want bool // after the answers, with wait and 100ms left
		n    int
		d    time.Duration
		wait time.Duration
	}{
		{true, 0, 0, time.Hour},
		{true, enoughSeen / 2, 90 * ms, time.Hour},
		{true, enoughSeen / 2, ms, 0},
		{true, 20, 10 * ms, 80 * ms},
		{false, 0, 0, 99 * ms},
		{true, 1, 60 * ms, 0}, // one slow answer
		{false, 20, 95 * ms, 10 * ms},
		{true, 4, ms, 0},
	} {
		took(step.n, step.d)
		if got := s.InTime(step.wait, 100*ms); got != step.want {
			t.Errorf("after %d answers in %v, with a wait of %v: %v (mean %v, deviation %v)", step.n, step.d, step.wait, got, s.mean, s.deviation)
		}
	}
}
