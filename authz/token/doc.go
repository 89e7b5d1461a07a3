// Package token owns the rules for bearer tokens: it turns the text of a signed
// JWT (RFC 7519, compact JWS of RFC 7515) into [Claims], or says which rule it breaks.
//
// It is called by package authz for each bearer credential. It never asks a
// store, reads no clock of its own, and takes nothing from a token but who it
// names, which session, and until when.
package token
