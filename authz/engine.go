package authz

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"warder/authz/token"
	"warder/policy"
)

// Config configures an [Engine]. Policy, Tokens, Sessions, Users and APIKeys are
// required.
type Config struct {
	Policy   *policy.Policy
	Tokens   Tokens
	Sessions Sessions
	Users    Users
	APIKeys  APIKeys

	// UsersInTokens takes the roles and the state of the user of a token from its claims, so that
	// Tokens has to give a [token.User]. Users is then for the owners of API keys only: [NoUsers]
	// if they cannot be looked up.
	UsersInTokens bool
	// Sources are where requests carry credentials.
	Sources Sources
	// IdentityHeaders are the names of renamed identity headers, by field. They carry the
	// principal to the upstream. In an incoming request their values come from the client and
	// cannot be trusted, so conditions cannot read them, nor the headers of Sources and x-warder-*.
	IdentityHeaders map[string]string
	// AttributeHeaders are the headers that carry attributes of the principal to the upstream, by
	// the name of the attribute. Conditions cannot read them either.
	AttributeHeaders map[string]string
	// Shadow puts every route in shadow mode, whatever the policy says: denials are
	// reported and not enforced. It is for running beside the application's own checks.
	Shadow bool
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Tokens verifies bearer tokens, as [token.Verifier] does.
type Tokens interface {
	// Verify returns the claims of a token that is valid at the time now. Its errors are
	// those of package token.
	Verify(text string, now time.Time) (token.Claims, error)
	// Payload verifies the token and returns all of its claims as a JSON object.
	Payload(text string, now time.Time) (string, error)
}

// An Engine decides requests. It is safe for concurrent use; its policy can be
// swapped while it runs.
type Engine struct {
	policy   atomic.Pointer[policy.Policy]
	tokens   Tokens
	sessions Sessions
	users    Users
	apiKeys  APIKeys
	inTokens bool // Config.UsersInTokens
	sources  *SourceReader
	hidden   []string // header fields that conditions cannot read
	shadow   bool
	now      func() time.Time
}

// NewEngine returns an engine, or an error that names every missing field of c.
func NewEngine(c Config) (*Engine, error) {
	var missing []error
	for _, part := range []struct {
		name string
		is   bool
	}{
		{"Policy", c.Policy != nil},
		{"Tokens", c.Tokens != nil},
		{"Sessions", c.Sessions != nil},
		{"Users", c.Users != nil},
		{"APIKeys", c.APIKeys != nil},
	} {
		if !part.is {
			missing = append(missing, fmt.Errorf("authz: Config.%s is missing", part.name))
		}
	}
	if err := errors.Join(missing...); err != nil {
		return nil, err
	}
	sources, err := NewSourceReader(c.Sources)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		tokens:   c.Tokens,
		sessions: c.Sessions,
		users:    c.Users,
		apiKeys:  c.APIKeys,
		inTokens: c.UsersInTokens,
		sources:  sources,
		shadow:   c.Shadow,
		now:      c.Now,
	}
	e.hidden = slices.AppendSeq(sources.Headers(), maps.Values(c.IdentityHeaders))
	e.hidden = slices.AppendSeq(e.hidden, maps.Values(c.AttributeHeaders))
	if e.now == nil {
		e.now = time.Now
	}
	e.policy.Store(c.Policy)
	return e, nil
}

// Policy returns the policy in force.
func (e *Engine) Policy() *policy.Policy { return e.policy.Load() }

// SetPolicy replaces the policy atomically: each request is decided by the old
// policy or by the new one, never by parts of both. A nil policy is ignored.
func (e *Engine) SetPolicy(p *policy.Policy) {
	if p != nil {
		e.policy.Store(p)
	}
}

// Decide decides one request. The order of the checks is part of the contract:
// host, path, route, client IP, peer, public or preflight, credential, session, user or
// key, roles or scopes, condition. The first check that fails gives the reason.
func (e *Engine) Decide(ctx context.Context, r *Request) Decision {
	p := e.policy.Load()
	found := find(p, r)
	d := Deny(found.refusal)
	if found.refusal == passed {
		d = e.decideRoute(ctx, p.AdminRole(), found, r)
		d.route = found.route.ID
		d.challenge = challengeOf(found.route)
	}
	if found.route != nil && !d.allowed {
		d.origin = readableBy(found.route, r)
		d.denials = found.route.Denials
		d.bare = d.denials.HasLogin() && (found.route.TokenQuery || found.route.APIKeyQuery || e.sources.inQuery(r))
	} else if !d.allowed {
		d.denials = p.Denials()
	}
	d.clientIP = r.ClientIP
	d.hash = p.Hash()
	d.shadow = e.shadow || found.route != nil && found.route.Shadow
	return d
}

// A finding is the route that a request matched. Its zero value is a denial.
type finding struct {
	route     *policy.Route // nil when no route matched
	preflight bool          // the request is a CORS preflight for the route
	refusal   Reason        // passed when the route's own checks are to run
}

// find returns the matching route, or the reason for denying the request without
// running a route's checks.
func find(p *policy.Policy, r *Request) finding {
	if !r.hostOK {
		return finding{refusal: ReasonRequestMalformed}
	}
	if r.pathErr != nil {
		return finding{refusal: ReasonPathAmbiguous}
	}
	route := preflightRoute(p, r)
	preflight := route != nil
	switch {
	case preflight:
	case r.RouteChosen:
		route = chosenRoute(p, r)
	default:
		route = p.Match(r.Method, r.Host, r.path)
	}
	switch forms := r.path.Forms(); {
	case route == nil && forms != 0:
		return finding{refusal: ReasonPathAmbiguous}
	case route == nil:
		return finding{refusal: ReasonRouteUnmatched}
	case forms&^route.PathAllows != 0:
		return finding{route: route, refusal: ReasonPathAmbiguous}
	}
	return finding{route, preflight, passed}
}

// chosenRoute returns the route that the proxy's own configuration selected. It
// returns nil when the policy has no route with that id or when the route does not
// accept the method.
func chosenRoute(p *policy.Policy, r *Request) *policy.Route {
	if route := p.Route(r.RouteID); route != nil && route.Takes(r.Method) {
		return route
	}
	return nil
}

// decideRoute runs the checks of the matching route.
func (e *Engine) decideRoute(ctx context.Context, adminRole string, found finding, r *Request) Decision {
	route := found.route
	if reason := checkClientIP(route, r); reason != passed {
		return Deny(reason)
	}
	if route.Principals != nil && !route.Principals.Contains(r.Principal) {
		return Deny(ReasonPeerDenied)
	}
	if found.preflight {
		return allow(ReasonPreflight, Principal{})
	}
	if route.Public {
		return allow(ReasonPublic, Principal{})
	}
	who, verified := e.verify(ctx, route, r)
	if verified.reason != passed {
		return verified.deny().about(who)
	}
	if reason := require(route, who, adminRole); reason != passed {
		return verification{reason, verified.detail}.deny().about(who)
	}
	if route.Condition != nil {
		if holds, err := e.holds(ctx, route, r, who); !holds {
			return unholding(route.Condition, verified, err).deny().about(who).because(err)
		}
	}
	return allow(who.Method.reason(), who)
}

// checkClientIP checks the client's address against the route's allowlist.
func checkClientIP(route *policy.Route, r *Request) Reason {
	switch {
	case route.ClientIPs == nil:
		return passed
	case !r.ClientIP.IsValid():
		return ReasonClientIPUnknown
	case !route.ClientIPs.Contains(r.ClientIP):
		return ReasonClientIPDenied
	}
	return passed
}

func challengeOf(route *policy.Route) Challenge {
	if route.User == nil && route.APIKey != nil {
		return ChallengeAPIKey
	}
	return ChallengeBearer
}
