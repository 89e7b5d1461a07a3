// Package postgres asks Postgres for users and API keys. It owns the two queries
// and what their columns may hold, the spelling of ids, the pool of connections
// with its time limits and its share for strangers, the reference schema, and the
// listening for the changes that its triggers announce.
//
// It is called by package authz, by way of [authz.Users] and [authz.APIKeys], and
// by the program's start for [Directory.Check] and [Directory.Listen]. It never
// writes, caches no answer and decides nothing: an inactive user and an expired key
// are answers.
package postgres
