package authz

import (
	"context"
	"errors"
	"strings"

	"warder/authz/token"
	"warder/policy"
)

// A verification is the result of verifying a credential: passed, or the reason to deny and what
// the reason leaves open. With passed, the detail says why the principal may have less than it
// needs.
type verification struct {
	reason Reason
	detail token.Detail
}

// deny returns the denial for a verification that is not passed.
func (v verification) deny() Decision {
	d := Deny(v.reason)
	d.detail = v.detail
	return d
}

// verify authenticates the request by the one credential that the route reads. It
// returns passed for an authenticated principal, and for a request without credentials
// on a route that allows anonymous access. A bad credential is final: verify does not
// try another kind and does not fall back to anonymous.
func (e *Engine) verify(ctx context.Context, route *policy.Route, r *Request) (Principal, verification) {
	found := e.sources.find(route, r)
	switch {
	case found.count == 0 && route.Anonymous:
		return Principal{Method: MethodAnonymous}, verification{reason: passed}
	case found.count == 0:
		return Principal{}, verification{ReasonCredentialsMissing, found.unread}
	case found.count > 1:
		return Principal{}, verification{reason: ReasonCredentialsAmbiguous}
	case found.malformed != token.Detail{}:
		return Principal{}, verification{found.refusal(), found.malformed}
	case found.method == MethodSession:
		return e.verifyToken(ctx, found.text)
	case found.method == MethodAPIKey:
		return e.verifyAPIKey(ctx, found.text)
	}
	return Principal{}, verification{reason: ReasonInternal}
}

// verifyUser looks up an active user in the directory: the subject of a token or the
// owner of an API key.
func (e *Engine) verifyUser(ctx context.Context, id string) (User, verification) {
	if !ValidID(id) {
		return User{}, verification{reason: ReasonUserUnknown}
	}
	user, err := e.users.User(ctx, id)
	switch {
	case isNotFound(err):
		return User{}, verification{ReasonUserUnknown, absenceOf(id, err)}
	case err != nil:
		return User{}, verification{reason: unanswered(err, ReasonDirectoryUnavailable)}
	case !user.Active:
		return User{}, verification{reason: ReasonUserInactive}
	}
	return user, verification{reason: passed}
}

// userInToken returns the active user that a verified token is of, by what the token says.
func userInToken(says *token.User) (User, verification) {
	switch {
	case says == nil: // the verifier reads no roles, which is a fault of the caller
		return User{}, verification{reason: ReasonInternal}
	case !says.Active:
		return User{}, verification{ReasonUserInactive, says.ActiveDetail}
	}
	return User{Active: true, Roles: says.Roles}, verification{passed, says.RolesDetail}
}

// absenceOf returns a detail of why there is no user.
func absenceOf(id string, err error) token.Detail {
	if errors.Is(err, errNoUsers) {
		return token.NewDetail("owner of a key, and users are in tokens")
	}
	return spellingOf(id)
}

// spellingOf returns a detail if an id is another spelling of one that may exist. Ids are
// compared exactly: with two spellings, one user would have two sets of sessions.
func spellingOf(id string) token.Detail {
	digits := strings.TrimLeft(id, "0")
	switch {
	case isUUID(id) && id != strings.ToLower(id):
		return token.NewDetail("user is a UUID in capitals")
	case digits != id && digits != "" && strings.Trim(digits, "0123456789") == "":
		return token.NewDetail("user is a number with leading zeros")
	}
	return token.Detail{}
}

// isUUID reports whether id has the form of a UUID (RFC 9562 section 4), in any case.
func isUUID(id string) bool {
	if len(id) != 36 {
		return false
	}
	for i := range len(id) {
		c := id[i]
		dash := i == 8 || i == 13 || i == 18 || i == 23
		hex := '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
		if dash && c != '-' || !dash && !hex {
			return false
		}
	}
	return true
}
