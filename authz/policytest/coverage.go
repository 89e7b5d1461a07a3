package policytest

import (
	"slices"
	"strings"

	"warder/authz"
	"warder/policy"
)

// A Coverage counts what the cases of a policy have reached in it. Each route has these
// items:
//
//   - allowed: a request was let through by the route (not as a preflight);
//   - denied: a request was denied by it, where it can deny at all;
//   - each way in, taken by a request that was let through: "anonymous", "user", or one
//     item for each of roles, held by the user; "API key", or one for each of any_scopes;
//   - client_ips and principals, two each: a request from there, and one that was denied
//     for coming from elsewhere;
//   - when, two: a request for which it was true, and one for which it was not;
//   - each path and each listed method, of a request that the route won.
type Coverage struct {
	Routes []*RouteCoverage // in the order of the files

	byID    map[string]*RouteCoverage
	entries map[*policy.Route][]policy.Entry // the most specific first
}

// A RouteCoverage is what has been reached of one route.
type RouteCoverage struct {
	Route *policy.Route
	Items []Item
}

// An Item is one thing that cases can reach.
type Item struct {
	Name    string
	Covered bool

	reached func(*seen) bool
}

// A seen request is one that was decided by a route.
type seen struct {
	request  *authz.Request
	decision authz.Decision
	paths    []string // of the route that take the request, as written
}

// let reports whether the request was let through for whoever sent it.
func (s *seen) let() bool {
	return s.decision.Allowed() && s.decision.Reason() != authz.ReasonPreflight
}

// NewCoverage returns what can be reached of a policy, none of it reached.
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

// Add counts one request and its decision.
func (c *Coverage) Add(r *authz.Request, d authz.Decision) {
	rc := c.byID[d.Route()]
	if rc == nil {
		return
	}
	s := &seen{request: r, decision: d}
	for _, e := range c.entries[rc.Route] {
		if e.Takes(r.Method, r.Host, r.ParsedPath()) {
			s.paths = append(s.paths, e.Path)
			break // the most specific one, which is how the route won
		}
	}
	for i := range rc.Items {
		item := &rc.Items[i]
		item.Covered = item.Covered || item.reached(s)
	}
}

// Count returns how many items there are, and how many of them were reached.
func (c *Coverage) Count() (covered, total int) {
	for _, r := range c.Routes {
		covered += len(r.Items) - len(r.Missing())
		total += len(r.Items)
	}
	return covered, total
}

// Missing returns the names of what was not reached.
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
	if !r.Public || r.ClientIPs != nil || r.Principals != nil { // in shadow, what would be denied
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
