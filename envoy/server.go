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
	// DefaultDeadline bounds one check. It is longer than the timeouts of the stores and
	// shorter than the 500 ms that the shipped configurations allow for the whole call.
	DefaultDeadline = 200 * time.Millisecond
	// DefaultMaxHeaders and DefaultMaxHeaderKB are Envoy's default limits for the headers of a
	// request, max_headers_count and max_request_headers_kb.
	DefaultMaxHeaders  = 100
	DefaultMaxHeaderKB = 60
	// DefaultMaxRequestBytes bounds a CheckRequest. With the shipped configurations, Envoy
	// sends only headers, at most 60 KiB of them.
	DefaultMaxRequestBytes = 1 << 20
)

// A Decider answers requests; [authz.Engine] is one.
type Decider interface {
	Decide(ctx context.Context, r *authz.Request) authz.Decision
}

// An Observer is notified of each decision before the response is sent, so it must not block. A
// panic in an Observer is reported and does not change the response.
type Observer interface {
	Observed(ctx context.Context, o Observation)
}

// An Observation is one decision and the request that it was about.
type Observation struct {
	// Request is the request that was decided, never nil. It contains the credentials of the
	// client, so it must be masked when it is logged.
	Request  *authz.Request
	Method   string // as sent
	Path     string // as sent, without query and fragment; not necessarily canonical
	ID       string // the request's ID; "" if it has no safe one
	Decision authz.Decision
	Duration time.Duration
	Size     int // of the message, in bytes; keeping Request keeps the whole message
}

// Config configures a [Server]. Decider is required.
type Config struct {
	Decider  Decider
	ClientIP authz.ClientIPResolver // the zero resolver uses the connection's peer
	Identity IdentityConfig

	// HostOptional treats a request with an empty host as a request to any host. It is for
	// queries made by people. Envoy always names a host, and a request from Envoy with an empty
	// host is refused.
	HostOptional bool
	// Deadline bounds one check, from when it was received; 0 means [DefaultDeadline].
	Deadline time.Duration
	// MaxRequestBytes bounds a CheckRequest; 0 means [DefaultMaxRequestBytes].
	MaxRequestBytes int
	// MaxHeaders and MaxHeaderKB are the limits of the Envoy in front; 0 means
	// [DefaultMaxHeaders] and [DefaultMaxHeaderKB]. Envoy also applies them to the headers that
	// it and warder add to a request, and answers 500 if they are exceeded. A request that
	// would exceed them is denied as malformed, because it is the client that sends too much.
	MaxHeaders, MaxHeaderKB int
	// Summary sends the dynamic metadata as one value, "summary", instead of one for each key.
	// [AccessLog] reads both forms.
	Summary bool
	// Observer may be nil.
	Observer Observer
	// Tracer may be nil.
	Tracer Tracer
	// Log receives internal errors of warder, without any data of a request; nil discards them.
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
	shadowed *identity // for shadow mode
	deadline time.Duration
	maxBytes int
	hostless bool // the host may be empty
	room     load // limits for the headers of a request
	summary  bool // metadata is sent as a summary
	observer Observer
	tracer   Tracer
	log      *slog.Logger
	now      func() time.Time
}

// NewServer returns a server, or an error that reports all problems of its configuration.
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
		summary:  c.Summary,
		room:     load{cmp.Or(c.MaxHeaders, DefaultMaxHeaders), cmp.Or(c.MaxHeaderKB, DefaultMaxHeaderKB) << 10},
		observer: c.Observer,
		tracer:   c.Tracer,
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

// Check answers one request of Envoy. It does not return an error, because an Envoy that is set
// to failure_mode_allow treats a gRPC error as allow.
func (s *Server) Check(ctx context.Context, in *CheckRequest) (out *CheckResponse) {
	started := s.now()
	var waited time.Duration // since it was received
	if !in.arrived.IsZero() {
		waited = max(0, started.Sub(in.arrived))
		started = in.arrived
	}
	var request *authz.Request
	decision, size := authz.Deny(authz.ReasonInternal), 0
	defer func() {
		if fault := recover(); fault != nil {
			mask.LogPanic(ctx, s.log, "check", fault)
			decision = authz.Deny(authz.ReasonInternal)
			out = s.responseFor(decision, in, nil)
		}
		if request == nil { // it could not be read because of a fault
			request = new(authz.Request)
		}
		s.observe(ctx, request, decision, started, size)
	}()
	bounded := withDeadline(ctx, s.deadline-waited)
	defer bounded.end()

	size = in.size
	request, carries, readable := s.requestFrom(in)
	if s.tracer != nil {
		ctx = s.begin(ctx, started, in, request)
		bounded.Context = ctx // nothing waits yet
	}
	switch {
	case in.fault == faultOverloaded, waited >= s.deadline: // an answer would come too late
		decision = authz.Deny(authz.ReasonOverloaded)
	case readable:
		decision = s.decider.Decide(bounded, request)
	default:
		decision = authz.Deny(authz.ReasonRequestMalformed)
	}
	out = s.responseFor(decision, in, request)
	if !s.fits(carries, out.set, request.Headers) && out.status == http.StatusOK {
		decision = authz.Deny(authz.ReasonRequestMalformed)
		out = s.responseFor(decision, in, request)
	}
	return out
}

// fits reports whether Envoy accepts a request after the headers in set are added. Removed
// headers do not make room, because Envoy counts after each change and removes headers last. A
// header that is set to a part of itself takes no room, unless it becomes longer by the spaces
// after its separators.
func (s *Server) fits(carries load, set []setHeader, request authz.Headers) bool {
	for _, h := range set {
		if !s.identity.withheld.rewrites(h.name) {
			carries.add(h.name, h.value)
			continue
		}
		grows := len(h.value)
		for i := range request {
			if request[i].Name == h.name {
				grows -= len(request[i].Value)
			}
		}
		carries.bytes += max(0, grows)
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

// pathOf returns the path without its query. A path that has no canonical form is useful in a
// log, so it is returned up to where a query or fragment could begin.
func pathOf(r *authz.Request) string {
	if path := r.ParsedPath().Raw(); path != "" {
		return path
	}
	if end := strings.IndexAny(r.Path, "?#"); end >= 0 {
		return r.Path[:end]
	}
	return r.Path
}
