package server

import (
	"context"
	"fmt"

	"warder/authz"
	"warder/cmd/warder/internal/cli"
	"warder/policy"
)

// APIKeyProblems returns a problem for each route that accepts API keys, if API keys are off.
// Such a route would deny what its author wants to allow. path is the path of the policy.
func APIKeyProblems(p *policy.Policy, path string, off bool) (found cli.Problems) {
	if !off {
		return nil
	}
	for _, r := range p.Routes() {
		if r.APIKey == nil {
			continue
		}
		at := r.Position
		if at.File == "" {
			at.File = path
		}
		found = append(found, cli.Problem{Position: at, Field: fmt.Sprintf("route %s", r.ID), Message: "accepts API keys, and directory.api_keys is off; " +
			"take api_key out of its allow, or leave directory.api_keys out"})
	}
	return found
}

// loadPolicy reads a policy and checks it against the settings.
func loadPolicy(path string, env cli.LookupEnv, keysOff bool) (*policy.Policy, error) {
	p, err := policy.Load(path, env)
	if err != nil {
		return nil, err
	}
	return p, APIKeyProblems(p, path, keysOff).Err()
}

// noAPIKeys is the store of API keys if they are off: it knows none.
type noAPIKeys struct{}

// APIKey implements [authz.APIKeys].
func (noAPIKeys) APIKey(context.Context, authz.KeyHash) (authz.APIKey, error) {
	return authz.APIKey{}, authz.ErrNotFound
}
