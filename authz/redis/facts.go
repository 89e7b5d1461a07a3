package redis

import (
	"hash/maphash"
	"sync"
	"time"

	"warder/authz/cache"
)

const (
	// maxFacts is the greatest number of keys cached, there or not. They take some
	// tens of MiB at most.
	maxFacts = 1 << 17
	// maxFactAge is the lifetime of a fact. It bounds the effect of changes for which
	// Redis sends no invalidation (SWAPDB, a change of its clock). It costs one question
	// a minute for a session in use.
	maxFactAge = time.Minute
	factShards = 64
)

// A fact is the state of a key. It holds until the given time unless it is invalidated
// first.
type fact struct {
	state
	timed  bool   // of the subject
	tenure uint32 // of the place that the answer is from
	until  time.Time
}

// facts is the cache of one stream. It is empty when the stream starts and is discarded
// with the stream, so that no fact outlives the connection that invalidates it.
//
// Reading takes no lock. An invalidation and the end of a fill take the lock of the key's
// shard, so that the answer of a fill that began before a logout and ends after it is
// not stored.
type facts struct {
	cache  *cache.Cache[string, fact]
	seed   maphash.Seed
	shards [factShards]factShard
}

type factShard struct {
	mu    sync.Mutex
	fills map[subject]*fill
}

// A fill is a question whose answer becomes a fact unless the key is invalidated in the
// meantime. Later checks of the same key join a fill in progress.
type fill struct {
	subject
	stream *stream
	tenure uint32 // of the place that is asked
	asked  time.Time
	done   chan struct{} // closed when answer is set
	answer answer
	stale  bool // the key was invalidated; guarded by the shard's lock until done is closed
	joined int  // number of checks waiting; guarded by the shard's lock
}

func newFacts(size int) *facts {
	f := &facts{cache: cache.New[string, fact](size), seed: maphash.MakeSeed()}
	for i := range f.shards {
		f.shards[i].fills = make(map[subject]*fill)
	}
	return f
}

func (f *facts) shard(key string) *factShard {
	return &f.shards[maphash.String(f.seed, key)%factShards]
}

// get returns the fact about a subject in the tenure of its key if there is one that holds at the
// time now.
func (f *facts) get(about subject, tenure uint32, now time.Time) (found state, known bool) {
	fact, ok := f.cache.Get(about.key)
	if !ok || fact.timed != about.timed || fact.tenure != tenure || !now.Before(fact.until) {
		return state{}, false
	}
	return fact.state, true
}

// join returns the fill in progress for a subject in the tenure of its key, or starts one.
func (f *facts) join(about subject, tenure uint32, now time.Time, of *stream) (at *fill, first bool) {
	sh := f.shard(about.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	was := sh.fills[about]
	if was != nil && was.tenure == tenure {
		was.joined++
		return was, false
	}
	if was != nil {
		was.stale = true // forget would not find it any more
	}
	at = &fill{stream: of, subject: about, tenure: tenure, asked: now, done: make(chan struct{}), joined: 1}
	sh.fills[about] = at
	return at, true
}

// forget invalidates key. Later checks do not join a fill in progress for it, because
// Redis may have answered it before the change.
func (f *facts) forget(key string) {
	sh := f.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f.cache.Delete(key)
	for _, about := range []subject{{key, false}, {key, true}} {
		if at := sh.fills[about]; at != nil {
			at.stale = true
			delete(sh.fills, about)
		}
	}
}

// settle ends a fill. It stores the answer unless the key was invalidated since the fill
// began.
func (at *fill) settle(a answer) {
	f := at.stream.facts
	sh := f.shard(at.key)
	sh.mu.Lock()
	if sh.fills[at.subject] == at {
		delete(sh.fills, at.subject)
	}
	if a.err == nil && a.announced && !at.stale {
		// The time to live is counted from before the question, so that the fact expires
		// no later than the key in Redis.
		lasts := maxFactAge
		if a.left != forever {
			lasts = min(lasts, a.left)
		}
		f.cache.Set(at.key, fact{state: a.state, timed: at.timed, tenure: at.tenure, until: at.asked.Add(lasts)})
	}
	at.answer = a
	sh.mu.Unlock()
	close(at.done)
}
