package server

import (
	"context"
	"testing"

	"warder/cmd/warder/internal/clitest"
)

func TestGCPercent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want       int
		live, room uint64
	}{
		{1000, 0, garbageRoom},
		{1000, 2 << 20, garbageRoom},
		{600, 4 << 20, garbageRoom},
		{200, 12 << 20, garbageRoom},
		{100, 24 << 20, garbageRoom},
		{100, 1 << 40, garbageRoom},
		{250, 8 << 20, 20 << 20},
		{50, 60 << 20, 20 << 20},
	} {
		if got := gcPercent(c.live, c.room); got != c.want {
			t.Errorf("gcPercent(%d, %d) = %d, want %d", c.live, c.room, got, c.want)
		}
	}
}

// TestGCTuner is not parallel: the percentage belongs to the process.
func TestGCTuner(t *testing.T) {
	g := newGCTuner(clitest.Environment())
	percent := func() int {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.percent
	}
	want := func(when string, least, most int) {
		t.Helper()
		if got := percent(); got < least || got > most {
			t.Errorf("%s: %d percent, want %d to %d", when, got, least, most)
		}
	}
	want("at first", goGCPercent, goGCPercent)
	first, second := g.loading(), g.loading()
	want("two policies are loaded", loadGCPercent, loadGCPercent)
	first()
	want("one policy is loaded", loadGCPercent, loadGCPercent)
	second()
	want("before run", goGCPercent, goGCPercent)

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.run(ctx) }()
	clitest.Eventually(t, "run", g.isRunning)
	want("running", tightGCPercent, maxGCPercent)
	done := g.loading()
	want("a reload", loadGCPercent, loadGCPercent)
	done()
	want("after a reload", tightGCPercent, maxGCPercent)
	done = g.loading()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	want("the end during a reload", loadGCPercent, loadGCPercent)
	done()
	want("the end", goGCPercent, goGCPercent)
}

// TestGCTunerOff checks that GOGC in the environment wins.
func TestGCTunerOff(t *testing.T) {
	t.Parallel()
	g := newGCTuner(clitest.Environment("GOGC=50"))
	if g != nil {
		t.Error("there is a tuner")
	}
	g.loading()()
	if err := g.run(t.Context()); err != nil {
		t.Error(err)
	}
}
