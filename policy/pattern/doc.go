// Package pattern reads the parts of a request that routes are matched by, and the
// patterns that a policy matches them with: canonical paths, path patterns, host names and
// the form in which header names are compared.
//
// It owns the one reading of a request path, so that a pattern and a request can never be
// decoded in two ways, and the order in which one pattern is more specific than another.
// Packages policy, condition, compare and authz call it.
//
// It knows no routes and no files. What is wrong with a pattern is returned as a message
// for the file's author, and a path without a canonical form is refused, never repaired.
package pattern
