package config

import (
	"log/slog"

	"warder/authz"
	"warder/authz/memory"
	"warder/authz/postgres"
	"warder/authz/redis"
)

// OpenDirectory reads directory.file. It returns a nil store if no file is configured.
func OpenDirectory(d Directory) (*memory.Store, error) {
	if d.File == "" {
		return nil, nil
	}
	return memory.Load(d.File, nil)
}

// WithoutRedis returns the store of sessions that are not in Redis. file has those of
// directory.file; it may be nil.
func (c Sessions) WithoutRedis(file *memory.Store) authz.Sessions {
	if file == nil {
		file = memory.New(nil)
	}
	switch c.Rule {
	case RuleNone:
		return authz.NoSessions{}
	case RuleAbsent:
		return file.Revocations()
	case RulePresent:
	}
	return file
}

// Redis returns the configuration of the session store in Redis.
func (c Sessions) Redis(log *slog.Logger) redis.Config {
	return redis.Config{
		URL: c.RedisURL.Reveal(), Password: c.Password.Reveal(), TLS: redis.TLS(c.TLS),
		Sentinel:    redis.Sentinel{MasterName: c.Sentinel.MasterName, Username: c.Sentinel.Username, Password: c.Sentinel.Password.Reveal()},
		KeyTemplate: c.KeyTemplate, Absent: c.Absent, Timeout: c.Timeout, Tracked: c.Tracked, Log: log,
	}
}

// RedisSecrets returns what may change of the configuration of the session store.
func (c Sessions) RedisSecrets() redis.Secrets {
	return redis.Secrets{URL: c.RedisURL.Reveal(), Password: c.Password.Reveal(), SentinelPassword: c.Sentinel.Password.Reveal()}
}

// Postgres returns the configuration of the store of users and API keys in Postgres.
func (c Directory) Postgres(log *slog.Logger) postgres.Config {
	return postgres.Config{
		DatabaseURL: c.DatabaseURL.Reveal(), Password: c.Password.Reveal(), UsersQuery: c.UsersQuery, APIKeysQuery: c.APIKeysQuery, NoAPIKeys: c.NoAPIKeys, NoUsers: c.NoUsers,
		AwaitPassword: c.PasswordCommand != nil,
		Standby:       c.Standby, MaxStandbyLag: c.MaxStandbyLag, Timeout: c.Timeout, MaxConns: c.MaxConnections, Log: log,
	}
}
