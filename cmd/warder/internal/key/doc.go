// Package key is the command warder key: it creates, lists, revokes and rotates API keys in the
// database.
//
// Package main adds the command. The package makes the keys and prints each once. The database
// gets their hashes only. The SQL is in the configuration (directory.commands), and package
// postgres runs it.
package key
