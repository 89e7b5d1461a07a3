package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"warder/authz"
	"warder/authz/mask"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/explain"
	"warder/cmd/warder/internal/server/metrics"
	"warder/cmd/warder/internal/server/traces"
	"warder/envoy"
	"warder/policy"
)

// Options are the options of a server beside its settings. The zero value of every field
// but Stdout, Log and Env is right for warder serve without flags.
type Options struct {
	// Stdout receives the decision log and Envoy's access log, and nothing else. Required.
	Stdout io.Writer
	// Log is warder's own log. Requests write to it, so it should not block. Required.
	Log *slog.Logger
	// Env looks up the variables of the policy; nil means none is set.
	Env cli.LookupEnv
	// Dropped counts the lines that the logs drop. If nil, the server makes its own counter.
	Dropped *prometheus.CounterVec
	// Stores, if not nil, replaces the stores that the settings name.
	Stores *Stores
	// Shadow turns off the enforcement of denials.
	Shadow bool
	// NextPolicy is the path of a second policy. The server decides each request by it as
	// well, only to report differences. Empty means none.
	NextPolicy string
	// Hangup makes the server read its policy again. It may be nil.
	Hangup <-chan os.Signal
	// OnReady, if not nil, is called once, with the addresses that were bound, when all
	// stores were reached and the server is ready for traffic.
	OnReady func(Addresses)
}

// Addresses are the addresses of a running server. A configured port 0 is replaced by the
// actual port.
type Addresses struct{ GRPC, Admin net.Addr }

// A Server serves the checks of Envoy. [New] makes it, and [Server.Run] runs it once.
type Server struct {
	settings *config.Settings
	options  Options
	log      *slog.Logger
	clientIP authz.ClientIPResolver
	engine   *authz.Engine
	stores   *Stores
	ready    *readiness
	metrics  *metrics.Metrics
	traces   *traces.Tracing // nil: there are none
	grpc     *envoy.GRPCServer
	lines    *lineQueue   // to standard output
	tls      *tlsReloader // nil: plaintext
	reloader *policyReloader
	next     *nextPolicy // nil: there is none
	secrets  *secrets
	tokens   *tokenVerifier
	keys     keySources // of tokens
	memory   *gcTuner
}

// New returns a server. It reads the policy and the certificates, and opens the stores
// without sending requests yet. The error contains all problems. The caller must call Run,
// which closes everything that New opened.
func New(s *config.Settings, o Options) (*Server, error) {
	if o.Env == nil {
		o.Env = func(string) (string, bool) { return "", false }
	}
	memory := newGCTuner(o.Env)
	loaded := memory.loading()
	in, err := readInputs(s, o)
	loaded()
	if err != nil {
		return nil, err
	}
	srv := &Server{memory: memory, settings: s, options: o, log: o.Log, clientIP: in.clientIP, tls: in.tls, tokens: in.tokens, keys: in.tokens.sources, metrics: metrics.New(o.Dropped)}
	srv.metrics.SpeakTo(o.Log)
	if in.traces != nil {
		if srv.traces, err = traces.Start(context.Background(), in.traces, cli.ReadBuild().Version, o.Log); err != nil {
			return nil, err
		}
	}
	if err := srv.makeStores(); err != nil {
		srv.closeTraces()
		return nil, err
	}
	if err := srv.makeEngines(in); err != nil {
		srv.stores.Close()
		srv.closeTraces()
		return nil, err
	}
	srv.lines = newLineQueue("standard output", o.Stdout, o.Log, srv.metrics.Dropped, linesOfDecisions, linesOfAccess)
	if err := srv.makeGRPC(); err != nil {
		srv.close()
		return nil, err
	}
	srv.secrets = newSecrets(append(in.tokens.secretUsers(), srv.stores.secrets...), o.Log)
	srv.makeReloader(in)
	logWarnings(o.Log, policyWarnings(in.routes, s.Policy, s))
	if o.Shadow {
		o.Log.Warn("SHADOW: NO DENIAL IS ENFORCED, every request that can be read passes; start without --shadow to enforce the policy")
	}
	return srv, nil
}

// inputs are the files that a server reads before it opens any store.
type inputs struct {
	files, nextFiles *fileWatch
	routes, next     *policy.Policy // next is nil without one
	tokens           *tokenVerifier
	clientIP         authz.ClientIPResolver
	tls              *tlsReloader     // nil: plaintext
	traces           *traces.Settings // nil: there are none
}

// readInputs reads the policies and the certificates, and reports all their problems.
func readInputs(s *config.Settings, o Options) (in inputs, err error) {
	var found cli.Problems
	in.files = newFileWatch([]string{s.Policy}, o.Log)
	in.routes, err = loadPolicy(s.Policy, o.Env, s.Directory.NoAPIKeys)
	found = append(found, cli.ProblemsOf(s.Policy, err)...)
	if o.NextPolicy != "" {
		in.nextFiles = newFileWatch([]string{o.NextPolicy}, o.Log)
		in.next, err = loadPolicy(o.NextPolicy, o.Env, s.Directory.NoAPIKeys)
		found = append(found, cli.ProblemsOf(o.NextPolicy, err)...)
	}
	in.tokens, err = newTokenVerifier(s.JWT, s.Deadline, o.Log)
	found = append(found, cli.ProblemsOf("", err)...)
	in.clientIP, err = authz.NewClientIPResolver(s.ClientIP)
	found = append(found, cli.ProblemsOf("", err)...)
	if s.Listen.TLS.Enabled() {
		in.tls, err = newTLSReloader(s.Listen.TLS, o.Log)
		found = append(found, cli.ProblemsOf("", err)...)
	}
	in.traces, err = traces.Read(o.Env)
	found = append(found, cli.ProblemsOf("", err)...)
	return in, found.Err()
}

// makeStores opens the stores without sending requests yet.
func (s *Server) makeStores() (err error) {
	if s.options.Stores != nil {
		s.stores = s.options.Stores.metered(s.metrics)
	} else if s.stores, err = openStores(s.settings, s.log, s.metrics); err != nil {
		return err
	}
	if s.traces != nil {
		s.stores = s.stores.traced(s.traces, s.settings)
	}
	s.metrics.ShowAvailability(s.stores.Available...)
	s.metrics.CountCaches(append(s.stores.Caches, metrics.TokenCache(s.tokens))...)
	return nil
}

// makeEngines makes the engine that decides, and the engine of the next policy.
func (s *Server) makeEngines(in inputs) (err error) {
	c := authz.Config{
		Policy: in.routes, Tokens: in.tokens,
		Sessions: s.stores.Sessions, Users: s.stores.Users, APIKeys: s.stores.APIKeys, Shadow: s.options.Shadow,
		UsersInTokens: s.settings.Directory.UsersInTokens,
	}
	if s.engine, err = s.settings.IdentityConfig().NewEngine(c); err != nil {
		return err
	}
	s.metrics.ShowShadow(s.options.Shadow, s.engine)
	if in.next == nil {
		return nil
	}
	c.Policy = in.next
	s.next, err = newNextPolicy(c, s.settings, s.options, in.nextFiles, s.metrics.Next)
	s.metrics.ShowNext()
	return err
}

// makeReloader makes the reloader of the policy, whose last result /readyz reports.
func (s *Server) makeReloader(in inputs) {
	status := newPolicyStatus(in.routes.Hash(), time.Now())
	s.metrics.Register(status)
	s.metrics.Register(s.secrets)
	s.metrics.Register(s.keys)
	s.ready = newReadiness(append(s.stores.names(), s.keys.names()...), s.details(status), s.grpc.SetServing)
	s.reloader = &policyReloader{
		path: s.settings.Policy, env: s.options.Env, engine: s.engine, settings: s.settings, keysOff: s.settings.Directory.NoAPIKeys, log: s.log,
		files: in.files, status: status, routesGone: s.metrics.RoutesGone, memory: s.memory,
	}
	if s.next != nil {
		s.next.reloader.memory = s.memory
	}
	s.reloader.alsoOnHangup = func() {
		if s.tls != nil {
			s.tls.reloadNow()
		}
		if s.next != nil {
			s.next.lookAgain()
		}
		s.secrets.lookAgain()
	}
}

// details returns a function that returns the additional lines of /readyz.
func (s *Server) details(status *policyStatus) func() string {
	return func() string {
		lines := []string{status.detail(), s.secrets.detail(), s.keys.detail()}
		for _, choice := range s.settings.Choices {
			lines = append(lines, "warning: "+choice)
		}
		if s.options.Shadow {
			lines = append(lines, "shadow: no denial is enforced")
		}
		if s.next != nil {
			if more := s.next.reloader.status.detail(); more != "" {
				lines = append(lines, "shadow "+more)
			}
		}
		return strings.Join(slices.DeleteFunc(lines, func(line string) bool { return line == "" }), "\n")
	}
}

// explainer returns the handler of POST /explain. It has no access to keys or stores.
func (s *Server) explainer() http.Handler {
	return explain.NewHandler(s.engine, explain.Settings{
		Identity: s.settings.IdentityConfig(), ClientIP: s.clientIP, Configured: true, Shadow: s.options.Shadow,
		Attributes: s.settings.JWT.Attributes,
		RolesClaim: s.settings.JWT.RolesClaim, ActiveClaim: s.settings.JWT.ActiveClaim,
		NoSessions: s.settings.Sessions.Rule == config.RuleNone,
	})
}

func (s *Server) makeGRPC() error {
	c := envoy.Config{
		Decider: s.engine, ClientIP: s.clientIP, Identity: s.settings.IdentityConfig(),
		Deadline: s.settings.Deadline, Log: s.log,
		MaxHeaders: s.settings.Envoy.MaxHeaders, MaxHeaderKB: s.settings.Envoy.MaxHeaderKB,
		Summary: s.settings.Envoy.Summary,
	}
	logs, access := s.settings.Log, s.lines.part(linesOfAccess)
	told := metrics.Observers{s.metrics}
	if s.traces != nil {
		c.Tracer = s.traces
		told = append(told, s.traces)
	}
	sources, err := authz.NewSourceReader(s.settings.Sources)
	if err != nil {
		return err
	}
	if decisions := newDecisionLog(s.lines.part(linesOfDecisions), logs.Decisions, sources, logs.Mask); decisions != nil {
		told = append(told, decisions) // appending a nil *decisionLog would add a non-nil Observer
		if s.next != nil {
			s.next.lines = decisions
		}
	}
	if s.next != nil {
		told = append(told, s.next)
	}
	c.Observer = told
	check, err := envoy.NewServer(c)
	if err != nil {
		return err
	}
	var secure credentials.TransportCredentials
	if s.tls != nil {
		secure = credentials.NewTLS(s.tls.config())
	}
	s.grpc = envoy.NewGRPCServer(check, envoy.NewAccessLog(access, logs.Mask, s.log, access.drop), secure, s.metrics.CallOptions()...)
	return nil
}

// Run serves until the context ends, and then drains: it reports that it is not ready,
// continues to serve for shutdown.delay, waits for checks in flight, and closes the stores
// last. If one part of the server fails, Run stops the others and returns its error. After
// an orderly shutdown Run returns nil.
func (s *Server) Run(ctx context.Context) error {
	defer s.close()
	grpcListener, err := listen(ctx, s.settings.Listen.GRPC, s.settings.Listen.SocketMode)
	if err != nil {
		return err
	}
	adminListener, err := listen(ctx, s.settings.Listen.Admin, s.settings.Listen.SocketMode)
	if err != nil {
		_ = grpcListener.Close()
		return err
	}
	admin := newAdmin(s.ready, s.metrics.Handler(), s.explainer(), s.log)
	where := Addresses{GRPC: grpcListener.Addr(), Admin: adminListener.Addr()}
	s.log.Info("listening", "grpc", where.GRPC.String(), "admin", where.Admin.String(), "tls", s.tls != nil,
		"routes", len(s.engine.Policy().Routes()), "policy", s.engine.Policy().Hash(), "version", cli.ReadBuild().Version)

	// The parts outlive ctx because they serve while draining. stopWork ends the parts
	// that work in the background.
	group, failed := errgroup.WithContext(context.WithoutCancel(ctx))
	work, stopWork := context.WithCancel(failed)
	defer stopWork()
	part := func(name string, run func() error) { group.Go(recovered(s.log, name, run)) }
	part("the gRPC server", func() error {
		if err := s.grpc.Serve(grpcListener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("the gRPC server stopped: %w", err)
		}
		return nil
	})
	part("the admin server", func() error { return serveAdmin(admin, adminListener) })
	part("watching the policy", func() error { return s.reloader.watch(work, s.options.Hangup) })
	if s.next != nil {
		part("watching the policy to come", func() error { return s.next.watch(work) })
		part("comparing with the policy to come", func() error { return s.next.run(work) })
	}
	if s.tls != nil {
		part("watching the certificates", func() error { return s.tls.watch(work) })
	}
	part("watching the secrets", func() error { return s.secrets.watch(work) })
	for _, source := range s.keys {
		part("fetching "+keysOf(source), func() error { return source.Run(work) })
	}
	part("tuning the garbage collector", func() error { return s.memory.run(work) })
	part("reaching the stores", func() error { return s.reachStores(work, where) })
	part("shutting down", func() error {
		defer stopWork()
		select {
		case <-failed.Done():
			s.grpc.Stop()
			_ = admin.Close()
		case <-ctx.Done():
			s.drain(failed)
			stopAdmin(admin)
		}
		return nil
	})
	return group.Wait()
}

// recovered runs a part and turns a panic into an error, so that the others shut down in
// order. The runtime would print the panic value without masking secrets.
func recovered(log *slog.Logger, name string, run func() error) func() error {
	return func() (err error) {
		defer func() {
			if fault := recover(); fault != nil {
				mask.LogPanic(context.Background(), log, name, fault)
				err = fmt.Errorf("%s failed: a fault of warder itself", name)
			}
		}()
		return run()
	}
}

// drain first gives load balancers time to notice, and then waits for checks in flight.
func (s *Server) drain(failed context.Context) {
	shutdown := s.settings.Shutdown
	s.log.Info("shutting down", "delay", shutdown.Delay.String(), "timeout", shutdown.Timeout.String())
	s.ready.drain()
	wait(failed, shutdown.Delay)
	done := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-failed.Done():
	case <-time.After(shutdown.Timeout):
		s.log.Warn("checks were still running at the end of shutdown.timeout, they are cut off")
	}
	s.grpc.Stop()
	<-done
}

// wait waits until d has passed or the context ends, whichever is first. It reports whether
// d has passed.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// close closes what New opened: the stores after the servers, then the exporter of traces, and
// the queue of standard output last.
func (s *Server) close() {
	s.stores.Close()
	s.closeTraces()
	s.lines.close(s.settings.Shutdown.Timeout)
}

func (s *Server) closeTraces() {
	if s.traces != nil {
		s.traces.Close()
	}
}
