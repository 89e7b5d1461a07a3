package server

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"time"

	"warder/authz"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
	"warder/policy"
)

// A policyReloader keeps the policy of the engine up to date with the policy files.
// If the new policy has any problem, the engine keeps the last valid policy.
type policyReloader struct {
	path   string
	env    cli.LookupEnv
	engine *authz.Engine
	// settings are those that warnings about the policy depend on.
	settings *config.Settings
	// keysOff reports whether a policy must not accept API keys.
	keysOff bool
	log     *slog.Logger
	files   *fileWatch
	status  *policyStatus
	// routesGone is called after each reload with the IDs of the removed routes and the
	// new policy.
	routesGone func(ids []string, current *policy.Policy)
	// alsoOnHangup, if not nil, is called after the reload that a hangup causes.
	alsoOnHangup func()
	// memory bounds the garbage of a reload.
	memory *gcTuner
	// said holds the problems that the last read found and logged. It is nil if the
	// last read succeeded.
	said cli.Problems
}

// watch reloads after each change of the files and each hangup, until the
// context ends.
func (p *policyReloader) watch(ctx context.Context, hangup <-chan os.Signal) error {
	changes := make(chan struct{}, 1)
	done := make(chan error, 1)
	go func() {
		done <- p.files.run(ctx, func() {
			select {
			case changes <- struct{}{}:
			default:
			}
		})
	}()
	again := false // the next change is the second look after a hangup
	for {
		select {
		case err := <-done:
			return err
		case <-changes:
			p.reloadTight(slog.LevelDebug, again)
			again = false
		case <-hangup:
			p.reloadTight(slog.LevelInfo, false)
			p.files.lookAgain()
			again = true
			if p.alsoOnHangup != nil {
				p.alsoOnHangup()
			}
		}
	}
}

// reloadTight reloads while little garbage may accumulate. When it ends, the policy that was
// replaced is garbage too.
func (p *policyReloader) reloadTight(unchanged slog.Level, again bool) {
	defer p.memory.loading()()
	p.reload(unchanged, again)
}

// reload reads the whole policy and swaps it in atomically. If nothing changed, it logs
// so at the level unchanged. If again is true, it does not repeat problems that the last
// read logged.
func (p *policyReloader) reload(unchanged slog.Level, again bool) {
	next, err := loadPolicy(p.path, p.env, p.keysOff)
	if err != nil {
		p.failed(cli.ProblemsOf(p.path, err), again)
		return
	}
	old, wasBad := p.engine.Policy(), p.said != nil
	p.said = nil
	if next.Hash() == old.Hash() {
		p.status.good(next.Hash(), time.Now())
		if wasBad {
			p.log.Info("policy is good again, and unchanged", "hash", next.Hash())
		} else {
			p.log.Log(context.Background(), unchanged, "policy unchanged", "hash", next.Hash())
		}
		return
	}
	p.engine.SetPolicy(next)
	p.status.good(next.Hash(), time.Now())
	added, removed := routeChanges(old, next)
	about := []any{"routes", len(next.Routes()), "added", added, "removed", len(removed), "hash", next.Hash()}
	if len(removed) == 0 {
		p.log.Info("policy reloaded", about...)
	} else {
		// Requests to these routes are now denied, or decided by a less specific route.
		p.log.Warn("policy reloaded, routes are gone", append(about, "removed_routes", removed[:min(len(removed), maxNamed)])...)
	}
	p.routesGone(removed, next)
	logWarnings(p.log, policyWarnings(next, p.path, p.settings))
}

// failed records that a read found problems, and logs them.
func (p *policyReloader) failed(found cli.Problems, again bool) {
	p.status.bad(len(found), time.Now())
	if again && slices.Equal(found, p.said) {
		p.log.Debug("policy still has the problems that were logged", "problems", len(found))
		return
	}
	p.said = found
	for _, problem := range found {
		p.log.Error("policy not reloaded, the last good one stays", cli.Logged(problem, "problem")...)
	}
}

// maxNamed is the maximum number of removed routes that a log line names. The line always
// contains their count.
const maxNamed = 20

// routeChanges compares two policies by the IDs of their routes. It returns the number of
// routes that only next has, and the sorted IDs of the routes that only old has.
func routeChanges(old, next *policy.Policy) (added int, removed []string) {
	for _, r := range next.Routes() {
		if old.Route(r.ID) == nil {
			added++
		}
	}
	for _, r := range old.Routes() {
		if next.Route(r.ID) == nil {
			removed = append(removed, r.ID)
		}
	}
	slices.Sort(removed)
	return added, removed
}

// logWarnings logs warnings about settings that are valid but probably not intended.
func logWarnings(log *slog.Logger, found cli.Problems) {
	for _, w := range found {
		log.Warn("configuration", cli.Logged(w, "warning")...)
	}
}
