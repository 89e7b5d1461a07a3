// Package redis implements [authz.Sessions] on Redis. It owns the template of the
// session key, the connections to Redis and their timeouts, and the cache of session
// facts.
//
// Package authz calls it for each bearer token. It never writes to Redis and never
// reads a value. It uses a cached fact only while it can prove that the fact is up to
// date. A timeout, an error or an unexpected reply never counts as a live session.
//
// [Sessions.Alive] first looks for a cached fact (facts.go), which exists only while a
// stream of invalidation messages keeps it current (stream.go). Otherwise it asks Redis
// (ask.go): at once when no other question is in progress, else in a pipeline with
// others (batch.go).
//
// The client library logs to one process-wide logger, which the program silences at
// start-up. Errors that matter are returned to the caller.
package redis
