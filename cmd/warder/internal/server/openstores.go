package server

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"warder/authz"
	"warder/authz/mask"
	"warder/authz/postgres"
	"warder/authz/redis"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/server/metrics"
)

// staleFacts is the maximum number of users, and of API keys, that are cached if
// directory.max_staleness allows it. They need some tens of MiB at most.
// The caches of tokens and of sessions have room for as many.
const staleFacts = 1 << 17

// openStores opens the stores that the settings name, without sending requests yet. Later
// requests to the stores are counted.
func openStores(s *config.Settings, log *slog.Logger, m *metrics.Metrics) (*Stores, error) {
	opened := &Stores{}
	var found cli.Problems
	file, err := config.OpenDirectory(s.Directory)
	found = append(found, cli.ProblemsOf("", err)...)
	if file != nil {
		opened.Users, opened.APIKeys = m.CountedUsers(file), m.CountedAPIKeys(file)
	}
	switch {
	case s.Sessions.InRedis():
		err := opened.AddRedis(s.Sessions, log, m.AskedSession)
		found = append(found, cli.ProblemsOf("", err)...)
	case s.Sessions.Rule == config.RuleNone: // nothing is asked
		opened.Sessions = s.Sessions.WithoutRedis(file)
	default:
		opened.Sessions = m.CountedSessions(s.Sessions.WithoutRedis(file))
	}
	if s.Directory.UsesDatabase() {
		err := opened.addPostgres(s, log, m)
		found = append(found, cli.ProblemsOf("", err)...)
	}
	if s.Directory.NoUsers {
		opened.Users = authz.NoUsers{}
	}
	if s.Directory.NoAPIKeys {
		opened.APIKeys = m.CountedAPIKeys(noAPIKeys{})
	}
	if err := found.Err(); err != nil {
		opened.Close()
		return nil, err
	}
	return opened, nil
}

// AddRedis makes Redis the store of sessions. If asked is not nil, it is called after each
// request to Redis.
func (s *Stores) AddRedis(c config.Sessions, log *slog.Logger, asked func(took time.Duration, exists bool, err error)) error {
	settings, files, again := c.Redis(log), c.SecretFiles(), newReading()
	settings.Asked = asked
	command := newCommandPassword(c.PasswordCommand)
	with := func(contents []mask.Secret) config.Sessions {
		if command == nil {
			return c.WithSecrets(contents)
		}
		return c.WithSecrets(contents).WithPassword(command.last())
	}
	settings.Reread = func(ctx context.Context) (redis.Secrets, error) {
		contents, err := again.readAgain(ctx, files)
		if err == nil && command != nil {
			_, err = command.ask(ctx, commandPause)
		}
		if err != nil {
			return redis.Secrets{}, err
		}
		return with(contents).RedisSecrets(), nil
	}
	sessions, err := redis.New(settings)
	if err != nil {
		return err
	}
	s.Sessions = sessions
	if c.Tracked {
		s.Caches = append(s.Caches, metrics.Cache{Name: "sessions", Counts: sessions.Counts})
	}
	s.Available = append(s.Available, metrics.Availability{Store: "sessions", Now: sessions.Available})
	s.secrets = append(s.secrets, &secretUser{
		files: files, contents: c.SecretContents(),
		related: func(contents []mask.Secret) []config.SecretFile { return with(contents).RelatedFiles() },
		command: command,
		use: func(contents []mask.Secret) ([]any, error) {
			return nil, sessions.Reconfigure(with(contents).RedisSecrets())
		},
	})
	s.OnClose(func() { _ = sessions.Close() })
	s.Checks = append(s.Checks, StoreCheck{
		Name: "sessions (Redis)",
		Check: func(ctx context.Context) ([]string, error) {
			if err := command.firstPassword(ctx); err != nil {
				return nil, err
			}
			if err := sessions.Check(ctx); err != nil || !c.Tracked {
				return nil, err
			}
			return trackingWarnings(sessions.CheckTracking(ctx)), nil
		},
	})
	return nil
}

// trackingWarnings returns err as warnings. If Redis cannot announce changes, checks take
// longer but do not fail.
func trackingWarnings(err error) []string {
	if err == nil {
		return nil
	}
	return []string{"sessions.consistency is tracked, but Redis is asked on each check as in strict: " + err.Error()}
}

func (s *Stores) addPostgres(all *config.Settings, log *slog.Logger, m *metrics.Metrics) error {
	c := all.Directory
	settings, files, again := c.Postgres(log), c.SecretFiles(), newReading()
	command := newCommandPassword(c.PasswordCommand)
	with := func(contents []mask.Secret) config.Directory {
		if command == nil {
			return c.WithSecrets(contents)
		}
		return c.WithSecrets(contents).WithPassword(command.last())
	}
	settings.Reread = func(ctx context.Context) (databaseURL, password string, err error) {
		contents, err := again.readAgain(ctx, files)
		if err == nil && command != nil {
			_, err = command.ask(ctx, commandPause)
		}
		if err != nil {
			return "", "", err
		}
		now := with(contents)
		return now.DatabaseURL.Reveal(), now.Password.Reveal(), nil
	}
	directory, err := postgres.New(settings)
	if err != nil {
		return err
	}
	s.secrets = append(s.secrets, &secretUser{
		files: files, contents: c.SecretContents(),
		related: func(contents []mask.Secret) []config.SecretFile { return with(contents).RelatedFiles() },
		command: command,
		use: func(contents []mask.Secret) ([]any, error) {
			now := with(contents)
			var about []any
			for _, warning := range now.Postgres(nil).Warnings() {
				about = append(about, "warning", warning)
			}
			return about, directory.Reconfigure(now.DatabaseURL.Reveal(), now.Password.Reveal())
		},
	})
	answered := s.guard(directory, c, log, m)
	if c.MaxStaleness > 0 {
		s.keepFacts(directory, c)
	}
	s.OnClose(directory.Close)
	s.Checks = append(s.Checks, StoreCheck{
		Name: "directory (Postgres)",
		Check: func(ctx context.Context) ([]string, error) {
			if err := command.firstPassword(ctx); err != nil {
				return nil, err
			}
			warnings, err := directory.Check(ctx)
			if err == nil {
				answered()
				columns, _ := directory.AttributeColumns()
				if all.Directory.UsersInTokens { // those of the query are of the owners of API keys
					columns.Users = nil
				}
				warnings = append(warnings, all.Unsupplied(slices.Concat(columns.Users, columns.APIKeys))...)
			}
			return warnings, err
		},
		Permanent: func(err error) bool {
			_, noPassword := errors.AsType[passwordError](err)
			return !noPassword && !errors.Is(err, postgres.ErrUnreachable) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
		},
	})
	return nil
}

// guard makes the directory the store of users and API keys. While it does not answer, it is not
// asked. The caller calls answered when the directory has answered otherwise.
func (s *Stores) guard(directory *postgres.Directory, c config.Directory, log *slog.Logger, m *metrics.Metrics) (answered func()) {
	users := authz.NewGuardedUsers(m.CountedUsers(directory), authz.BreakerConfig[string]{
		Store: "users", Failed: postgres.IsOutage, Renew: directory.Renew, Timeout: c.Timeout, Log: log, Now: time.Now,
	})
	keys := authz.NewGuardedAPIKeys(m.CountedAPIKeys(directory), authz.BreakerConfig[authz.KeyHash]{
		Store: "api_keys", Failed: postgres.IsOutage, Renew: directory.Renew, Timeout: c.Timeout, Log: log, Now: time.Now,
	})
	s.Users, s.APIKeys = users, keys
	if !c.NoUsers {
		s.Available = append(s.Available, metrics.Availability{Store: "users", Now: users.Available})
	}
	if !c.NoAPIKeys {
		s.Available = append(s.Available, metrics.Availability{Store: "api_keys", Now: keys.Available})
	}
	s.OnClose(users.Close)
	s.OnClose(keys.Close)
	return func() {
		users.Answered()
		keys.Answered()
	}
}

// keepFacts caches the answers of the directory until the directory announces a change or
// directory.max_staleness has passed. Without a max_staleness, nothing is cached and nothing
// listens for announcements.
func (s *Stores) keepFacts(directory *postgres.Directory, c config.Directory) {
	keep := authz.StaleConfig{MaxAge: c.MaxStaleness, Timeout: c.Timeout, Size: staleFacts, Now: time.Now}
	users, keys := authz.NewStaleUsers(s.Users, keep), authz.NewStaleAPIKeys(s.APIKeys, keep)
	s.Users, s.APIKeys = users, keys
	s.Caches = append(s.Caches, metrics.Cache{Name: "users", Counts: users.Counts}, metrics.Cache{Name: "api_keys", Counts: keys.Counts})
	s.OnClose(directory.Listen(postgres.Changes{User: users.Forget, Users: users.ForgetAll, APIKeys: keys.ForgetAll}))
}
