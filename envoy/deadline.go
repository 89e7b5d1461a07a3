package envoy

import (
	"context"
	"sync"
	"time"
)

// A deadlineContext is like the context that context.WithDeadline returns, but its timer is
// created only when something waits for it. Most checks are answered from data that is already
// known, and a timer would cost more than that.
type deadlineContext struct {
	context.Context // of the call
	deadline        time.Time

	mu     sync.Mutex
	timer  context.Context // nil until something waits
	cancel context.CancelFunc
	ended  bool
}

// withDeadline returns a context that ends after within, or at the deadline of ctx if that is
// sooner. The caller must call end when it no longer needs the context.
func withDeadline(ctx context.Context, within time.Duration) *deadlineContext {
	deadline := time.Now().Add(within) //nolint:forbidigo // deadlines of contexts are in real time
	if sooner, ok := ctx.Deadline(); ok && sooner.Before(deadline) {
		deadline = sooner
	}
	return &deadlineContext{Context: ctx, deadline: deadline}
}

// end cancels the context.
func (c *deadlineContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.cancel != nil {
		c.cancel()
	}
}

// waited returns the context that has the timer. It creates the timer on the first call.
func (c *deadlineContext) waited() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer == nil {
		c.timer, c.cancel = context.WithDeadline(c.Context, c.deadline)
		if c.ended {
			c.cancel()
		}
	}
	return c.timer
}

// Deadline implements context.Context.
func (c *deadlineContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Done implements context.Context.
func (c *deadlineContext) Done() <-chan struct{} { return c.waited().Done() }

// Err implements context.Context.
func (c *deadlineContext) Err() error {
	c.mu.Lock()
	waiting := c.timer != nil || c.ended
	c.mu.Unlock()
	if !waiting && c.Context.Err() == nil && time.Now().Before(c.deadline) { //nolint:forbidigo // as above
		return nil
	}
	return c.waited().Err()
}

// AfterFunc lets package context derive contexts from this one without a goroutine for each;
// see context.AfterFunc.
func (c *deadlineContext) AfterFunc(f func()) (stop func() bool) {
	return context.AfterFunc(c.waited(), f)
}
