// Package session is the command warder session: it lists the sessions of a user, ends them,
// and checks whether a bearer token has one.
//
// Package main adds the command. The package verifies tokens with the configured keys and asks
// Redis. It deletes the keys of sessions only, and only those that it has shown; with
// sessions.rule absent it writes the keys that end them.
package session
