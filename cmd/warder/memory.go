package main

import (
	"context"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

const (
	// garbageRoom is how much garbage may gather between two collections at least, in
	// bytes. What lives is a few MiB, and Go's default of as much garbage again would
	// collect a hundred times a second under load.
	garbageRoom = 48 << 20
	// maxGCPercent bounds the room where next to nothing lives.
	maxGCPercent = 1000
	// goGCPercent is Go's default, for a heap that is larger than the room.
	goGCPercent = 100
	// tuneEvery is how long a collection that found much in use, of large messages that
	// came together, may stand with a percentage that was chosen for little.
	tuneEvery = 250 * time.Millisecond
)

// tuneGC keeps the room for garbage while caches and policies grow and shrink. GOGC
// in the environment is the last word, and so is GOMEMLIMIT, which Go holds
// by itself.
func tuneGC(ctx context.Context, env lookupEnv) error {
	if value, set := env("GOGC"); set && value != "" {
		return nil
	}
	// Reading a large policy leaves many times its size behind, which would be taken
	// for what lives until the next collection.
	debug.FreeOSMemory()
	current := 0
	for {
		if percent := gcPercent(liveHeap()); percent != current {
			current = percent
			debug.SetGCPercent(percent)
		}
		if !wait(ctx, tuneEvery) {
			debug.SetGCPercent(goGCPercent)
			return nil
		}
	}
}

// gcPercent returns the GOGC for a heap of which live bytes are in use, in steps, so
// that it is not changed all the time.
func gcPercent(live uint64) int {
	percent := maxGCPercent
	for percent > goGCPercent && live*uint64(percent)/100 > garbageRoom {
		percent -= 100
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
