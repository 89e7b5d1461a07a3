package authz

import (
	"slices"

	"warder/policy"
)

// require holds the principal against what the route wants of its kind. The
// admin role replaces the role check of a user and nothing else.
func require(route *policy.Route, who Principal, adminRole string) Reason {
	switch who.Method {
	case MethodAnonymous:
		return passed
	case MethodSession:
		if adminRole != "" && who.Roles.Has(adminRole) {
			return passed
		}
		if !hasAny(who.Roles, route.User.Roles) || !hasAll(who.Roles, route.User.AllRoles) {
			return ReasonRoleMissing
		}
		return passed
	case MethodAPIKey:
		if !hasAll(who.Scopes, route.APIKey.Scopes) || !hasAny(who.Scopes, route.APIKey.AnyScopes) {
			return ReasonScopeMissing
		}
		return passed
	case MethodNone:
	}
	return ReasonInternal
}

// hasAny reports whether one of the wanted names is held; wanting none is held by all.
func hasAny(held Names, wanted []string) bool {
	return len(wanted) == 0 || slices.ContainsFunc(wanted, held.Has)
}

// hasAll reports whether every wanted name is held.
func hasAll(held Names, wanted []string) bool {
	return !slices.ContainsFunc(wanted, func(name string) bool { return !held.Has(name) })
}
