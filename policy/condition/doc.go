// Package condition owns the when of a route: an expression in CEL (cel-go underneath) over
// the request, the parameters of its path and the verified principal.
//
// Package policy compiles the expressions of a file with a [Compiler], package authz asks a
// [Condition] about each request, and package compare asks whether two of them are the same.
// Everything that an expression may look at is passed to it in an [Input]; a value that is
// absent or ambiguous is an error, and an error never counts as true.
//
// It never looks up a credential, opens a connection or reads a clock. It offers no function
// that is not pure, and what a check may cost is bounded.
package condition
