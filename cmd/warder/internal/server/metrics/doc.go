// Package metrics provides the metrics that a server shows at GET /metrics: decisions, store
// requests, caches, gRPC calls, lines that a log dropped, and what the next policy would
// change.
//
// The server makes one [Metrics], and its parts report events to it. No label contains data
// of a request, and counting does not allocate. The package starts no listener.
package metrics
