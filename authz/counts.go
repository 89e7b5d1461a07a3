package authz

import "sync/atomic"

// CacheCounts say what came of the questions to something that answers from memory.
type CacheCounts struct {
	Hits     uint64 // answered from memory
	Shared   uint64 // answered by a question to the store that was under way
	Misses   uint64 // asked of the store
	Bypasses uint64 // asked of the store, since nothing may be kept now
}

// A CacheCounter counts for [CacheCounts]. The zero CacheCounter is ready for use.
type CacheCounter struct{ hits, shared, misses, bypasses atomic.Uint64 }

// Hit counts an answer from memory.
func (c *CacheCounter) Hit() { c.hits.Add(1) }

// Shared counts an answer that somebody else has asked the store for.
func (c *CacheCounter) Shared() { c.shared.Add(1) }

// Miss counts a question to the store.
func (c *CacheCounter) Miss() { c.misses.Add(1) }

// Bypass counts a question to the store while nothing may be kept.
func (c *CacheCounter) Bypass() { c.bypasses.Add(1) }

// Counts returns what was counted so far.
func (c *CacheCounter) Counts() CacheCounts {
	return CacheCounts{Hits: c.hits.Load(), Shared: c.shared.Load(), Misses: c.misses.Load(), Bypasses: c.bypasses.Load()}
}
