// Package explain decides one request without the stores and explains the decision: which
// route won and which came close, each check in order, and the headers that would be sent.
//
// It implements the command warder explain, and the handler of POST /explain that a server
// mounts on its admin listener. The command warder test uses it to explain failed cases. It
// does not verify credentials of real users, send requests to stores or start a listener.
package explain
