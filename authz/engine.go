package authz

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"warder/authz/token"
	"warder/policy"
)

// Config is what an [Engine] is made of. Policy, Tokens, Sessions, Users and
// APIKeys are required.
type Config struct {
	Policy   *policy.Policy
	Tokens   *token.Verifier
	Sessions Sessions
	Users    Users
	APIKeys  APIKeys

	// APIKeyHeader is the field that carries an API key; "" means X-API-Key.
	APIKeyHeader string
	// IdentityHeaders are the headers that tell the upstream who a principal is and that have
	// names of their own, by field. No condition sees them, nor the one of API keys and
	// x-warder-*: what a client sends under these names says nothing.
	IdentityHeaders map[string]string
	// Shadow enforces no denial, whatever the policy says: for a run beside checks that
	// the application makes by itself.
	Shadow bool
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// An Engine decides requests. It is safe for concurrent use; its policy can be
// swapped while it runs.
type Engine struct {
	policy       atomic.Pointer[policy.Policy]
	tokens       *token.Verifier
	sessions     Sessions
	users        Users
	apiKeys      APIKeys
	apiKeyHeader string
	hidden       []string // fields, from conditions
	shadow       bool
	now          func() time.Time
}

// NewEngine makes an engine, or says what is missing.
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
	e := &Engine{
		tokens:       c.Tokens,
		sessions:     c.Sessions,
		users:        c.Users,
		apiKeys:      c.APIKeys,
		apiKeyHeader: strings.ToLower(c.APIKeyHeader),
		shadow:       c.Shadow,
		now:          c.Now,
	}
	if e.apiKeyHeader == "" {
		e.apiKeyHeader = "x-api-key"
	}
	e.hidden = slices.AppendSeq([]string{e.apiKeyHeader}, maps.Values(c.IdentityHeaders))
	if e.now == nil {
		e.now = time.Now
	}
	e.policy.Store(c.Policy)
	return e, nil
}

// Policy returns the policy that the next request will be decided by.
func (e *Engine) Policy() *policy.Policy { return e.policy.Load() }

// SetPolicy swaps the policy at once: a request is decided by the old one or by
// the new one, never by parts of both. A nil policy is ignored.
func (e *Engine) SetPolicy(p *policy.Policy) {
	if p != nil {
		e.policy.Store(p)
	}
}

// Decide answers one request. The order of the checks is part of the contract:
// host, path, route, client IP, peer, public or preflight, credential, session, user or
// key, roles or scopes, condition. What comes first hides what comes later.
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
	}
	d.clientIP = r.ClientIP
	d.shadow = e.shadow || found.route != nil && found.route.Shadow
	return d
}

// A finding is the route that a request is for. Its zero value is a refusal.
type finding struct {
	route     *policy.Route // nil: none
	preflight bool          // asks whether a request to the route may be sent
	refusal   Reason        // passed: the route decides
}

// find finds the route that wins, or the reason why there is none.
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

// chosenRoute returns the route that the proxy has chosen by its own rules for hosts
// and paths; nil when there is none of that id, or it does not take the method.
func chosenRoute(p *policy.Policy, r *Request) *policy.Route {
	if route := p.Route(r.RouteID); route != nil && route.Takes(r.Method) {
		return route
	}
	return nil
}

// decideRoute runs the checks of the route that won.
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
	who, reason := e.verify(ctx, route, r)
	if reason != passed {
		return Deny(reason).about(who)
	}
	if reason := require(route, who, adminRole); reason != passed {
		return Deny(reason).about(who)
	}
	if route.Condition != nil {
		if holds, err := e.holds(ctx, route.Condition, r, who); !holds {
			return Deny(ReasonConditionFalse).about(who).because(err)
		}
	}
	return allow(who.Method.reason(), who)
}

// checkClientIP holds the route's allowlist against the client's address.
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
