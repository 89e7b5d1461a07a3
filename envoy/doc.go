// Package envoy speaks Envoy's protocols: it reads a CheckRequest as an
// [authz.Request], answers an [authz.Decision] as a CheckResponse, and holds the
// Envoy configurations that go with warder.
//
// It owns the two shapes of an answer, the table from a reason to a status, and
// the identity headers. The program calls [NewServer] and [NewGRPCServer]; Envoy
// calls [Server.Check]. It decides nothing and knows no policy and no store: a
// yes comes from a [Decider] or not at all.
//
// Envoy reads an empty CheckResponse as a yes, and a gRPC error as whatever its
// failure_mode_allow says. So nothing but the two shapes leaves this package: what
// cannot be read is an explicit denial, and so is a fault of warder itself. Where gRPC
// would end a call with an error of its own, or keep without bound what peers send,
// gRPC is not asked: between a connection and gRPC stands a callConn.
package envoy
