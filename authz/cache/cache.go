package cache

import (
	"hash/maphash"
	"sync"
)

const (
	// maxShards is the number of shards of a large cache. Each has its own lock.
	maxShards = 64
	// minShardWeight is the least weight for which there is another shard. In shards of a few
	// entries, the entries that happen to be in the same one would evict each other.
	minShardWeight = 64
)

// A Cache maps keys to values up to a total weight. When it is full, a new entry evicts some that
// were not read for long: those of the CLOCK algorithm (Corbató, 1968), in which a read sets a mark
// and the hand, which looks for a place, removes the mark or, if there is none, the entry. So a
// read writes at most one byte, and entries that are never read do not evict those that are.
//
// A Cache is safe for concurrent use. Use [New].
type Cache[K comparable, V any] struct {
	seed   maphash.Seed
	shards []shard[K, V]
}

type shard[K comparable, V any] struct {
	mu      sync.Mutex
	at      map[uint64]int32 // from the hash of a key to the index of its entry
	entries []entry[K, V]
	hand    int
	weight  int // of all entries
	room    int // the greatest weight
}

type entry[K comparable, V any] struct {
	key    K
	value  V
	hash   uint64
	weight int32
	read   bool // since the hand passed
}

// New returns a cache for entries with the given total weight, which must be positive. The weight is
// shared out over up to 64 shards, so that a cache evicts some entries before all of it is in use.
func New[K comparable, V any](weight int) *Cache[K, V] {
	n := 1
	for n < maxShards && weight/(2*n) >= minShardWeight {
		n *= 2
	}
	c := &Cache[K, V]{seed: maphash.MakeSeed(), shards: make([]shard[K, V], n)}
	for i := range c.shards {
		c.shards[i].at = make(map[uint64]int32)
		c.shards[i].room = (weight + n - 1) / n
	}
	return c
}

// of returns the shard of a key, locked, and the hash of the key.
func (c *Cache[K, V]) of(key K) (*shard[K, V], uint64) {
	hash := maphash.Comparable(c.seed, key)
	s := &c.shards[hash%uint64(len(c.shards))]
	s.mu.Lock()
	return s, hash
}

// Get returns the value of a key, if the cache has it.
func (c *Cache[K, V]) Get(key K) (value V, found bool) {
	s, hash := c.of(key)
	defer s.mu.Unlock()
	at, found := s.at[hash]
	if !found || s.entries[at].key != key {
		return value, false
	}
	e := &s.entries[at]
	if !e.read { // most often it is, and a write would make the other cores read it again
		e.read = true
	}
	return e.value, true
}

// Set stores a value with the weight 1.
func (c *Cache[K, V]) Set(key K, value V) { c.SetWeighed(key, value, 1) }

// SetWeighed stores a value with a positive weight. A value that is heavier than a shard is not
// stored, and what the key had before is removed.
func (c *Cache[K, V]) SetWeighed(key K, value V, weight int) {
	s, hash := c.of(key)
	defer s.mu.Unlock()
	s.remove(hash) // also another key with the same hash, of which there is none in practice
	if weight > s.room {
		return
	}
	for s.weight+weight > s.room {
		s.evict()
	}
	s.at[hash] = int32(len(s.entries))                                                                    //nolint:gosec // entries have weights, and are fewer than room
	s.entries = append(s.entries, entry[K, V]{key: key, value: value, hash: hash, weight: int32(weight)}) //nolint:gosec // at most room
	s.weight += weight
}

// Delete removes a key.
func (c *Cache[K, V]) Delete(key K) {
	s, hash := c.of(key)
	defer s.mu.Unlock()
	if at, found := s.at[hash]; found && s.entries[at].key == key {
		s.remove(hash)
	}
}

// Len returns the number of entries.
func (c *Cache[K, V]) Len() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += len(s.entries)
		s.mu.Unlock()
	}
	return n
}

// evict removes one entry. There must be one.
func (s *shard[K, V]) evict() {
	for {
		if s.hand >= len(s.entries) {
			s.hand = 0
		}
		e := &s.entries[s.hand]
		if !e.read {
			s.remove(e.hash)
			return
		}
		e.read = false
		s.hand++
	}
}

// remove removes the entry with a hash, if there is one. The last entry takes its place.
func (s *shard[K, V]) remove(hash uint64) {
	at, found := s.at[hash]
	if !found {
		return
	}
	delete(s.at, hash)
	s.weight -= int(s.entries[at].weight)
	last := len(s.entries) - 1
	if int(at) != last {
		s.entries[at] = s.entries[last]
		s.at[s.entries[at].hash] = at
	}
	clear(s.entries[last:]) // for the collector
	s.entries = s.entries[:last]
}
