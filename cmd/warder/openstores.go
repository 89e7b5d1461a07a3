package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"warder/authz"
	"warder/authz/memory"
	"warder/authz/postgres"
	"warder/authz/redis"
)

// staleFacts is how many users, and how many API keys, are kept when
// directory.max_staleness allows it: some tens of MiB at most.
const staleFacts = 50_000

// openStores opens the stores that the settings name, without asking them yet.
func openStores(s *settings, log *slog.Logger) (*stores, error) {
	opened := &stores{}
	var found problems
	file, err := openDirectoryFile(s.Directory)
	found = append(found, problemsOf("", err)...)
	if file != nil {
		opened.Users, opened.APIKeys = file, file
	}
	switch {
	case !s.Sessions.inMemory():
		err := opened.addRedis(s.Sessions, log)
		found = append(found, problemsOf("", err)...)
	case file != nil:
		opened.Sessions = file
	default:
		opened.Sessions = memory.New(nil)
	}
	if s.Directory.File == "" {
		err := opened.addPostgres(s.Directory, log)
		found = append(found, problemsOf("", err)...)
	}
	if err := found.err(); err != nil {
		opened.close()
		return nil, err
	}
	return opened, nil
}

func openDirectoryFile(d directorySettings) (*memory.Store, error) {
	if d.File == "" {
		return nil, nil
	}
	return memory.Load(d.File, nil)
}

func (s *stores) addRedis(c sessionsSettings, log *slog.Logger) error {
	sessions, err := redis.New(c.redis(log))
	if err != nil {
		return err
	}
	s.Sessions = sessions
	s.Close = append(s.Close, func() { _ = sessions.Close() })
	s.Checks = append(s.Checks, storeCheck{
		Name: "sessions (Redis)",
		Check: func(ctx context.Context) ([]string, error) {
			if err := sessions.Check(ctx); err != nil || !c.Tracked {
				return nil, err
			}
			return trackingWarnings(sessions.CheckTracking(ctx)), nil
		},
	})
	return nil
}

// trackingWarnings: what keeps Redis from announcing changes costs time, and no check.
func trackingWarnings(err error) []string {
	if err == nil {
		return nil
	}
	return []string{"sessions.consistency is tracked, but Redis is asked on each check as in strict: " + err.Error()}
}

func (c sessionsSettings) redis(log *slog.Logger) redis.Config {
	return redis.Config{URL: c.RedisURL.Reveal(), KeyTemplate: c.KeyTemplate, Timeout: c.Timeout, Tracked: c.Tracked, Log: log}
}

func (s *stores) addPostgres(c directorySettings, log *slog.Logger) error {
	directory, err := postgres.New(c.postgres(log))
	if err != nil {
		return err
	}
	s.Users, s.APIKeys = directory, directory
	if c.MaxStaleness > 0 {
		s.keepFacts(directory, c)
	}
	s.Close = append(s.Close, directory.Close)
	s.Checks = append(s.Checks, storeCheck{
		Name:  "directory (Postgres)",
		Check: directory.Check,
		Permanent: func(err error) bool {
			return !errors.Is(err, postgres.ErrUnreachable) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
		},
	})
	return nil
}

// keepFacts answers from what the directory said lately, until it announces that
// it has changed or directory.max_staleness is over. Without a max_staleness there
// is nothing to keep, and nothing to listen for.
func (s *stores) keepFacts(directory *postgres.Directory, c directorySettings) {
	keep := authz.StaleConfig{MaxAge: c.MaxStaleness, Timeout: c.Timeout, Size: staleFacts, Now: time.Now}
	users, keys := authz.NewStaleUsers(directory, keep), authz.NewStaleAPIKeys(directory, keep)
	s.Users, s.APIKeys = users, keys
	s.Close = append(s.Close, directory.Listen(postgres.Changes{User: users.Forget, Users: users.ForgetAll, APIKeys: keys.ForgetAll}))
}

func (c directorySettings) postgres(log *slog.Logger) postgres.Config {
	return postgres.Config{
		DatabaseURL: c.DatabaseURL.Reveal(), UsersQuery: c.UsersQuery, APIKeysQuery: c.APIKeysQuery,
		Timeout: c.Timeout, Log: log,
	}
}
