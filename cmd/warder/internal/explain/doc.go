// Package explain decides one request without the stores and says in words how: which
// route won and which came close, each check in order, and the headers that would be sent.
//
// It is the command warder explain, and the handler of POST /explain that a server mounts
// on its admin listener; warder test explains by it the cases that failed. It verifies no
// credential of a real user, asks no store and starts no listener.
package explain
