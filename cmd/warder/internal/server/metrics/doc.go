// Package metrics is what GET /metrics shows of a server: decisions, questions to the
// stores, caches, gRPC calls, lines that a log dropped, and what a policy to come would
// change.
//
// The server makes one set and has its parts tell it what happens. No label holds anything
// that a request said, and counting makes no garbage. It starts no listener.
package metrics
