// Package redis asks Redis whether a session still lives. It owns the session
// key's template, the connections to Redis and their time limits.
//
// It is called by package authz for each bearer token, by way of
// [authz.Sessions]. It never writes to Redis, reads no value, caches nothing,
// and takes no silence, no error and no strange reply for a yes.
//
// The client library has one log for the whole process, which the program silences
// at its start: what matters of it comes back as an error.
package redis
