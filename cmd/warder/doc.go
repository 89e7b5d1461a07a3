// Command warder is an external authorization service for Envoy.
//
// It owns the command line. [run] is the whole program; main only hands it the arguments
// and streams of the process. Each command has a package below internal, except the
// commands of a single file, which are in this package. It decides nothing: package authz
// makes the decision, and package envoy sends the answer.
package main
