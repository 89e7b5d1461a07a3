// Command warder is an external authorization service for Envoy.
//
// It owns what is not a rule: the command line, the configuration, listeners,
// the reload of the policy, logs and the life of the process. Each command
// has its own file; [run] is the whole program without the process around it. It
// decides nothing: package authz does, and package envoy carries the answer.
package main
