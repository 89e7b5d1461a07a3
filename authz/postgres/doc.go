// Package postgres asks Postgres for users and API keys. It owns the two queries
// and what their columns may hold, the spelling of ids, the pool of connections
// and its time limits, and the reference schema.
//
// It is called by package authz, by way of [authz.Users] and [authz.APIKeys], and
// by the program's start for [Directory.Check]. It never writes, caches no answer
// and decides nothing: an inactive user and an expired key are answers.
package postgres
