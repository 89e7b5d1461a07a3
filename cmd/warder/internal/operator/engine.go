package operator

import (
	"context"

	"warder/authz"
	"warder/policy"
)

// anyRoute is a policy with one route, which a user and an API key may use without rights.
const anyRoute = `version: 1
routes: [{id: any, match: "/", allow: [{user: {}}, {api_key: {}}]}]
`

// Decide decides a request that carries one credential and asks for nothing that needs rights,
// by the engine of the service with the tokens and stores of c. So the reason is the one that
// the service gives. header is "authorization" or [authz.DefaultAPIKeyHeader].
func Decide(ctx context.Context, c authz.Config, header, value string) (authz.Decision, error) {
	var err error
	none := func(string) (string, bool) { return "", false }
	if c.Policy, err = policy.Parse([]policy.File{{Name: "any", Data: []byte(anyRoute)}}, none); err != nil {
		return authz.Decision{}, err
	}
	engine, err := authz.NewEngine(c)
	if err != nil {
		return authz.Decision{}, err
	}
	request := authz.NewRequest(authz.Attributes{
		Method: "GET", Host: "localhost", Path: "/", Headers: authz.Headers{{Name: header, Value: value}},
	})
	return engine.Decide(ctx, request), nil
}
