package cache

// Collide makes the hash of other lead to the entry of key. The cache must have only one shard.
func (c *Cache[K, V]) Collide(key, other K) {
	s, hash := c.of(key)
	s.mu.Unlock()
	_, same := c.of(other)
	defer s.mu.Unlock()
	s.at[same] = s.at[hash]
}
