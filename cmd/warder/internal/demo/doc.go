// Package demo implements the command warder demo. The command runs warder, a real Envoy and
// an example application on this machine, with users, API keys and a policy to try.
//
// It starts a server as warder serve does, with stores in memory, or with sessions in Redis.
// It listens on loopback only. It is not for production.
package demo
