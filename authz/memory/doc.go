// Package memory holds sessions, users and API keys in memory: for the demo, for
// tests, and, read from a file, for small installations.
//
// It is called by the program for directory.file and for memory:// sessions. It
// keeps nothing on disk, never changes a file, and never sees a plain API key.
package memory
