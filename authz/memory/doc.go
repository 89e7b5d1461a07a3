// Package memory stores sessions, revocations, users and API keys in memory. It is for the demo, for
// tests, and, with a directory file, for small installations.
//
// The program uses it for directory.file and for memory:// sessions. It never writes a
// file and never sees an API key in plain text.
package memory
