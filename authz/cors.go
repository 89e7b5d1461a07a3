package authz

import "warder/policy"

// preflightRoute returns the route that a CORS preflight request (Fetch standard,
// section 3.3) asks about, or nil when r is not a preflight that a route accepts.
// Browsers send preflights without credentials, so they pass without authentication,
// and the upstream answers them.
func preflightRoute(p *policy.Policy, r *Request) *policy.Route {
	if r.Method != "OPTIONS" {
		return nil
	}
	requested, count := r.Headers.First("access-control-request-method")
	origin := originOf(r)
	if count != 1 || origin == "" {
		return nil
	}
	if r.RouteChosen {
		if route := p.Route(r.RouteID); route != nil && route.Preflights(origin, requested) {
			return route
		}
		return nil
	}
	return p.Preflight(origin, requested, r.Host, r.path)
}

// originOf returns the request's Origin, or "" unless there is exactly one.
func originOf(r *Request) string {
	if origin, count := r.Headers.First("origin"); count == 1 {
		return origin
	}
	return ""
}

// readableBy returns the request's origin if the route lists it, else "".
func readableBy(route *policy.Route, r *Request) string {
	if route.Origins == nil {
		return ""
	}
	if origin := originOf(r); route.Origins.Contains(origin) {
		return origin
	}
	return ""
}
