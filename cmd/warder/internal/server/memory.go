package server

import (
	"context"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"sync"

	"warder/cmd/warder/internal/cli"
)

const (
	// garbageRoom is the minimum amount of garbage, in bytes, that may accumulate between
	// two collections. The live heap is only a few MiB. With Go's default of 100 percent,
	// the collector would run a hundred times a second under load.
	garbageRoom = 24 << 20
	// With a memory limit, the room for garbage is at most 1/garbageShare of the limit.
	// The rest is for live memory, most of which holds what peers send.
	garbageShare = 4
	// maxGCPercent bounds the percentage when the live heap is almost empty.
	maxGCPercent = 1000
	// goGCPercent is Go's default. It is used for a heap that is larger than the room.
	// tightGCPercent is used when a memory limit makes the room small.
	goGCPercent    = 100
	tightGCPercent = 50
	// loadGCPercent is the maximum while a policy is loaded, which for a moment needs a
	// multiple of the memory of the policy.
	loadGCPercent = 25
)

// A gcTuner keeps the room for garbage constant while caches, policies and the data that
// peers send grow and shrink. After each collection it sets the GC percentage for the live
// heap that the collection found. GOGC in the environment disables it. GOMEMLIMIT also takes
// precedence; the Go runtime enforces it. The nil gcTuner does nothing.
//
// The percentage belongs to the process, so that a process has one gcTuner at a time.
type gcTuner struct {
	mu      sync.Mutex
	running bool
	loads   int // policies that are being loaded
	percent int // that was set last
}

// newGCTuner returns a gcTuner, or nil if GOGC is set.
func newGCTuner(env cli.LookupEnv) *gcTuner {
	if value, set := env("GOGC"); set && value != "" {
		return nil
	}
	return &gcTuner{percent: goGCPercent}
}

// run tunes until the context ends.
func (g *gcTuner) run(ctx context.Context) error {
	if g == nil {
		return nil
	}
	// Reading a large policy leaves garbage of many times its size. Without a collection
	// here, that garbage would count as live until the next one.
	debug.FreeOSMemory()
	for {
		collected := nextCollection()
		g.tune(func() { g.running = true })
		select {
		case <-ctx.Done():
			g.tune(func() { g.running = false })
			return nil
		case <-collected:
		}
	}
}

// loading lets less garbage accumulate until the caller calls done.
func (g *gcTuner) loading() (done func()) {
	if g == nil {
		return func() {}
	}
	g.tune(func() { g.loads++ })
	return func() {
		if g.isRunning() {
			runtime.GC() // as in run
		}
		g.tune(func() { g.loads-- })
	}
}

func (g *gcTuner) isRunning() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running
}

// tune makes a change, and sets the percentage that follows from it and from the live heap.
func (g *gcTuner) tune(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
	percent := goGCPercent
	if g.running {
		percent = gcPercent(liveHeap(), garbageRoomOf(debug.SetMemoryLimit(-1)))
	}
	if g.loads > 0 {
		percent = min(percent, loadGCPercent)
	}
	if percent != g.percent {
		g.percent = percent
		debug.SetGCPercent(percent)
	}
}

// garbageRoomOf returns the room for garbage with a memory limit, in bytes.
func garbageRoomOf(limit int64) uint64 {
	return uint64(min(garbageRoom, limit/garbageShare)) //nolint:gosec // a limit is not negative
}

// nextCollection returns a channel that is closed when the collector has run.
func nextCollection() <-chan struct{} {
	collected := make(chan struct{})
	garbage := new([4]*byte) // unreachable, so the next collection frees it
	runtime.AddCleanup(garbage, func(collected chan struct{}) { close(collected) }, collected)
	return collected
}

// gcPercent returns the GC percentage for a heap with live bytes in use and room bytes of
// garbage allowed. The result is rounded to steps so that it does not change all the time.
func gcPercent(live, room uint64) int {
	percent, least := maxGCPercent, goGCPercent
	if room < garbageRoom {
		least = tightGCPercent
	}
	for percent > least && live*uint64(percent)/100 > room {
		percent -= 50
	}
	return percent
}

// liveHeap returns the bytes that the last collection found in use.
func liveHeap() uint64 {
	sample := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	runtimemetrics.Read(sample)
	if sample[0].Value.Kind() != runtimemetrics.KindUint64 {
		return garbageRoom
	}
	return sample[0].Value.Uint64()
}
