// Package redis implements [authz.Sessions] on Redis. It owns the templates of session
// keys, the connections to Redis and their timeouts, and the cache of session
// facts.
//
// Package authz calls it for each bearer token. Except for an operator ([Admin]) it never writes to
// Redis, and it reads only values that are times ([Absent]). It uses a cached fact only while it can prove that the fact is up to
// date. A timeout, an error or an unexpected reply never counts as a live session.
//
// The servers of a URL are nodes (node.go), and a topology says which of them has a key: there is
// only one (topology.go), or Sentinels name it (sentinel.go), or it is the one that has the key's
// slot in a cluster (cluster.go). Those who decide that are asked all the time (council.go).
//
// [Sessions.Alive] makes the keys of a session from templates (template.go). For each it first looks for a cached fact (facts.go), which exists only while a
// stream of invalidation messages keeps it current (stream.go). Otherwise it asks Redis
// (ask.go): at once when no other question is in progress, else in a pipeline with
// others (batch.go).
//
// The client library logs to one process-wide logger, which the program silences at
// start-up. Errors that matter are returned to the caller.
package redis
