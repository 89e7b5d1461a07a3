// Package policytest owns files of decision cases (a policy, what the stores hold,
// requests and the answers that they must get): reading them, building the requests,
// holding what came of them against what was wanted, and counting what a policy's
// cases cover. What decides is handed in as a [Depth].
//
// It is called by `warder test`, and by the tests of warder itself with the decision
// corpus. It never touches a network or a real store, and knows nothing of Go's tests.
package policytest
