package envoy

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"warder/authz"
)

// TestLate tests that the deadline of a check counts from when it was received. A check that has
// waited for that long is refused without a decision. A check with less time left is decided
// with what is left.
func TestLate(t *testing.T) {
	t.Parallel()
	const deadline = time.Minute
	for _, test := range []struct {
		reason authz.Reason
		waited time.Duration
	}{
		{authz.ReasonPublic, -time.Second}, // the clock was set back
		{authz.ReasonPublic, 0},
		{authz.ReasonPublic, deadline - time.Second},
		{authz.ReasonOverloaded, deadline},
		{authz.ReasonOverloaded, time.Hour},
	} {
		now := time.Unix(1000, 0)
		seen, engine := new(recorder), newEngine(t)
		decided := false
		s := newTestServer(t, Config{
			Deadline: deadline, Observer: seen, Now: func() time.Time { return now },
			Decider: decider(func(ctx context.Context, r *authz.Request) authz.Decision {
				decided = true
				end, _ := ctx.Deadline()
				if left := time.Until(end); left > deadline-test.waited {
					t.Errorf("waited %v: %v left of %v", test.waited, left, deadline)
				}
				return engine.Decide(ctx, r)
			}),
		})
		in := decoded(t, checkRequest("GET", "/public/x"))
		in.arrived = now.Add(-test.waited)
		s.Check(t.Context(), in)
		o := seen.seen[0]
		if o.Decision.Reason() != test.reason || decided != test.reason.Allows() || o.Path != "/public/x" || o.Duration != test.waited {
			t.Errorf("waited %v: %v in %v, decided: %v, want %v", test.waited, o.Decision.Reason(), o.Duration, decided, test.reason)
		}
	}
}

// TestLateOnTheWire tests that gRPC's part of the way counts.
func TestLateOnTheWire(t *testing.T) {
	t.Parallel()
	var step, clock atomic.Int64
	s := newTestServer(t, Config{Deadline: time.Minute, Now: func() time.Time { return time.Unix(1000, clock.Add(step.Load())) }})
	_, conn := serve(t, s)
	for _, test := range []struct {
		reason string
		step   time.Duration
	}{{"public", 0}, {"overloaded", time.Minute}, {"public", 0}} {
		step.Store(int64(test.step))
		out, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), checkRequest("GET", "/public/x"))
		if got := out.GetDynamicMetadata().GetFields()["reason"].GetStringValue(); got != test.reason || err != nil {
			t.Errorf("with %v between two looks at the clock: %s, %v; want %s", test.step, got, err, test.reason)
		}
	}
}
