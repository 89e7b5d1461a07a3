package main

import (
	"context"
	"time"

	"warder/authz"
	"warder/authz/memory"
	"warder/authz/redis"
)

// staleFacts is how many users, and how many API keys, are kept when
// directory.max_staleness allows it: some tens of MiB at most.
const staleFacts = 50_000

// openStores opens the stores that the settings name, without asking them yet.
func openStores(s *settings, _ any) (*stores, error) {
	opened := &stores{}
	var found problems
	file, err := openDirectoryFile(s.Directory)
	found = append(found, problemsOf("", err)...)
	if file != nil {
		opened.Users, opened.APIKeys = file, file
	}
	switch {
	case !s.Sessions.inMemory():
		err := opened.addRedis(s.Sessions)
		found = append(found, problemsOf("", err)...)
	case file != nil:
		opened.Sessions = file
	default:
		opened.Sessions = memory.New(nil)
	}
	if s.Directory.File == "" {
		opened.Users, opened.APIKeys = memory.New(nil), memory.New(nil)
	}
	if err := found.err(); err != nil {
		opened.close()
		return nil, err
	}
	if age := s.Directory.MaxStaleness; age > 0 && file == nil {
		opened.Users = authz.NewStaleUsers(opened.Users, age, staleFacts, time.Now)
		opened.APIKeys = authz.NewStaleAPIKeys(opened.APIKeys, age, staleFacts, time.Now)
	}
	return opened, nil
}

func openDirectoryFile(d directorySettings) (*memory.Store, error) {
	if d.File == "" {
		return nil, nil
	}
	return memory.Load(d.File, nil)
}

func (s *stores) addRedis(c sessionsSettings) error {
	sessions, err := openRedis(c)
	if err != nil {
		return err
	}
	s.Sessions = sessions
	s.Close = append(s.Close, func() { _ = sessions.Close() })
	s.Checks = append(s.Checks, storeCheck{
		Name:  "sessions (Redis)",
		Check: func(ctx context.Context) ([]string, error) { return nil, sessions.Check(ctx) },
	})
	return nil
}

func openRedis(c sessionsSettings) (*redis.Sessions, error) {
	return redis.New(redis.Config{URL: c.RedisURL.Reveal(), KeyTemplate: c.KeyTemplate, Timeout: c.Timeout})
}
