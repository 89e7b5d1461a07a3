package main

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"warder/authz"
	"warder/authz/mask"
	"warder/envoy"
)

const (
	// nextBacklog is how many decisions may wait to be made again. Further ones are not
	// compared, and counted: a comparison never holds up a check.
	nextBacklog = 1024
	// nextWorkers bounds how many questions the comparison asks of the stores at once,
	// so that the checks themselves have them.
	nextWorkers = 4
)

// A nextPolicy decides each request once more, by the policy that is to come, when the
// answer is on its way, and tells where the two are of different minds. It changes no
// answer. It implements envoy.Observer.
type nextPolicy struct {
	engine   *authz.Engine
	deadline time.Duration
	log      *slog.Logger
	differs  func(envoy.Observation, authz.Decision)
	queue    chan envoy.Observation

	compared, different, skipped atomic.Int64
}

func newNextPolicy(engine *authz.Engine, deadline time.Duration, log *slog.Logger, differs func(envoy.Observation, authz.Decision)) *nextPolicy {
	return &nextPolicy{engine: engine, deadline: deadline, log: log, differs: differs, queue: make(chan envoy.Observation, nextBacklog)}
}

// Observed implements envoy.Observer.
func (n *nextPolicy) Observed(_ context.Context, o envoy.Observation) {
	switch o.Decision.Reason() {
	case authz.ReasonRequestMalformed, authz.ReasonInternal:
		return // no policy was asked
	}
	select {
	case n.queue <- o:
	default:
		n.skipped.Add(1)
	}
}

// run compares until the context ends.
func (n *nextPolicy) run(ctx context.Context) error {
	done := make(chan struct{})
	for range nextWorkers {
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				select {
				case <-ctx.Done():
					return
				case o := <-n.queue:
					n.compare(ctx, o)
				}
			}
		}()
	}
	for range nextWorkers {
		<-done
	}
	return nil
}

// compare makes one decision again. A panic is reported and ends nothing.
func (n *nextPolicy) compare(ctx context.Context, o envoy.Observation) {
	defer func() {
		if fault := recover(); fault != nil {
			mask.LogPanic(ctx, n.log, "shadow policy", fault)
		}
	}()
	bounded, end := context.WithTimeout(ctx, n.deadline)
	defer end()
	next := n.engine.Decide(bounded, o.Request)
	n.compared.Add(1)
	if next.Verdict() == o.Decision.Verdict() && next.Reason() == o.Decision.Reason() {
		return
	}
	n.different.Add(1)
	n.differs(o, next)
}
