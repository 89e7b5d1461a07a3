// Package policy owns the route policy: the YAML file that says which request
// needs what. It parses, validates and compiles the file into an immutable
// [Policy], and finds the one route that wins a request. It says what two policies
// decide differently, and how one fits the operations of an application.
//
// It is called by package authz for each request and by the command line for
// each file. It never sees a credential, a store, gRPC or a clock, and it
// decides nothing: a [Route] is a rule, not a verdict. What a [Condition] may look
// at is handed to it.
package policy
