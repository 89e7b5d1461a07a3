// Package policytest runs files of test cases for policies. A file has a policy, the
// contents of the stores, and requests with their expected results. The package parses
// the files, builds the requests, compares the results with the expected ones, and
// measures how much of a policy the cases cover. The caller provides the code under test
// as a [Depth].
//
// The command warder test calls it, and so do warder's own tests with the decision corpus.
// It never uses a network or a real store, and it does not import package testing.
package policytest
