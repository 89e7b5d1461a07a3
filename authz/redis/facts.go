package redis

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
)

const (
	// maxFacts is how many sessions, live and ended ones, are kept: some tens of MiB
	// at most.
	maxFacts = 100_000
	// maxFactAge is how long a fact is used without asking again, whatever was or was
	// not announced. It bounds what announcements do not cover (SWAPDB, a clock of
	// Redis that is set) and costs a question a minute for a session in use.
	maxFactAge = time.Minute
	factShards = 64
)

// A fact is what Redis said of a key, and until when it may be believed as long as
// nothing else is announced.
type fact struct {
	alive bool
	until time.Time
}

// facts are what is known of sessions by one stream of announcements. They begin
// empty with it and are left to the garbage collector with it, so that no fact
// outlives the connection that keeps it right.
//
// Reading takes no lock. Writing does: an announcement and the end of a fill exclude
// each other for a key, so that a fill that began before a logout and ends after it
// is not kept.
type facts struct {
	cache  *otter.Cache[string, fact]
	seed   maphash.Seed
	shards [factShards]factShard
}

type factShard struct {
	mu    sync.Mutex
	fills map[string]*fill
}

// A fill is a question whose answer becomes a fact, unless the key changes meanwhile.
// Whoever misses the fact while it is under way waits for it too.
type fill struct {
	stream *stream
	key    string
	asked  time.Time
	done   chan struct{} // closed when the answer is there
	answer answer
	stale  bool // the key has changed since; guarded by the shard's lock, then by done
	joined int  // who waits for it; guarded by the shard's lock
}

func newFacts(size int) *facts {
	f := &facts{cache: otter.Must(&otter.Options[string, fact]{MaximumSize: size}), seed: maphash.MakeSeed()}
	for i := range f.shards {
		f.shards[i].fills = make(map[string]*fill)
	}
	return f
}

func (f *facts) shard(key string) *factShard {
	return &f.shards[maphash.String(f.seed, key)%factShards]
}

// get returns what is known of a key at the time now.
func (f *facts) get(key string, now time.Time) (alive, known bool) {
	fact, ok := f.cache.GetIfPresent(key)
	if !ok || !now.Before(fact.until) {
		return false, false
	}
	return fact.alive, true
}

// join returns the fill of a key that is under way, or begins one.
func (f *facts) join(key string, now time.Time, of *stream) (at *fill, first bool) {
	sh := f.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if at := sh.fills[key]; at != nil {
		at.joined++
		return at, false
	}
	at = &fill{stream: of, key: key, asked: now, done: make(chan struct{}), joined: 1}
	sh.fills[key] = at
	return at, true
}

// forget drops what is known of a key and lets nobody else wait for a fill that may
// have been answered before the change.
func (f *facts) forget(key string) {
	sh := f.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f.cache.Invalidate(key)
	if at := sh.fills[key]; at != nil {
		at.stale = true
		delete(sh.fills, key)
	}
}

// settle ends a fill: the answer is kept if nothing was announced since it began.
func (at *fill) settle(a answer) {
	f := at.stream.facts
	sh := f.shard(at.key)
	sh.mu.Lock()
	if sh.fills[at.key] == at {
		delete(sh.fills, at.key)
	}
	if a.err == nil && a.announced && !at.stale {
		// The time left is counted from before the question, so that it is over here
		// no later than in Redis.
		lasts := maxFactAge
		if a.left != forever {
			lasts = min(lasts, a.left)
		}
		f.cache.Set(at.key, fact{alive: a.alive, until: at.asked.Add(lasts)})
	}
	at.answer = a
	sh.mu.Unlock()
	close(at.done)
}
