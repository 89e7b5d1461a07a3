// Package diff implements the command warder diff: it reports, as text or JSON, which
// requests gain or lose access between two policies, and how a policy differs from an
// OpenAPI document.
//
// Package compare finds the differences; this package sorts and describes them. It decides
// no request.
package diff
