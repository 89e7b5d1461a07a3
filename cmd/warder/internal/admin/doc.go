// Package admin is how an admin listener is asked, and in which form it answers in words.
//
// It is the command warder health; warder explain --url asks by it, and the server answers
// by it. It starts no listener and knows nothing of what is asked.
package admin
