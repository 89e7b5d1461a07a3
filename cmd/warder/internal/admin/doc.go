// Package admin holds the HTTP client for an admin listener, and the form of the
// listener's plain-text answers.
//
// It implements the command warder health. The command warder explain --url uses its
// client, and the server writes its text answers with it. It starts no listener and does
// not depend on what is asked.
package admin
