// Package demo is the command warder demo: warder, a real Envoy and an example application
// on this machine, with users, API keys and a policy to try.
//
// It starts a server as warder serve does, with stores in memory or sessions in a Redis,
// and listens on loopback only. Nothing of it is for production.
package demo
