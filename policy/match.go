package policy

type matcher struct{}

// Match returns the route that wins the request, or nil when none matches.
// The host is as sent (case, port and trailing dot are taken off here).
func (p *Policy) Match(method, host string, path Path) *Route { panic("contract only") }
