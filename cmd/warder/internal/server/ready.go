package server

import (
	"slices"
	"strings"
	"sync"
)

// readiness tracks whether the server is ready for traffic. The server becomes ready once
// everything it waits for was reached, and stays ready until it shuts down. A store that
// fails later does not change that: the server can still answer 503 with a reason, and
// otherwise every instance would leave the load balancer at the same moment.
type readiness struct {
	mu       sync.Mutex
	missing  []string
	draining bool
	detail   func() string    // returns details to add when ready, or ""
	changed  func(ready bool) // called with the lock held, so calls are in order
}

func newReadiness(waitFor []string, detail func() string, changed func(ready bool)) *readiness {
	r := &readiness{missing: slices.Clone(waitFor), detail: detail, changed: changed}
	changed(r.ready())
	return r
}

func (r *readiness) ready() bool { return len(r.missing) == 0 && !r.draining }

// reached records that the named store was reached. It reports whether that makes the
// server ready.
func (r *readiness) reached(name string) (all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missing = slices.DeleteFunc(r.missing, func(m string) bool { return m == name })
	if !r.ready() {
		return false
	}
	r.changed(true)
	return true
}

// drain makes the server not ready for good.
func (r *readiness) drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining = true
	r.changed(false)
}

// state returns whether the server is ready and what is missing, for /readyz. The text
// mentions a failed reload, but the server stays ready because it still decides by the last
// valid policy.
func (r *readiness) state() (ready bool, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.draining:
		return false, "not ready: shutting down"
	case len(r.missing) > 0:
		return false, "not ready: waiting for " + strings.Join(r.missing, ", ")
	}
	if more := r.detail(); more != "" {
		return true, "ready\n" + more
	}
	return true, "ready"
}
