// Package filter implements the command warder mask: it copies a stream, or the output of a
// command, and masks the secrets in it.
//
// Package mask defines what a secret looks like. This package copies streams, forwards
// signals and exits with the exit code of the command. It reads no configuration.
package filter
