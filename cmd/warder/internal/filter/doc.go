// Package filter is the command warder mask: it copies a stream, or what a command writes,
// with the secrets in it masked.
//
// What a secret looks like is for package mask to say; this one follows streams, hands
// signals on and ends as the command did. It reads no configuration.
package filter
