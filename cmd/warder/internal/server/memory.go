package server

import (
	"context"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"

	"warder/cmd/warder/internal/cli"
)

const (
	// garbageRoom is how much garbage may gather between two collections at least, in
	// bytes. What lives is a few MiB, and Go's default of as much garbage again would
	// collect a hundred times a second under load.
	garbageRoom = 48 << 20
	// garbageShare of a memory limit is the room where that is less: the rest is for what
	// lives, most of which is what peers send.
	garbageShare = 4
	// maxGCPercent bounds the room where next to nothing lives.
	maxGCPercent = 1000
	// goGCPercent is Go's default, for a heap that is larger than the room, and
	// tightGCPercent where a memory limit makes the room small.
	goGCPercent    = 100
	tightGCPercent = 50
)

// tuneGC keeps the room for garbage while caches, policies and what peers send grow and
// shrink: after each collection it sets the percentage for what that found in use. GOGC in
// the environment is the last word, and so is GOMEMLIMIT, which Go holds by itself.
func tuneGC(ctx context.Context, env cli.LookupEnv) error {
	if value, set := env("GOGC"); set && value != "" {
		return nil
	}
	// Reading a large policy leaves many times its size behind, which would be taken
	// for what lives until the next collection.
	debug.FreeOSMemory()
	current := 0
	room := uint64(min(garbageRoom, debug.SetMemoryLimit(-1)/garbageShare)) //nolint:gosec // a limit is not negative
	for {
		collected := nextCollection()
		if percent := gcPercent(liveHeap(), room); percent != current {
			current = percent
			debug.SetGCPercent(percent)
		}
		select {
		case <-ctx.Done():
			debug.SetGCPercent(goGCPercent)
			return nil
		case <-collected:
		}
	}
}

// nextCollection returns a channel that is closed when the collector has run.
func nextCollection() <-chan struct{} {
	collected := make(chan struct{})
	garbage := new([4]*byte) // nobody has it: the next collection finds it
	runtime.AddCleanup(garbage, func(collected chan struct{}) { close(collected) }, collected)
	return collected
}

// gcPercent returns the GOGC for a heap of which live bytes are in use and room bytes may be
// garbage, in steps, so that it is not changed all the time.
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
