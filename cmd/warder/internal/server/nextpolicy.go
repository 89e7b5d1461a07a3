package server

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"warder/authz"
	"warder/authz/mask"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/server/metrics"
	"warder/envoy"
)

const (
	// nextBacklog is the maximum number of decisions that wait for their comparison. Further
	// decisions are not compared but counted as skipped, so that a comparison never delays a
	// check.
	nextBacklog = 1024
	// nextMemory bounds the memory of the waiting decisions, in bytes. Clients choose the
	// size of a request, so a thousand of them may be large.
	nextMemory = 16 << 20
	// nextWorkers is the maximum number of concurrent store requests of the comparison.
	// It leaves the stores to the checks themselves.
	nextWorkers = 4
)

// A nextPolicy decides each request a second time by the next policy, after the response
// has been sent. It logs and counts the differences. It never changes a response. It
// implements envoy.Observer.
type nextPolicy struct {
	engine   *authz.Engine
	deadline time.Duration
	log      *slog.Logger
	counts   *metrics.Next
	lines    *decisionLog // nil: differences are only counted
	reloader *policyReloader
	hangup   chan os.Signal
	queue    chan envoy.Observation
	waiting  atomic.Int64 // bytes in the queue
}

// newNextPolicy returns a nextPolicy for the policy that was read from o.NextPolicy. It uses
// the same stores and tokens as the engine that answers.
func newNextPolicy(c authz.Config, s *config.Settings, o Options, files *fileWatch, counts *metrics.Next) (*nextPolicy, error) {
	engine, err := s.IdentityConfig().NewEngine(c)
	if err != nil {
		return nil, err
	}
	log := o.Log.With("shadow_policy", o.NextPolicy)
	log.Info("requests are decided by a policy to come too, without effect", "routes", len(c.Policy.Routes()), "hash", c.Policy.Hash())
	logWarnings(log, policyWarnings(c.Policy, o.NextPolicy, s))
	return &nextPolicy{
		engine: engine, deadline: s.Deadline, log: log, counts: counts,
		reloader: &policyReloader{
			path: o.NextPolicy, env: o.Env, engine: engine, settings: s, keysOff: s.Directory.NoAPIKeys, log: log, files: files,
			status: newPolicyStatus(c.Policy.Hash(), time.Now()), routesGone: counts.RoutesGone,
		},
		hangup: make(chan os.Signal, 1),
		queue:  make(chan envoy.Observation, nextBacklog),
	}, nil
}

// Observed implements envoy.Observer.
func (n *nextPolicy) Observed(_ context.Context, o envoy.Observation) {
	switch o.Decision.Reason() {
	case authz.ReasonRequestMalformed, authz.ReasonInternal:
		return // no policy was asked
	case authz.ReasonSessionsUnavailable, authz.ReasonDirectoryUnavailable, authz.ReasonKeysUnavailable, authz.ReasonOverloaded:
		n.counts.Skipped.Inc() // do not ask stores again that have just failed
		return
	default:
	}
	if n.waiting.Add(sizeOf(o)) > nextMemory {
		n.skip(o)
		return
	}
	select {
	case n.queue <- o:
	default:
		n.skip(o)
	}
}

// taken releases the memory that was reserved for a decision that no longer waits.
func (n *nextPolicy) taken(o envoy.Observation) { n.waiting.Add(-sizeOf(o)) }

func (n *nextPolicy) skip(o envoy.Observation) {
	n.taken(o)
	n.counts.Skipped.Inc()
}

// headerSize is the size of a header without its texts, in bytes.
const headerSize = 32

// sizeOf returns the approximate memory of a decision: the message and its headers.
func sizeOf(o envoy.Observation) int64 {
	return int64(o.Size + len(o.Request.Headers)*headerSize)
}

// lookAgain reads the policy again after a hangup.
func (n *nextPolicy) lookAgain() {
	select {
	case n.hangup <- syscall.SIGHUP:
	default:
	}
}

// watch reloads the next policy when its files change, until the context ends.
func (n *nextPolicy) watch(ctx context.Context) error { return n.reloader.watch(ctx, n.hangup) }

// run compares decisions until the context ends.
func (n *nextPolicy) run(ctx context.Context) error {
	var workers sync.WaitGroup
	for range nextWorkers {
		workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case o := <-n.queue:
					n.taken(o)
					n.compare(ctx, o)
				}
			}
		})
	}
	workers.Wait()
	return nil
}

// compare decides one request again. A panic is logged and does not end the server.
func (n *nextPolicy) compare(ctx context.Context, o envoy.Observation) {
	defer func() {
		if fault := recover(); fault != nil {
			mask.LogPanic(ctx, n.log, "shadow policy", fault)
		}
	}()
	bounded, end := context.WithTimeout(ctx, n.deadline)
	defer end()
	next := n.engine.Decide(bounded, o.Request)
	if next.Verdict() == o.Decision.Verdict() && next.Reason() == o.Decision.Reason() {
		n.counts.Same.Inc()
		return
	}
	n.counts.Differ(o.Decision, next)
	if n.lines != nil {
		n.lines.Differs(ctx, o, next)
	}
}
