// Package server puts a configuration to work: it wires the policy, the stores and the
// engine, binds the listeners, reloads what changes, answers probes, and writes the
// decision log. [New] makes a server and [Server.Run] is its life.
//
// It is the command warder serve, and warder demo starts a server by it too. It decides
// nothing, since package authz does, and knows no message of Envoy's, which package envoy
// reads and writes. A server in the same process:
//
//	s := config.DefaultSettings() // or config.Read(path, env).Resolve()
//	srv, err := server.New(s, server.Options{Stdout: out, Log: log, Stores: server.MemoryStores(m), OnReady: func(a server.Addresses) {…}})
//	err = srv.Run(ctx) // until ctx ends, drained
//
// With port 0 in Listen, OnReady tells which ports were bound.
package server
