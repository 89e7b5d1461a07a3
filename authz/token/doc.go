// Package token owns the rules for bearer tokens: it turns the text of a signed
// JWT (RFC 7519, compact JWS of RFC 7515) into [Claims], or says which rule it breaks.
//
// A token has one reading or none. Before a key is looked at, its three segments
// must be canonical base64url and its header and claims strict JSON; a second
// spelling of either is a refusal, never a repair. Signatures are golang-jwt's
// work. Its parser is not used: it lets a later member replace an earlier one
// of the same name and does not look at crit, so the text that it accepts can
// mean something else to the application behind.
//
// It is called by package authz for each bearer credential. It never asks a
// store, reads no clock of its own, and takes nothing from a token but who it
// names, which session, and until when.
package token
