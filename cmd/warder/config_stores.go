package main

import (
	"log/slog"

	"warder/authz/memory"
	"warder/authz/postgres"
	"warder/authz/redis"
)

func openDirectoryFile(d directorySettings) (*memory.Store, error) {
	if d.File == "" {
		return nil, nil
	}
	return memory.Load(d.File, nil)
}

func (c sessionsSettings) redis(log *slog.Logger) redis.Config {
	return redis.Config{URL: c.RedisURL.Reveal(), KeyTemplate: c.KeyTemplate, Timeout: c.Timeout, Tracked: c.Tracked, Log: log}
}

func (c directorySettings) postgres(log *slog.Logger) postgres.Config {
	return postgres.Config{
		DatabaseURL: c.DatabaseURL.Reveal(), UsersQuery: c.UsersQuery, APIKeysQuery: c.APIKeysQuery,
		Standby: c.Standby, MaxStandbyLag: c.MaxStandbyLag, Timeout: c.Timeout, Log: log,
	}
}
