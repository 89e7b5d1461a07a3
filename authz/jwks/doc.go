// Package jwks reads the public keys of an issuer of tokens from a URL, which is configured or
// found by OpenID Connect Discovery, and reads them again before they are too old.
//
// A [Source] owns the last good keys of one issuer and says how old they are. It fetches in the
// background, and gives each change to its user, who keeps a snapshot for the requests. Package
// token reads the key set and decides which of its keys can be used. The program makes the
// sources; package authz never sees them, and no request makes a call over the network: at most
// it waits a moment for a fetch that a kid nobody knows has begun.
package jwks
