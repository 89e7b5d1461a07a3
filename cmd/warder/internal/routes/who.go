package routes

import (
	"slices"
	"strings"

	"warder/policy"
)

// Anonymous is the way in of a route that allows anonymous requests.
const Anonymous = "anyone (anonymous)"

// WhoMayPass describes in words whom a route allows. The first words are the ways in, each
// of which is enough; ways is their number. The other words are the client addresses, the
// principals and the condition that every way in requires, and whether the route is in shadow.
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

// WaysIn returns the ways in of a route, each of which is enough.
func WaysIn(r *policy.Route) []string {
	words, ways := WhoMayPass(r)
	return words[:ways]
}

// UserWords describes the users that a route with a user rule allows.
func UserWords(r *policy.Route) string {
	needs := Having(Names("role ", "any of ", r.User.Roles), Names("role ", "all of ", r.User.AllRoles))
	if needs == "" {
		return "any signed-in user"
	}
	return "users" + needs
}

// APIKeyWords describes the API keys that a route with an api_key rule allows.
func APIKeyWords(r *policy.Route) string {
	needs := Having(Names("scope ", "scopes ", r.APIKey.Scopes), Names("scope ", "any of ", r.APIKey.AnyScopes))
	if needs == "" {
		return "any valid API key"
	}
	return "API keys" + needs
}

// Names returns the names in a list after the word one, if there is one name, or after the
// word many. It returns "" for no names.
func Names(one, many string, list []string) string {
	switch len(list) {
	case 0:
		return ""
	case 1:
		return one + list[0]
	}
	return many + strings.Join(list, ", ")
}

// Having returns " with " and the needs, joined by "and". It returns "" if all are empty.
func Having(needs ...string) string {
	needs = slices.DeleteFunc(needs, func(s string) bool { return s == "" })
	if len(needs) == 0 {
		return ""
	}
	return " with " + strings.Join(needs, " and ")
}

// NeedsNoCredential reports whether a request without any credential may pass.
func NeedsNoCredential(r *policy.Route) bool { return r.Public || r.Anonymous || r.Shadow }
