package redis_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/redis"
)

// heard counts the calls of Config.Asked.
type heard struct {
	mu                  sync.Mutex
	alive, gone, failed int
}

func (h *heard) asked(took time.Duration, alive bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case took < 0:
		panic("a question took a negative time")
	case err != nil:
		h.failed++
	case alive:
		h.alive++
	default:
		h.gone++
	}
}

func (h *heard) want(t *testing.T, alive, gone, failed int) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.alive != alive || h.gone != gone || h.failed != failed {
		t.Errorf("Asked was called for %d live sessions, %d ended ones and %d failures; want %d, %d and %d", h.alive, h.gone, h.failed, alive, gone, failed)
	}
}

// TestCounts checks that Config.Asked is called for each question to Redis and that
// answers from the cache are counted.
func TestCounts(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, password)
	server.Do(t, "SET", "session:42:s1", "1")
	var h heard
	config := redis.Config{URL: "unix://:" + password + "@" + server.Socket, Asked: h.asked}

	strict := open(t, config)
	for range 3 {
		wantAlive(t, strict, "s1", true)
		wantAlive(t, strict, "other", false)
	}
	wantAlive(t, strict, "no:id", false) // Redis is not asked
	h.want(t, 3, 3, 0)
	if got := strict.Counts(); got != (authz.CacheCounts{}) {
		t.Errorf("without Tracked, Counts = %+v, want zero", got)
	}

	h = heard{}
	tracked := openTracked(t, config)
	hear(t, tracked)
	h.want(t, 0, 0, 0) // proofs are not counted
	for range 5 {
		wantAlive(t, tracked, "s1", true)
		wantAlive(t, tracked, "other", false)
	}
	h.want(t, 1, 1, 0)
	if got, want := tracked.Counts(), (authz.CacheCounts{Hits: 8, Misses: 2}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}

	// Without a stream the cache is not used, and Asked is called for each failure.
	server.Stop(t)
	eventually(t, func() error {
		_, err := tracked.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"})
		if tracked.Counts().Bypasses == 0 {
			return errors.New("facts are still used")
		}
		if err == nil {
			t.Error("a stopped server has answered")
		}
		return nil
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed == 0 {
		t.Error("Asked was not called for a failure")
	}
}
