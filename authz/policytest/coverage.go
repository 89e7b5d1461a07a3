package policytest

import (
	"slices"
	"strings"

	"warder/authz"
	"warder/policy"
)

// A Coverage records which items of a policy the cases have covered. Each route has these
// items:
//
//   - allowed: a request that was allowed, other than a preflight;
//   - denied: a request that was denied, if the route can deny;
//   - anonymous, user and API key: an allowed request of that kind. If the route lists
//     roles or any_scopes, there is an item for each of them instead;
//   - two items for each of client_ips and principals: a request that matches, and one that
//     was denied because it does not;
//   - two items for when: a request for which it was true, and one for which it was not;
//   - each path and each listed method of a request that matched the route.
type Coverage struct {
	Routes []*RouteCoverage // in the order of the files

	byID    map[string]*RouteCoverage
	entries map[*policy.Route][]policy.Entry // most specific first
}

// A RouteCoverage is the coverage of one route.
type RouteCoverage struct {
	Route *policy.Route
	Items []Item
}

// An Item is something that a case can cover.
type Item struct {
	Name    string
	Covered bool

	reached func(*seen) bool
}

// seen is a request that a route decided.
type seen struct {
	request  *authz.Request
	decision authz.Decision
	paths    []string // the route's paths that match the request, as written
}

// let reports whether the request was allowed, other than as a preflight.
func (s *seen) let() bool {
	return s.decision.Allowed() && s.decision.Reason() != authz.ReasonPreflight
}

// NewCoverage returns a Coverage of the policy in which no item is covered.
func NewCoverage(routes *policy.Policy) *Coverage {
	c := &Coverage{byID: map[string]*RouteCoverage{}, entries: map[*policy.Route][]policy.Entry{}}
	for _, e := range routes.Table() {
		c.entries[e.Route] = append(c.entries[e.Route], e)
	}
	for _, r := range routes.Routes() {
		c.byID[r.ID] = &RouteCoverage{Route: r, Items: itemsOf(r)}
		c.Routes = append(c.Routes, c.byID[r.ID])
	}
	return c
}

// Add records a request and its decision.
func (c *Coverage) Add(r *authz.Request, d authz.Decision) {
	rc := c.byID[d.Route()]
	if rc == nil {
		return
	}
	s := &seen{request: r, decision: d}
	for _, e := range c.entries[rc.Route] {
		if e.Takes(r.Method, r.Host, r.ParsedPath()) {
			s.paths = append(s.paths, e.Path)
			break // only the most specific path counts
		}
	}
	for i := range rc.Items {
		item := &rc.Items[i]
		item.Covered = item.Covered || item.reached(s)
	}
}

// Count returns the number of covered items and the number of all items.
func (c *Coverage) Count() (covered, total int) {
	for _, r := range c.Routes {
		covered += len(r.Items) - len(r.Missing())
		total += len(r.Items)
	}
	return covered, total
}

// Missing returns the names of the items that are not covered.
func (r *RouteCoverage) Missing() (names []string) {
	for _, item := range r.Items {
		if !item.Covered {
			names = append(names, item.Name)
		}
	}
	return names
}

func itemsOf(r *policy.Route) (items []Item) {
	add := func(name string, reached func(*seen) bool) {
		items = append(items, Item{Name: name, reached: reached})
	}
	add("allowed", (*seen).let)
	if !r.Public || r.ClientIPs != nil || r.Principals != nil { // in shadow mode, a request that would be denied
		add("denied", func(s *seen) bool { return !s.decision.Allowed() })
	}
	if r.Anonymous {
		add("anonymous", func(s *seen) bool { return s.decision.Reason() == authz.ReasonAnonymous })
	}
	if r.User != nil {
		items = append(items, userItems(r.User)...)
	}
	if r.APIKey != nil {
		items = append(items, apiKeyItems(r.APIKey)...)
	}
	if r.ClientIPs != nil {
		lists := strings.Join(r.ClientIPs.Names(), ", ")
		add("client in "+lists, func(s *seen) bool { return r.ClientIPs.Contains(s.decision.ClientIP()) })
		add("client not in "+lists, func(s *seen) bool {
			return s.decision.Reason() == authz.ReasonClientIPDenied || s.decision.Reason() == authz.ReasonClientIPUnknown
		})
	}
	if r.Principals != nil {
		add("principal listed", func(s *seen) bool { return s.let() })
		add("principal not listed", func(s *seen) bool { return s.decision.Reason() == authz.ReasonPeerDenied })
	}
	if r.Condition != nil {
		add("when true", (*seen).let)
		add("when false", func(s *seen) bool { return s.decision.Reason() == authz.ReasonConditionFalse })
	}
	for _, path := range r.Paths() {
		add("path "+path, func(s *seen) bool { return slices.Contains(s.paths, path) })
	}
	for _, method := range r.Methods {
		add("method "+method, func(s *seen) bool { return s.request.Method == method })
	}
	return items
}

func userItems(rule *policy.UserRule) (items []Item) {
	session := func(s *seen) bool { return s.decision.Reason() == authz.ReasonSession }
	for _, role := range rule.Roles {
		items = append(items, Item{Name: "user with role " + role, reached: func(s *seen) bool {
			return session(s) && s.decision.Principal().Roles.Has(role)
		}})
	}
	if items == nil {
		items = []Item{{Name: "user", reached: session}}
	}
	return items
}

func apiKeyItems(rule *policy.APIKeyRule) (items []Item) {
	key := func(s *seen) bool { return s.decision.Reason() == authz.ReasonAPIKey }
	for _, scope := range rule.AnyScopes {
		items = append(items, Item{Name: "API key with scope " + scope, reached: func(s *seen) bool {
			return key(s) && s.decision.Principal().Scopes.Has(scope)
		}})
	}
	if items == nil {
		items = []Item{{Name: "API key", reached: key}}
	}
	return items
}
