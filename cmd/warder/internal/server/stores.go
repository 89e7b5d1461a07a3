package server

import (
	"context"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"warder/authz"
	"warder/authz/memory"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/server/metrics"
	"warder/cmd/warder/internal/server/traces"
)

// Stores are the stores of an engine, with checks of whether they can be reached.
type Stores struct {
	Sessions  authz.Sessions
	Users     authz.Users
	APIKeys   authz.APIKeys
	Caches    []metrics.Cache
	Available []metrics.Availability
	Checks    []StoreCheck
	closers   []func()
	secrets   []*secretUser // with secrets in files
}

// A StoreCheck checks whether a store can be reached and fits the configuration.
type StoreCheck struct {
	// Name is the name of the store that /readyz shows while waiting for it.
	Name string
	// Check returns warnings about a store that works, or an error if it does not.
	Check func(ctx context.Context) (warnings []string, err error)
	// Permanent reports whether an error of Check will not go away by itself. If it is
	// nil, no error is permanent.
	Permanent func(error) bool
}

// MemoryStores returns the stores of a memory.Store, for a server in the same process.
func MemoryStores(s *memory.Store) *Stores {
	return &Stores{Sessions: s, Users: s, APIKeys: s}
}

// metered returns the same stores with their requests counted.
func (s *Stores) metered(m *metrics.Metrics) *Stores {
	counted := *s
	counted.Sessions = m.CountedSessions(s.Sessions)
	counted.Users = m.CountedUsers(s.Users)
	counted.APIKeys = m.CountedAPIKeys(s.APIKeys)
	return &counted
}

// traced returns the same stores with a span for each question of a check.
func (s *Stores) traced(t *traces.Tracing, c *config.Settings) *Stores {
	sessions, directory := traces.Redis, traces.Postgres
	if !c.Sessions.InRedis() {
		sessions = traces.InMemory
	}
	if c.Directory.File != "" {
		directory = traces.InMemory
	}
	traced := *s
	traced.Sessions = t.Sessions(s.Sessions, sessions)
	if _, none := s.Users.(authz.NoUsers); !none {
		traced.Users = t.Users(s.Users, directory)
	}
	traced.APIKeys = t.APIKeys(s.APIKeys, directory)
	return &traced
}

func (s *Stores) names() []string {
	names := make([]string, len(s.Checks))
	for i, c := range s.Checks {
		names[i] = c.Name
	}
	return names
}

// OnClose adds a function that is called when the stores are closed.
func (s *Stores) OnClose(do func()) { s.closers = append(s.closers, do) }

// Close closes the stores.
func (s *Stores) Close() {
	for _, c := range s.closers {
		c()
	}
}

const (
	// checkTime bounds one check of a store, which takes more work than a request does.
	checkTime = 6 * time.Second
	// The backoff between two checks of a store that cannot be reached.
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = time.Second
)

// reachStores checks each store until it was reached once, waits for the keys of issuers, and
// then makes the server ready.
// If the first check finds that a store does not fit, the start fails. If a later check finds
// it, after the store was away, the server keeps waiting until somebody repairs the store,
// because a restart would not help.
func (s *Server) reachStores(ctx context.Context, where Addresses) error {
	if len(s.stores.Checks)+len(s.keys) == 0 {
		s.becameReady(where)
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	reached := func(name string) {
		if s.ready.reached(name) {
			s.becameReady(where)
		}
	}
	for _, source := range s.keys {
		group.Go(recovered(s.log, "waiting for "+keysOf(source), func() error {
			reach(ctx, source, func() { reached(keysOf(source)) })
			return nil
		}))
	}
	for _, c := range s.stores.Checks {
		group.Go(recovered(s.log, "reaching "+c.Name, func() error {
			backoff, lastError := firstBackoff, ""
			for first := true; ; first = false {
				warnings, err := look(ctx, c)
				if ctx.Err() != nil {
					return nil //nolint:nilerr // the server shuts down, so the error does not matter
				}
				if err == nil {
					for _, w := range warnings {
						s.log.Warn("store", "store", c.Name, "warning", w)
					}
					s.log.Info("store reached", "store", c.Name)
					reached(c.Name)
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

// storeError returns the lines of a store's error as problems. Each line names its own field.
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
