package main

import (
	"slices"
	"strings"

	"warder/policy"
)

// whoMayPass says in words who gets through a route: each way in, then what is asked of
// them all.
func whoMayPass(r *policy.Route) []string {
	var ways []string
	if r.Public {
		ways = append(ways, "public")
	}
	if r.Anonymous {
		ways = append(ways, "anyone (anonymous)")
	}
	if r.User != nil {
		ways = append(ways, "users"+having(names("role ", "any of ", r.User.Roles), names("role ", "all of ", r.User.AllRoles)))
	}
	if r.APIKey != nil {
		ways = append(ways, "API keys"+having(names("scopes ", "scopes ", r.APIKey.Scopes), names("scope ", "any of ", r.APIKey.AnyScopes)))
	}
	if r.ClientIPs != nil {
		ways = append(ways, "from "+strings.Join(r.ClientIPs.Names(), ", "))
	}
	if r.Principals != nil {
		ways = append(ways, "through "+strings.Join(r.Principals.Patterns(), ", "))
	}
	if r.Shadow {
		ways = append(ways, "in shadow: no denial is enforced")
	}
	return ways
}

// isWayIn tells a way in, of which each is enough, from what is asked of them all.
func isWayIn(words string) bool {
	return !slices.ContainsFunc([]string{"from ", "through ", "when ", "in shadow"}, func(beginning string) bool {
		return strings.HasPrefix(words, beginning)
	})
}

// names writes the names that somebody needs after a word for one of them, or for many.
func names(one, many string, list []string) string {
	switch len(list) {
	case 0:
		return ""
	case 1:
		return one + list[0]
	}
	return many + strings.Join(list, ", ")
}

func having(needs ...string) string {
	needs = slices.DeleteFunc(needs, func(s string) bool { return s == "" })
	if len(needs) == 0 {
		return ""
	}
	return " with " + strings.Join(needs, " and ")
}

// needsNoCredential reports whether a request without any credential may pass.
func needsNoCredential(r *policy.Route) bool { return r.Public || r.Anonymous || r.Shadow }
