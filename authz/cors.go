package authz

import "warder/policy"

// preflightRoute returns the route that a CORS preflight (Fetch standard, section
// 3.3) is about; nil when the request is none. Browsers send no credential with one,
// and the application answers it: what passes says nothing of anybody.
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

// originOf returns the one Origin of the request; "" when there is none, or more.
func originOf(r *Request) string {
	if origin, count := r.Headers.First("origin"); count == 1 {
		return origin
	}
	return ""
}

// readableBy returns the request's origin when the route lists it.
func readableBy(route *policy.Route, r *Request) string {
	if route.Origins == nil {
		return ""
	}
	if origin := originOf(r); route.Origins.Contains(origin) {
		return origin
	}
	return ""
}
