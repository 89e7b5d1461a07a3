package main

import (
	"slices"
	"strings"

	"warder/policy"
)

// whoMayPass says in words who gets through a route: each way in, then from where, through
// whom and when.
func whoMayPass(r *policy.Route) []string {
	var ways []string
	if r.Public {
		ways = append(ways, "public")
	}
	if r.Anonymous {
		ways = append(ways, "anyone (anonymous)")
	}
	if r.User != nil {
		ways = append(ways, userWords(r))
	}
	if r.APIKey != nil {
		ways = append(ways, apiKeyWords(r))
	}
	if r.ClientIPs != nil {
		ways = append(ways, "from "+strings.Join(r.ClientIPs.Names(), ", "))
	}
	if r.Principals != nil {
		ways = append(ways, "through "+strings.Join(r.Principals.Patterns(), ", "))
	}
	if r.Condition != nil {
		ways = append(ways, "when "+r.Condition.String())
	}
	if r.Shadow {
		ways = append(ways, "in shadow: no denial is enforced")
	}
	return ways
}

// narrows reports whether words of whoMayPass are no way in, but what all ways need.
func narrows(way string) bool {
	for _, word := range []string{"from ", "through ", "when ", "in shadow"} {
		if strings.HasPrefix(way, word) {
			return true
		}
	}
	return false
}

func userWords(r *policy.Route) string {
	needs := having(names("role ", "any of ", r.User.Roles), names("role ", "all of ", r.User.AllRoles))
	if needs == "" {
		return "any signed-in user"
	}
	return "users" + needs
}

func apiKeyWords(r *policy.Route) string {
	needs := having(names("scope ", "scopes ", r.APIKey.Scopes), names("scope ", "any of ", r.APIKey.AnyScopes))
	if needs == "" {
		return "any valid API key"
	}
	return "API keys" + needs
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
