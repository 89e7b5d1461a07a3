// Command warder is an external authorization service for Envoy.
//
// It owns the command line: [run] is the whole program without the process around it.
// Each command has a package below internal, but for those that are one page and stand
// here. It decides nothing: package authz does, and package envoy carries the answer.
package main
