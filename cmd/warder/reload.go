package main

import (
	"context"
	"log/slog"
	"os"

	"warder/authz"
	"warder/policy"
)

// A policyReloader keeps the engine's policy the one of the files. A policy that
// is not good as a whole changes nothing: the last good one stays.
type policyReloader struct {
	path   string
	env    lookupEnv
	engine *authz.Engine
	client authz.ClientIPConfig
	log    *slog.Logger
	files  *fileWatch
	// alsoOnHangup is what else a hangup reloads; nil is nothing.
	alsoOnHangup func()
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
	for {
		select {
		case err := <-done:
			return err
		case <-changes:
			p.reload(slog.LevelDebug)
		case <-hangup:
			p.reload(slog.LevelInfo)
			if p.alsoOnHangup != nil {
				p.alsoOnHangup()
			}
		}
	}
}

// reload reads the policy whole and swaps it in once. That nothing changed is
// said at the level unchanged.
func (p *policyReloader) reload(unchanged slog.Level) {
	next, err := policy.Load(p.path, p.env)
	if err != nil {
		for _, found := range problemsOf(p.path, err) {
			p.log.Error("policy not reloaded, the last good one stays", found.logged("problem")...)
		}
		return
	}
	old := p.engine.Policy()
	if next.Hash() == old.Hash() {
		p.log.Log(context.Background(), unchanged, "policy unchanged", "hash", next.Hash())
		return
	}
	p.engine.SetPolicy(next)
	added, removed := routeChanges(old, next)
	p.log.Info("policy reloaded", "routes", len(next.Routes()), "added", added, "removed", removed, "hash", next.Hash())
	logWarnings(p.log, policyWarnings(next, p.path, p.client))
}

// routeChanges counts the routes, by id, that only one of two policies has.
func routeChanges(old, next *policy.Policy) (added, removed int) {
	ids := map[string]bool{}
	for _, r := range old.Routes() {
		ids[r.ID] = true
	}
	for _, r := range next.Routes() {
		if !ids[r.ID] {
			added++
		}
		delete(ids, r.ID)
	}
	return added, len(ids)
}

func logWarnings(log *slog.Logger, found problems) {
	for _, w := range found {
		log.Warn("configuration", w.logged("warning")...)
	}
}

// policyProblems are all that is wrong with a policy.
func policyProblems(path string, env lookupEnv) problems {
	_, err := policy.Load(path, env)
	return problemsOf(path, err)
}
