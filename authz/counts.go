package authz

import "sync/atomic"

// CacheCounts are the counters of a cache in front of a store.
type CacheCounts struct {
	Hits     uint64 // lookups answered from the cache
	Shared   uint64 // lookups that joined a query in progress
	Misses   uint64 // lookups that started a query
	Bypasses uint64 // lookups that started a query while the cache could not be used
}

// A CacheCounter counts for [CacheCounts]. The zero CacheCounter is ready for use. It
// is safe for concurrent use.
type CacheCounter struct{ hits, shared, misses, bypasses atomic.Uint64 }

// Hit counts a lookup answered from the cache.
func (c *CacheCounter) Hit() { c.hits.Add(1) }

// Shared counts a lookup that joined a query in progress.
func (c *CacheCounter) Shared() { c.shared.Add(1) }

// Miss counts a lookup that started a query.
func (c *CacheCounter) Miss() { c.misses.Add(1) }

// Bypass counts a lookup that started a query while the cache could not be used.
func (c *CacheCounter) Bypass() { c.bypasses.Add(1) }

// Counts returns the current values.
func (c *CacheCounter) Counts() CacheCounts {
	return CacheCounts{Hits: c.hits.Load(), Shared: c.shared.Load(), Misses: c.misses.Load(), Bypasses: c.bypasses.Load()}
}
