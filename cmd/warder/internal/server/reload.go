package server

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"time"

	"warder/authz"
	"warder/cmd/warder/internal/cli"
	"warder/policy"
)

// A policyReloader keeps the engine's policy the one of the files. A policy that
// is not good as a whole changes nothing: the last good one stays.
type policyReloader struct {
	path   string
	env    cli.LookupEnv
	engine *authz.Engine
	client authz.ClientIPConfig
	log    *slog.Logger
	files  *fileWatch
	status *policyStatus
	// RoutesGone is told of each new policy, and of the routes that are not in it any more.
	routesGone func(ids []string, current *policy.Policy)
	// alsoOnHangup is what else a hangup reloads; nil is nothing.
	alsoOnHangup func()
	// said are the problems that the last reading found and logged; nil when it was good.
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
			p.reload(slog.LevelDebug, again)
			again = false
		case <-hangup:
			p.reload(slog.LevelInfo, false)
			p.files.lookAgain()
			again = true
			if p.alsoOnHangup != nil {
				p.alsoOnHangup()
			}
		}
	}
}

// reload reads the policy whole and swaps it in once. That nothing changed is
// said at the level unchanged; with again, problems that were said a moment ago are not said
// once more.
func (p *policyReloader) reload(unchanged slog.Level, again bool) {
	next, err := policy.Load(p.path, p.env)
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
		// Requests to them are denied now, or decided by a wider route.
		p.log.Warn("policy reloaded, routes are gone", append(about, "removed_routes", removed[:min(len(removed), maxNamed)])...)
	}
	p.routesGone(removed, next)
	logWarnings(p.log, policyWarnings(next, p.path, p.client))
}

// failed notes a reading with problems, and says which.
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

// maxNamed is how many removed routes a log line names; it always has their number.
const maxNamed = 20

// routeChanges compares two policies by the ids of their routes: how many only the
// next one has, and, sorted, those that only the old one had.
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

// logWarnings says what is allowed but probably not meant.
func logWarnings(log *slog.Logger, found cli.Problems) {
	for _, w := range found {
		log.Warn("configuration", cli.Logged(w, "warning")...)
	}
}
