package authz

import (
	"strings"

	"warder/policy"
)

// sameSite reports whether a request with a cookie may act for the user: no other site can have
// caused it. Browsers send cookies with requests that any site causes, so a token in a cookie
// does not prove that the user meant the request. The rules are those of
// [net/http.CrossOriginProtection], with WebSocket handshakes treated like unsafe methods, since
// a browser lets any site open a WebSocket. A request is accepted if
//
//   - its method is safe and it does not ask for an upgrade,
//   - Sec-Fetch-Site says that it comes from the same origin or from the user,
//   - its Origin is in cors.allow_origins of the route,
//   - there is no Sec-Fetch-Site, and its Origin has the host of the request, or
//   - it has neither field, so that it does not come from a browser.
func sameSite(route *policy.Route, r *Request) bool {
	if _, upgrades := r.Headers.First("upgrade"); upgrades == 0 && (r.Method == "GET" || r.Method == "HEAD" || r.Method == "OPTIONS") {
		return true
	}
	site, sites := r.Headers.First("sec-fetch-site")
	origin, origins := r.Headers.First("origin")
	switch {
	case sites > 1 || origins > 1:
		return false
	case sites == 1 && (site == "same-origin" || site == "none"):
		return true
	case sites == 0 && origins == 0:
		return true
	}
	return route.Origins.Contains(origin) || sites == 0 && ofHost(origin, r.Host)
}

// ofHost reports whether an origin (RFC 6454 section 6.1) has the host and port of a request.
// The scheme is not compared, because it is the proxy that knows the request's.
func ofHost(origin, host string) bool {
	scheme, authority, found := strings.Cut(origin, "://")
	if !found || authority == "" {
		return false
	}
	var port string // the default one, which browsers leave out
	switch scheme {
	case "http":
		port = ":80"
	case "https":
		port = ":443"
	default:
		return false
	}
	return strings.EqualFold(strings.TrimSuffix(authority, port), strings.TrimSuffix(host, port))
}

// isHandshake reports whether the request opens a WebSocket (RFC 6455 section 4.1). Envoy
// presents a handshake of HTTP/2 and HTTP/3 (RFC 8441) in the same form.
func isHandshake(r *Request) bool {
	upgrade, count := r.Headers.First("upgrade")
	return count == 1 && strings.EqualFold(upgrade, "websocket")
}
