package authz

import (
	"context"
	"errors"
	"strings"

	"warder/authz/attribute"
	"warder/authz/token"
	"warder/policy"
	"warder/policy/condition"
)

// Len returns the number of fields.
func (h Headers) Len() int { return len(h) }

// Field returns the name and value of the i-th field.
func (h Headers) Field(i int) (name, value string) { return h[i].Name, h[i].Value }

// errNoToken is not expected: the token was verified earlier in the same check.
var errNoToken = errors.New("the token of the request is no longer valid")

// holds evaluates the route's condition for the request and its principal. With an
// error, which says why the condition could not be evaluated, the bool is false.
func (e *Engine) holds(ctx context.Context, route *policy.Route, r *Request, who Principal) (bool, error) {
	now := e.now()
	_, query, _ := strings.Cut(r.Path, "?")
	in := condition.Input{
		Method: r.Method, Host: r.Host, Path: r.path, Query: query, Fields: r.Headers, ClientIP: r.ClientIP, Time: now,
		HiddenFields: e.hidden,
		AuthMethod:   who.Method.String(), User: who.UserID, Roles: who.Roles, Scopes: who.Scopes, Attributes: who.Attributes,
	}
	if who.Method == MethodSession {
		in.Claims = func() (string, error) {
			text := e.sources.find(route, r).text
			// Payload verifies the token again. The verifier's cache makes this cheap.
			payload, err := e.tokens.Payload(text, now)
			if err != nil {
				return "", errNoToken
			}
			return payload, nil
		}
	}
	return route.Condition.Holds(ctx, &in)
}

// unholding returns the denial by a condition that does not hold, for the error of holds. Its
// detail is an attribute that cannot be read, or why the user may have less roles than it needs.
func unholding(c *condition.Condition, verified verification, err error) verification {
	found := verification{reason: ReasonConditionFalse}
	if unreadable, ok := errors.AsType[*attribute.UnreadableError](err); ok {
		found.detail = token.NewDetail("attribute " + unreadable.Name + " unreadable")
	} else if c.ReadsRoles() {
		found.detail = verified.detail
	}
	return found
}
