package main

import (
	"slices"
	"strings"

	"warder/policy"
)

const anonymousWords = "anyone (anonymous)"

// whoMayPass says in words who gets through a route: the ways in, each of which is enough,
// then from where, through whom and when, which all of them need.
func whoMayPass(r *policy.Route) (words []string, ways int) {
	if r.Public {
		words = append(words, "public")
	}
	if r.Anonymous {
		words = append(words, anonymousWords)
	}
	if r.User != nil {
		words = append(words, userWords(r))
	}
	if r.APIKey != nil {
		words = append(words, apiKeyWords(r))
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

// waysIn are the ways in of a route, each of which is enough.
func waysIn(r *policy.Route) []string {
	words, ways := whoMayPass(r)
	return words[:ways]
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
