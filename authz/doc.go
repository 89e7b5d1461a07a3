// Package authz is the decision engine: it turns a [Request] into a [Decision].
//
// It owns the order of checks, the reasons, the rules for credentials, and the
// small interfaces that it needs from stores. Package envoy calls it once for
// each check. It never sees gRPC, a database driver, metrics or a log: what a
// caller wants to record is in the Decision.
//
// A yes can come from one place only, [Engine.Decide]; the zero Decision, the
// zero Reason and every error are a no.
package authz
