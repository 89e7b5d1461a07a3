package server

import (
	"slices"
	"strings"
	"sync"
)

// readiness is whether the server wants traffic: once everything it waits for
// was reached, and until it shuts down. It never goes back because of a store
// that fails later: answering 503 with a reason is serving, and every instance
// would leave the load balancer at the same moment.
type readiness struct {
	mu       sync.Mutex
	missing  []string
	draining bool
	detail   func() string    // more to say when ready; "" for nothing
	changed  func(ready bool) // called with the lock held, so in order
}

func newReadiness(waitFor []string, detail func() string, changed func(ready bool)) *readiness {
	r := &readiness{missing: slices.Clone(waitFor), detail: detail, changed: changed}
	changed(r.ready())
	return r
}

func (r *readiness) ready() bool { return len(r.missing) == 0 && !r.draining }

// reached notes that one of the awaited is there; all says whether it was the last.
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

// state returns whether the server is ready and what is missing, for /readyz. A reload
// that failed is said and no reason to be not ready: the last good policy decides.
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
