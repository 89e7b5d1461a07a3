package authz

import (
	"context"
	"strings"

	"warder/policy"
)

// verify finds the one credential that the route looks at and proves who holds it. It
// returns passed only when somebody was proven, or nobody on a route that allows that. A bad
// credential is final: no other kind is tried.
func (e *Engine) verify(ctx context.Context, route *policy.Route, r *Request) (Principal, Reason) {
	var bearer, key string
	var bearers, keys int
	if route.User != nil {
		bearer, bearers = r.Headers.First("authorization")
	}
	if route.APIKey != nil {
		key, keys = r.Headers.First(e.apiKeyHeader)
	}
	switch {
	case bearers+keys == 0 && route.Anonymous:
		return Principal{Method: MethodAnonymous}, passed
	case bearers+keys == 0:
		return Principal{}, ReasonCredentialsMissing
	case bearers+keys > 1 || joined(bearer) || joined(key):
		return Principal{}, ReasonCredentialsAmbiguous
	case bearers == 1:
		return e.verifyBearer(ctx, bearer)
	default:
		return e.verifyAPIKey(ctx, key)
	}
}

// joined reports whether a proxy may have made one value of two: neither a
// token nor an API key can hold a comma.
func joined(value string) bool { return strings.Contains(value, ",") }

// verifyUser asks the directory for an active user: the signed-in one, or the
// owner of an API key.
func (e *Engine) verifyUser(ctx context.Context, id string) (User, Reason) {
	if !ValidID(id) {
		return User{}, ReasonUserUnknown
	}
	user, err := e.users.User(ctx, id)
	switch {
	case isNotFound(err):
		return User{}, ReasonUserUnknown
	case err != nil:
		return User{}, unanswered(err, ReasonDirectoryUnavailable)
	case !user.Active:
		return User{}, ReasonUserInactive
	}
	return user, passed
}
