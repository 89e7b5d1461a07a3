// Package postgres implements [authz.Users] and [authz.APIKeys] on Postgres. It owns
// the two queries and the types of their columns, the spelling of ids, the connection
// pool and its limits, the reference schema, and LISTEN for the notifications of the
// schema's triggers.
//
// Package authz calls it through those interfaces. The program calls
// [Directory.Check] and [Directory.Listen] at start-up. It never writes, caches no
// answers and makes no decisions: it returns inactive users and expired keys as they are.
package postgres
