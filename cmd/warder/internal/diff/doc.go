// Package diff is the command warder diff: it says which requests gain or lose access
// between two policies, or between a policy and an OpenAPI document, in words or as JSON.
//
// What differs is found by package compare; this one orders and describes it. It decides
// no request.
package diff
