// Package authztest is what tests of warder share: the conformance suites that
// every store passes ([RunSessions], [RunDirectory]), the decision corpus as tests
// ([RunCorpus], on package policytest), stores that fail, hang,
// panic or count, token minting, and real throwaway Redis and Postgres servers.
//
// It is called by tests only. It decides nothing, and no program imports it.
package authztest
