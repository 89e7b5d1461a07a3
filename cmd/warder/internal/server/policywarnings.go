package server

import (
	"warder/authz"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
	"warder/policy"
)

// policyWarnings returns the warnings of the policy itself, and those of [ConfiguredWarnings].
func policyWarnings(p *policy.Policy, path string, s *config.Settings) cli.Problems {
	return append(cli.Problems(p.Warnings()), ConfiguredWarnings(p, path, s)...).Sorted()
}

// ConfiguredWarnings returns the warnings about a policy that depend on the configuration too.
// The path is that of the policy.
func ConfiguredWarnings(p *policy.Policy, path string, s *config.Settings) cli.Problems {
	return append(clientIPWarnings(p, path, s.ClientIP), sourceWarnings(p, path, s.Sources)...)
}

// sourceWarnings warns about routes that take a credential from the query when the configuration
// names no parameter for it, and about a parameter that no route reads.
func sourceWarnings(p *policy.Policy, path string, s authz.Sources) (found cli.Problems) {
	tokens, apiKeys := s.All()
	for _, kind := range []struct {
		key, list, example string
		sources            []authz.Source
		reads              func(*policy.Route) bool
	}{
		{"token_query", "jwt.sources", "token", tokens, func(r *policy.Route) bool { return r.TokenQuery }},
		{"api_key_query", "api_key.sources", "api_key", apiKeys, func(r *policy.Route) bool { return r.APIKeyQuery }},
	} {
		parameter := ""
		for _, source := range kind.sources {
			if source.Query != "" {
				parameter = source.Query
			}
		}
		read := false
		for _, r := range p.Routes() {
			if !kind.reads(r) {
				continue
			}
			read = true
			if parameter == "" {
				found = append(found, cli.Problem{
					Position: r.Position, Field: kind.key,
					Message: "route " + r.ID + " has " + kind.key + ": true, which has no effect, because " + kind.list + " in the configuration names no query parameter; add {query: " + kind.example + "} there, or leave it out",
				})
			}
		}
		if parameter != "" && !read {
			found = append(found, cli.Problem{
				Position: policy.Position{File: path}, Field: kind.key,
				Message: "the query parameter " + parameter + " of " + kind.list + " is read on no route; write " + kind.key + ": true on the routes that need it, or leave it out of the configuration",
			})
		}
	}
	return found
}
