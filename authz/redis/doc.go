// Package redis asks Redis whether a session still lives. It owns the session
// key's template, the connections to Redis and their time limits, and what is known
// of sessions while Redis announces their changes.
//
// It is called by package authz for each bearer token, by way of
// [authz.Sessions]. It never writes to Redis, reads no value, keeps no fact that it
// cannot prove to be up to date, and takes no silence, no error and no strange reply
// for a yes.
//
// A check goes this way: [Sessions.Alive] looks for a fact (facts.go), which is there only
// while a stream of announcements keeps it right (stream.go); else the question is asked at
// once when nobody is asking, and goes with others in a pipeline when somebody is
// (batch.go), and Redis is asked (ask.go).
//
// The client library has one log for the whole process, which the program silences
// at its start: what matters of it comes back as an error.
package redis
