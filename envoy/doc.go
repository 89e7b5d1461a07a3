// Package envoy implements Envoy's protocols. It converts a CheckRequest to an [authz.Request]
// and an [authz.Decision] to a CheckResponse. It also contains the Envoy configurations that
// are shipped with warder.
//
// The package defines the two shapes of a response (allow and deny), the table that maps a
// reason to a status, and the identity headers. The program calls [NewServer] and
// [NewGRPCServer]; Envoy calls [Server.Check]. The package makes no decisions and knows neither
// policies nor stores. Only a [Decider] can allow a request.
//
// Envoy treats an empty CheckResponse as allow. It treats a gRPC error as its
// failure_mode_allow setting says. Therefore every response of this package has one of the two
// shapes. A request that cannot be read is denied explicitly, and so is a request on which
// warder itself fails. By itself, gRPC would end some calls with an error of its own, and would
// keep what peers send without bound. A callConn between the connection and gRPC prevents both.
package envoy
