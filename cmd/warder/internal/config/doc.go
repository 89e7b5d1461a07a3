// Package config reads warder.yaml and the environment, validates them as a whole and
// converts them to [Settings]. It defines the keys and their JSON Schema, and reads the files
// that the configuration names: secrets, certificates and the directory.
//
// The commands read their configuration with this package and pass the settings on. Commands
// that start no server use a [Config] without resolving it. The package opens no connections
// and writes no log.
package config
