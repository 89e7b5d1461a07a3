// Package policy owns the route policy: the YAML files that say which request needs what. It
// reads, checks and compiles them into an immutable [Policy], warns about what is probably
// not meant, and finds the one route that wins a request.
//
// Package authz calls it for each request, package compare and the commands for each file. The
// packages below it read YAML (strict), paths and hosts (pattern) and conditions (condition).
//
// A compiled policy is a few large objects, however many routes it has: see matcher and
// shared. What only people ask for, such as [Policy.Table], is made when they do.
//
// It never sees a credential, a store, gRPC or a clock, and it decides nothing: a [Route] is a
// rule, and authz applies it.
package policy
