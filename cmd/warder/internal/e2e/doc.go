// Package e2e holds the end-to-end tests, and nothing else: warder as a process of its own
// with real stores behind it and a real Envoy in front, and the comparison with a stock
// server (make bench).
//
// It imports the commands that run a server and no other, so that a change of another
// command does not run these tests again. That the program itself has the same commands
// is tested in package main.
package e2e
