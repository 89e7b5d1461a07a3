package authz

import (
	"context"
	"errors"
	"strings"

	"warder/policy/condition"
)

// Len returns how many fields there are.
func (h Headers) Len() int { return len(h) }

// Field returns the i-th field.
func (h Headers) Field(i int) (name, value string) { return h[i].Name, h[i].Value }

// errNoToken cannot come of a request: the token was verified before.
var errNoToken = errors.New("the token of the request is no longer good")

// holds asks the condition of a route about a request and who was proven. An error is a
// no, and says why there is no answer.
func (e *Engine) holds(ctx context.Context, c *condition.Condition, r *Request, who Principal) (bool, error) {
	now := e.now()
	_, query, _ := strings.Cut(r.Path, "?")
	in := condition.Input{
		Method: r.Method, Host: r.Host, Path: r.path, Query: query, Fields: r.Headers, ClientIP: r.ClientIP, Time: now,
		HiddenFields: e.hidden,
		AuthMethod:   who.Method.String(), User: who.UserID, Roles: who.Roles, Scopes: who.Scopes,
	}
	if who.Method == MethodSession {
		in.Claims = func() (string, error) {
			authorization, _ := r.Headers.First("authorization")
			text, ok := bearerToken(authorization)
			if !ok {
				return "", errNoToken
			}
			// It is verified once more, which a token that is remembered costs nothing.
			payload, err := e.tokens.Payload(text, now)
			if err != nil {
				return "", errNoToken
			}
			return payload, nil
		}
	}
	return c.Holds(ctx, &in)
}
