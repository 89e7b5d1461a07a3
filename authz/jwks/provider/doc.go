// Package provider tests that warder verifies the tokens of a real OpenID provider, whose keys it
// finds by discovery: the server of zitadel/oidc, with its example of a log-in. The provider and
// its dependencies are in a module of their own, so that no program of warder has them.
package provider
