// Package authztest has the shared parts of warder's tests: the conformance suites for
// stores ([RunSessions], [RunDirectory]), the decision corpus as tests ([RunCorpus]), stores
// that fail, hang, panic or count, a log buffer, token minting, and real Redis and Postgres
// servers that are started for a test.
//
// Only tests import it.
package authztest
