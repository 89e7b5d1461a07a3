package authz

import (
	"context"
	"strings"

	"warder/policy"
)

// verify finds the one credential that the route looks at and proves who holds
// it. The reason is one for a yes only when somebody, or on a route that says so
// nobody, was proven. A bad credential is final: no other kind is tried.
func (e *Engine) verify(ctx context.Context, route *policy.Route, r *Request) (Principal, Reason) {
	var bearers, keys []string
	if route.User != nil {
		bearers = r.Headers.Values("authorization")
	}
	if route.APIKey != nil {
		keys = r.Headers.Values(e.apiKeyHeader)
	}
	switch {
	case len(bearers)+len(keys) == 0 && route.Anonymous:
		return Principal{Method: MethodAnonymous}, ReasonAnonymous
	case len(bearers)+len(keys) == 0:
		return Principal{}, ReasonCredentialsMissing
	case len(bearers)+len(keys) > 1 || joined(bearers) || joined(keys):
		return Principal{}, ReasonCredentialsAmbiguous
	case len(bearers) == 1:
		return e.verifyBearer(ctx, bearers[0])
	default:
		return e.verifyAPIKey(ctx, keys[0])
	}
}

// joined reports whether a proxy may have made one value of two: neither a
// token nor an API key can hold a comma.
func joined(values []string) bool {
	return len(values) == 1 && strings.Contains(values[0], ",")
}

// verifyUser asks the directory for an active user: the signed-in one, or the
// owner of an API key. Its answer is final unless it is for a yes.
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
