package authz

import (
	"slices"

	"warder/policy"
)

// require checks the principal's roles or scopes against the route. The admin role
// replaces the role check of a user and nothing else.
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

// hasAny reports whether held contains one of the wanted names, or wanted is empty.
func hasAny(held Names, wanted []string) bool {
	return len(wanted) == 0 || slices.ContainsFunc(wanted, held.Has)
}

// hasAll reports whether held contains every wanted name.
func hasAll(held Names, wanted []string) bool {
	return !slices.ContainsFunc(wanted, func(name string) bool { return !held.Has(name) })
}
