// Package e2e contains only the end-to-end tests. They run warder as a separate process with
// real stores and a real Envoy. The package also contains the comparison with a stock server
// (make bench), and the proof under load: the matrix of faults (make faults), make soak and
// make flood. They share the stage, on which credentials come and go, and the judge, who knows the
// right answer to each request.
//
// It imports only the commands that run a server, so that a change of another command does
// not run these tests again. Package main tests that the program has the same commands.
package e2e
