package server

import (
	"context"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"warder/authz"
	"warder/authz/memory"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/server/metrics"
)

// Stores are what an engine asks, and how to tell whether they can be reached.
type Stores struct {
	Sessions authz.Sessions
	Users    authz.Users
	APIKeys  authz.APIKeys
	Caches   []metrics.Cache
	Checks   []StoreCheck
	closers  []func()
}

// A StoreCheck asks a store whether it can be reached and fits.
type StoreCheck struct {
	// Name says what is waited for, as /readyz shows it.
	Name string
	// Check returns what is odd but works, or why it does not.
	Check func(ctx context.Context) (warnings []string, err error)
	// Permanent reports whether an error of Check will not pass by itself; nil
	// means that all may.
	Permanent func(error) bool
}

// MemoryStores are the stores of a memory.Store, for a server in the same process.
func MemoryStores(s *memory.Store) *Stores {
	return &Stores{Sessions: s, Users: s, APIKeys: s}
}

// metered returns the same stores with the questions to them counted.
func (s *Stores) metered(m *metrics.Metrics) *Stores {
	counted := *s
	counted.Sessions = m.CountedSessions(s.Sessions)
	counted.Users = m.CountedUsers(s.Users)
	counted.APIKeys = m.CountedAPIKeys(s.APIKeys)
	return &counted
}

func (s *Stores) names() []string {
	names := make([]string, len(s.Checks))
	for i, c := range s.Checks {
		names[i] = c.Name
	}
	return names
}

// OnClose has something done when the stores are closed.
func (s *Stores) OnClose(do func()) { s.closers = append(s.closers, do) }

// Close closes the stores.
func (s *Stores) Close() {
	for _, c := range s.closers {
		c()
	}
}

const (
	// checkTime bounds one look at a store, which asks more than a request does.
	checkTime = 6 * time.Second
	// Between two looks at a store that is away.
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = time.Second
)

// reachStores looks at each store until it was reached once, and makes the
// server ready then. A store that is there but does not fit ends the start; when that
// shows only later, after it was away, the server goes on waiting for somebody to
// repair it, since a restart would not.
func (s *Server) reachStores(ctx context.Context, where Addresses) error {
	if len(s.stores.Checks) == 0 {
		s.becameReady(where)
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range s.stores.Checks {
		group.Go(recovered(s.log, "reaching "+c.Name, func() error {
			backoff, lastError := firstBackoff, ""
			for first := true; ; first = false {
				warnings, err := look(ctx, c)
				if ctx.Err() != nil {
					return nil //nolint:nilerr // an orderly end, whatever it cut short
				}
				if err == nil {
					for _, w := range warnings {
						s.log.Warn("store", "store", c.Name, "warning", w)
					}
					s.log.Info("store reached", "store", c.Name)
					if s.ready.reached(c.Name) {
						s.becameReady(where)
					}
					return nil
				}
				permanent := c.Permanent != nil && c.Permanent(err)
				if permanent && first {
					return storeError(err)
				}
				if text := err.Error(); text != lastError {
					lastError = text
					for line := range strings.Lines(text) {
						s.log.Error("store not usable, trying again", "store", c.Name, "error", strings.TrimSuffix(line, "\n"))
					}
				}
				if !wait(ctx, backoff) {
					return nil
				}
				backoff = min(2*backoff, maxBackoff)
			}
		}))
	}
	return group.Wait()
}

func look(ctx context.Context, c StoreCheck) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	return c.Check(ctx)
}

// storeError makes problems of the lines of a store's error, which name their
// fields themselves.
func storeError(err error) error {
	var found cli.Problems
	for _, e := range authz.ConfigErrors(err) {
		found = append(found, cli.Problem{Field: e.Field, Message: e.Problem})
	}
	return found
}

func (s *Server) becameReady(where Addresses) {
	s.log.Info("ready")
	if s.options.OnReady != nil {
		s.options.OnReady(where)
	}
}
