// Package cache owns the one bounded cache that the others keep what they know in: verified
// tokens, sessions, users and API keys.
//
// A cache of a few ten thousand entries that are objects of their own costs the garbage collector
// more than the cache saves: each collection visits every object, at a cold address. Here the
// entries of a shard stand in one slice, and a cache of keys and values without pointers is never
// visited at all. Nothing is allocated before it is needed.
//
// It knows nothing of what is in it, no clock and no store: whether an entry still holds is decided
// by the caller.
package cache
