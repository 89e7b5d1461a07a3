// Package config reads warder.yaml and the environment, checks them as a whole and
// turns them into [Settings]. It owns the keys, their JSON Schema and the files that
// the configuration names: secrets, certificates and the directory.
//
// The commands read their configuration here and hand the settings on; a [Config] that
// was not resolved is for those that start no server. It connects to nothing and writes
// no log.
package config
