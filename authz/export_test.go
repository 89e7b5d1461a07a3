package authz

import "warder/policy"

// SameSite calls sameSite for a route without origins of its own.
func SameSite(a Attributes) bool { return sameSite(&policy.Route{}, &Request{Attributes: a}) }
