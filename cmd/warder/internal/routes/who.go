package routes

import (
	"slices"
	"strings"

	"warder/policy"
)

// Anonymous is the way in of a route that lets anonymous requests through.
const Anonymous = "anyone (anonymous)"

// WhoMayPass says in words who gets through a route: the ways in, each of which is enough,
// then from where, through whom and when, which all of them need.
func WhoMayPass(r *policy.Route) (words []string, ways int) {
	if r.Public {
		words = append(words, "public")
	}
	if r.Anonymous {
		words = append(words, Anonymous)
	}
	if r.User != nil {
		words = append(words, UserWords(r))
	}
	if r.APIKey != nil {
		words = append(words, APIKeyWords(r))
	}
	ways = len(words)
	if r.ClientIPs != nil {
		words = append(words, "from "+strings.Join(r.ClientIPs.Names(), ", "))
	}
	if r.Principals != nil {
		words = append(words, "through "+strings.Join(r.Principals.Patterns(), ", "))
	}
	if r.Condition != nil {
		words = append(words, "when "+r.Condition.String())
	}
	if r.Shadow {
		words = append(words, "in shadow: no denial is enforced")
	}
	return words, ways
}

// WaysIn are the ways in of a route, each of which is enough.
func WaysIn(r *policy.Route) []string {
	words, ways := WhoMayPass(r)
	return words[:ways]
}

// UserWords says which users get through a route that lets users in.
func UserWords(r *policy.Route) string {
	needs := Having(Names("role ", "any of ", r.User.Roles), Names("role ", "all of ", r.User.AllRoles))
	if needs == "" {
		return "any signed-in user"
	}
	return "users" + needs
}

// APIKeyWords says which API keys get through a route that lets API keys in.
func APIKeyWords(r *policy.Route) string {
	needs := Having(Names("scope ", "scopes ", r.APIKey.Scopes), Names("scope ", "any of ", r.APIKey.AnyScopes))
	if needs == "" {
		return "any valid API key"
	}
	return "API keys" + needs
}

// Names writes the names that somebody needs after a word for one of them, or for many.
func Names(one, many string, list []string) string {
	switch len(list) {
	case 0:
		return ""
	case 1:
		return one + list[0]
	}
	return many + strings.Join(list, ", ")
}

// Having joins what somebody needs, and is empty where nothing is needed.
func Having(needs ...string) string {
	needs = slices.DeleteFunc(needs, func(s string) bool { return s == "" })
	if len(needs) == 0 {
		return ""
	}
	return " with " + strings.Join(needs, " and ")
}

// NeedsNoCredential reports whether a request without any credential may pass.
func NeedsNoCredential(r *policy.Route) bool { return r.Public || r.Anonymous || r.Shadow }
