// Package user is the command warder user: what the directory, the sessions and the API keys
// say about one user.
//
// Package main adds the command. The package only reads.
package user
