package authz

import (
	"context"
	"strings"

	"warder/policy"
)

// verify authenticates the request by the one credential that the route reads. It
// returns passed for an authenticated principal, and for a request without credentials
// on a route that allows anonymous access. A bad credential is final: verify does not
// try another kind and does not fall back to anonymous.
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

// joined reports whether a proxy may have joined two header fields into one value
// (RFC 9110 section 5.3). Neither a token nor an API key can contain a comma.
func joined(value string) bool { return strings.Contains(value, ",") }

// verifyUser looks up an active user in the directory: the subject of a token or the
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
