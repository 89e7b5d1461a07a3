// Package token verifies bearer tokens. It parses a signed JWT (RFC 7519) in JWS compact
// serialization (RFC 7515) into [Claims], or returns an error for the rule that the token
// violates.
//
// A token must have a single interpretation. Its three segments must be canonical
// base64url, and its header and claims must be strict JSON. Anything else is rejected
// before a key is selected. Signatures are checked by golang-jwt. Its parser is not used,
// because it accepts duplicate members, of which the last wins, and ignores crit: the
// upstream could read such a token differently.
//
// A key is for one algorithm, and each of several issuers has its own keys: neither is a choice
// of the token. [ParsePublicKey] and [ParseKeySet] read public keys.
//
// Package authz calls it for each bearer credential. It never calls a store and does not
// read the clock. [Claims] has the user id, the session id and the dates, and the roles only if
// the configuration names a claim for them. Conditions read other claims through
// [Verifier.Payload].
package token
