// Package authz is the decision engine: it turns a [Request] into a [Decision].
//
// It owns the order of checks, the reasons, the rules for credentials, and the
// small interfaces that it needs from stores. Package envoy calls it once for
// each check. It never sees gRPC, a database driver, metrics or a log: what a
// caller wants to record is in the Decision.
//
// Only [Engine.Decide] can allow a request. The zero Decision, the zero Reason
// and every error deny.
package authz
