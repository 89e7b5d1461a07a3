package envoy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"warder/authz"
	"warder/authz/mask"
)

const (
	// DefaultDeadline bounds one check. It lies above the timeouts of the stores and
	// below the 500 ms that the shipped configurations give the whole call.
	DefaultDeadline = 200 * time.Millisecond
	// DefaultMaxHeaders and DefaultMaxHeaderKB are Envoy's limits on the headers of a
	// request, max_headers_count and max_request_headers_kb, unless it is told others.
	DefaultMaxHeaders  = 100
	DefaultMaxHeaderKB = 60
	// DefaultMaxRequestBytes bounds a CheckRequest. Envoy sends headers only, at
	// most 60 KiB of them as configured here.
	DefaultMaxRequestBytes = 1 << 20
)

// A Decider answers requests; [authz.Engine] is one.
type Decider interface {
	Decide(ctx context.Context, r *authz.Request) authz.Decision
}

// An Observer is told of each decision before it is sent, so it must not wait. A
// panic in it is reported and changes no answer.
type Observer interface {
	Observed(ctx context.Context, o Observation)
}

// An Observation is one decision and what it was about.
type Observation struct {
	// Request is what was decided, never nil. It holds the credentials that came
	// with it: what is logged of it has to be masked.
	Request  *authz.Request
	Method   string // as sent
	Path     string // as sent, without query and fragment, canonical or not
	ID       string // the request's id, "" when it has no sane one
	Decision authz.Decision
	Duration time.Duration
	Size     int // of the message, in bytes: whoever keeps the Request keeps all of it
}

// Config is what a [Server] is made of. Decider is required.
type Config struct {
	Decider  Decider
	ClientIP authz.ClientIPResolver // the zero resolver takes the connection's peer
	Identity IdentityConfig

	// HostOptional answers a request whose host is empty as one to any host. It is for
	// questions of people: Envoy names a host, and one that is empty is refused.
	HostOptional bool
	// Deadline bounds one check; 0 means [DefaultDeadline].
	Deadline time.Duration
	// MaxRequestBytes bounds a CheckRequest; 0 means [DefaultMaxRequestBytes].
	MaxRequestBytes int
	// MaxHeaders and MaxHeaderKB are the limits of the Envoy in front; 0 means
	// [DefaultMaxHeaders] and [DefaultMaxHeaderKB]. Envoy holds what it and warder add to a
	// request against them too, and answers 500 beyond them. What would not fit is
	// refused as malformed, since it is the client that sends too much.
	MaxHeaders, MaxHeaderKB int
	// Observer may be nil.
	Observer Observer
	// Log receives faults of warder itself, without anything of a request; nil
	// discards them.
	Log *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// A Server answers envoy.service.auth.v3.Authorization/Check. It is safe for
// concurrent use.
type Server struct {
	decider  Decider
	clientIP authz.ClientIPResolver
	identity *identity
	shadowed *identity // in shadow
	deadline time.Duration
	maxBytes int
	hostless bool // the host may be empty
	room     load // for the headers of a request
	observer Observer
	log      *slog.Logger
	now      func() time.Time
}

// NewServer makes a server, or says everything that is wrong with its configuration.
func NewServer(c Config) (*Server, error) {
	var problems []error
	if c.Decider == nil {
		problems = append(problems, errors.New("envoy: Config.Decider is missing"))
	}
	if c.Deadline < 0 {
		problems = append(problems, authz.Misconfigured("deadline", "%v is negative; use a duration such as %v", c.Deadline, DefaultDeadline))
	}
	if c.MaxRequestBytes < 0 || c.MaxRequestBytes > maxMessageBytes {
		problems = append(problems, fmt.Errorf("envoy: Config.MaxRequestBytes is %d; use 0 to %d", c.MaxRequestBytes, maxMessageBytes))
	}
	if c.MaxHeaders < 0 || c.MaxHeaderKB < 0 {
		problems = append(problems, fmt.Errorf("envoy: Config.MaxHeaders is %d and MaxHeaderKB %d; use 0 or more", c.MaxHeaders, c.MaxHeaderKB))
	}
	identity, err := newIdentity(c.Identity)
	if err = errors.Join(append(problems, err)...); err != nil {
		return nil, err
	}
	shadowed, err := newIdentity(c.Identity.keepingCredentials())
	if err != nil {
		return nil, err
	}
	s := &Server{
		decider:  c.Decider,
		clientIP: c.ClientIP,
		identity: identity,
		shadowed: shadowed,
		deadline: c.Deadline,
		maxBytes: c.MaxRequestBytes,
		hostless: c.HostOptional,
		room:     load{cmp.Or(c.MaxHeaders, DefaultMaxHeaders), cmp.Or(c.MaxHeaderKB, DefaultMaxHeaderKB) << 10},
		observer: c.Observer,
		log:      c.Log,
		now:      c.Now,
	}
	if s.deadline == 0 {
		s.deadline = DefaultDeadline
	}
	if s.maxBytes == 0 {
		s.maxBytes = DefaultMaxRequestBytes
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s, nil
}

// Check answers one request of Envoy. It has no error: a gRPC error would be a yes
// where Envoy is set to failure_mode_allow.
func (s *Server) Check(ctx context.Context, in *CheckRequest) (out *CheckResponse) {
	started := s.now()
	request, decision, size := new(authz.Request), authz.Deny(authz.ReasonInternal), 0
	defer func() {
		if fault := recover(); fault != nil {
			mask.LogPanic(ctx, s.log, "check", fault)
			decision = authz.Deny(authz.ReasonInternal)
			out = s.responseFor(decision, nil)
		}
		s.observe(ctx, request, decision, started, size)
	}()
	bounded := withDeadline(ctx, s.deadline)
	defer bounded.end()

	size = in.size
	request, carries, readable := s.requestFrom(in)
	switch {
	case in.fault == faultOverloaded:
		decision = authz.Deny(authz.ReasonOverloaded)
	case readable:
		decision = s.decider.Decide(bounded, request)
	default:
		decision = authz.Deny(authz.ReasonRequestMalformed)
	}
	out = s.responseFor(decision, request.Headers)
	if !s.fits(carries, out.set) && out.status == http.StatusOK {
		decision = authz.Deny(authz.ReasonRequestMalformed)
		out = s.responseFor(decision, request.Headers)
	}
	return out
}

// fits reports whether Envoy takes a request with what is set in addition. What is removed
// makes no room: Envoy counts after each change, and removes last.
func (s *Server) fits(carries load, set []setHeader) bool {
	for _, h := range set {
		carries.add(h.name, h.value)
	}
	return carries.fields <= s.room.fields && carries.bytes <= s.room.bytes
}

func (s *Server) observe(ctx context.Context, r *authz.Request, d authz.Decision, started time.Time, size int) {
	if s.observer == nil {
		return
	}
	defer func() {
		if fault := recover(); fault != nil {
			mask.LogPanic(ctx, s.log, "observer", fault)
		}
	}()
	s.observer.Observed(ctx, Observation{
		Request: r, Method: r.Method, Path: pathOf(r), ID: r.ID,
		Decision: d, Duration: s.now().Sub(started), Size: size,
	})
}

// pathOf returns the path without its query. One that has no canonical form is
// what somebody will want to see in a log, cut where a query could begin.
func pathOf(r *authz.Request) string {
	if path := r.ParsedPath().Raw(); path != "" {
		return path
	}
	if end := strings.IndexAny(r.Path, "?#"); end >= 0 {
		return r.Path[:end]
	}
	return r.Path
}
