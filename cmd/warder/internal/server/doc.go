// Package server runs warder with a configuration. It connects the policy, the stores and the
// engine, binds the listeners, reloads changed files, answers probes, and writes the
// decision log. [New] makes a server and [Server.Run] runs it.
//
// It implements the command warder serve, and warder demo also uses it to start a server.
// Package authz makes the decisions, and package envoy reads and writes the messages of
// Envoy. To run a server in the same process:
//
//	s := config.DefaultSettings() // or config.Read(path, env).Resolve()
//	srv, err := server.New(s, server.Options{Stdout: out, Log: log, Stores: server.MemoryStores(m), OnReady: func(a server.Addresses) {…}})
//	err = srv.Run(ctx) // until ctx ends, drained
//
// With port 0 in Listen, OnReady receives the ports that were bound.
package server
