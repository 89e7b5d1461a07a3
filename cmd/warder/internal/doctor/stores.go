package doctor

import (
	"context"
	"slices"
	"strings"

	"warder/authz"
	"warder/authz/memory"
	"warder/authz/postgres"
	"warder/authz/redis"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/operator"
)

// stores are the stores of the configuration. redis and postgres are nil where something else
// is configured.
type stores struct {
	sessions authz.Sessions
	rule     config.SessionRule
	users    authz.Users
	apiKeys  authz.APIKeys
	redis    *redis.Sessions
	postgres *postgres.Directory
	keysOff  bool // directory.api_keys is off
}

// openStores opens the stores. The settings are valid, so it fails only if a file changes
// meanwhile.
func (r *report) openStores(ctx context.Context, s *config.Settings) *stores {
	of := &stores{rule: s.Sessions.Rule}
	file, err := config.OpenDirectory(s.Directory)
	if err != nil {
		r.fault("directory", "directory.file", err)
	}
	if file == nil {
		file = memory.New(nil)
	}
	of.sessions, of.users, of.apiKeys = s.Sessions.WithoutRedis(file), file, file
	if s.Sessions.InRedis() {
		settings := s.Sessions
		settings.Timeout, settings.Tracked = operator.Patience, false // examineRedis tries tracking
		if settings, err = settings.LogIn(ctx); err != nil {
			r.fault("sessions", "sessions.password_command", err)
		}
		if of.redis, err = redis.New(settings.Redis(nil)); err != nil {
			r.fault("sessions", "sessions.redis_url", err)
		} else {
			of.sessions = of.redis
		}
	}
	if s.Directory.UsesDatabase() {
		settings := s.Directory
		settings.Timeout = operator.Patience
		if settings, err = settings.LogIn(ctx); err != nil {
			r.fault("directory", "directory.password_command", err)
		}
		if of.postgres, err = postgres.New(settings.Postgres(nil)); err != nil {
			r.fault("directory", "directory.database_url", err)
		} else {
			of.users, of.apiKeys = of.postgres, of.postgres
		}
	}
	if s.Directory.NoUsers {
		of.users = authz.NoUsers{}
	}
	if of.keysOff = s.Directory.NoAPIKeys; of.keysOff {
		of.apiKeys = memory.New(nil)
	}
	return of
}

func (s *stores) close() {
	if s.redis != nil {
		_ = s.redis.Close()
	}
	if s.postgres != nil {
		s.postgres.Close()
	}
}

func (r *report) examineRedis(ctx context.Context, store *redis.Sessions, s config.Sessions) {
	const setting = "sessions.redis_url"
	switch {
	case s.Rule == config.RuleNone:
		return // a warning of the configuration says so
	case store == nil:
		r.say("sessions", warning, setting, "sessions are in the memory of each warder; name a Redis outside of a trial")
		return
	}
	e, err := store.Examine(ctx)
	if err != nil {
		r.fault("sessions", setting, err)
		return
	}
	if s.Rule == config.RuleAbsent {
		r.say("sessions.rule", good, "sessions.rule", "absent: a session is alive until Redis has a key that ends it, so Redis must not lose keys: use appendonly yes and maxmemory-policy noeviction")
	}
	user := ""
	if e.User != "" {
		user = " as user " + e.User
	}
	r.say("sessions", good, setting, "Redis answers%s, and the user may ask for sessions", user)
	r.protected("sessions.tls", setting, e.Protected, "use rediss://")
	if e.SkewKnown {
		r.skew("sessions.clock", setting, e.Skew)
	} else {
		r.say("sessions.clock", unknown, setting, "the user may not ask for the time (+time), which the service does not need")
	}
	if !e.TellsRole {
		r.say("sessions.rights", warning, setting, "the user may not ask whether the server is a primary, and a replica may have sessions that have ended; add +role")
	}
	if len(e.Excess) > 0 {
		r.say("sessions.rights", warning, setting, "the user may do more than the service needs: %s; give it +exists and +role%s on %s only",
			strings.Join(e.Excess, "; "), furtherRights(e, s.Tracked), "the session keys")
	} else {
		r.say("sessions.rights", good, setting, "the user may not do what the service does not need, as far as was tried")
	}
	if !s.Tracked {
		r.say("sessions.tracking", good, "sessions.consistency", "strict: Redis is asked on each check")
		return
	}
	if err := store.CheckTracking(ctx); err != nil {
		r.say("sessions.tracking", warning, "sessions.consistency", "tracked, but Redis is asked on each check as in strict: %v", err)
	} else {
		r.say("sessions.tracking", good, "sessions.consistency", "tracked: Redis announces changes")
	}
}

func furtherRights(e redis.Examination, tracked bool) (rights string) {
	if e.Cluster {
		rights = ", +cluster|nodes and +asking"
	}
	if tracked {
		rights += " and what sessions.consistency tracked needs (+pttl +client|id +client|tracking +subscribe +ping +pubsub|numsub)"
	}
	return rights
}

// protected says how a connection is protected.
func (r *report) protected(check, setting, how, right string) {
	if how == "" {
		r.say(check, warning, setting, "the connection to another machine is not encrypted; %s, unless the network between is yours alone", right)
		return
	}
	r.say(check, good, setting, "the connection is protected by %s", how)
}

func (r *report) examinePostgres(ctx context.Context, store *postgres.Directory, all *config.Settings) {
	const setting = "directory.database_url"
	s := all.Directory
	if s.UsersInTokens {
		r.say("directory.users", good, "directory.users", "the roles and the state of users are in tokens: --token-file shows those of one")
	}
	switch {
	case store == nil && s.File == "":
		r.say("directory", good, "directory.users", "there is no directory: users are in tokens, and API keys are off")
		return
	case store == nil:
		r.say("directory", good, "directory.file", "users and keys are in a file")
		users, apiKeys, _ := s.AttributesKnown()
		r.attributes(all, users, apiKeys, "directory.file", "directory.file")
		return
	}
	warnings, err := store.Check(ctx)
	for _, w := range warnings {
		field, text, _ := strings.Cut(w, ": ")
		r.say("directory", warning, field, "%s", text)
	}
	if err != nil {
		for _, e := range authz.ConfigErrors(err) {
			for line := range strings.Lines(e.Problem) {
				field, text, found := strings.Cut(strings.TrimSpace(line), ": ")
				if !found || !strings.HasPrefix(field, "directory.") {
					field, text = setting, strings.TrimSpace(line)
				}
				r.say("directory", broken, field, "%s", text)
			}
		}
		return
	}
	fit := "both queries fit"
	if s.NoUsers || s.NoAPIKeys {
		fit = "its query fits"
	}
	r.say("directory", good, setting, "Postgres answers, and %s", fit)
	columns, _ := store.AttributeColumns()
	if all.Directory.UsersInTokens { // those of the query are of the owners of API keys
		columns.Users = nil
	}
	r.attributes(all, columns.Users, columns.APIKeys, "directory.users_query", "directory.api_keys_query")
	for _, w := range all.Unsupplied(slices.Concat(columns.Users, columns.APIKeys)) {
		field, text, _ := strings.Cut(w, " ")
		r.say("attributes", warning, field, "%s", text)
	}
	e, err := store.Examine(ctx)
	if err != nil {
		r.fault("directory", setting, err)
		return
	}
	r.protected("directory.tls", setting, e.Protected, "use sslmode=verify-full")
	r.skew("directory.clock", setting, e.Skew)
	if len(e.Excess) > 0 {
		r.say("directory.rights", warning, setting, "the role %s may do more than the service needs: %s; use a role that may only read, as warder schema sql makes one (warder_reader)",
			e.Role, strings.Join(e.Excess, "; "))
	} else {
		r.say("directory.rights", good, setting, "the role %s may only read, as far as was tried", e.Role)
	}
	r.announcements(e, s)
}

// attributes lists the attributes of principals and where they are from.
func (r *report) attributes(s *config.Settings, users, apiKeys []string, usersFrom, apiKeysFrom string) {
	list := func(field, what string, names []string) {
		if len(names) > 0 {
			r.say("attributes", good, field, "attributes of %s: %s", what, strings.Join(names, ", "))
		}
	}
	list(usersFrom, "users, which win over claims", users)
	list(apiKeysFrom, "API keys", apiKeys)
	list("jwt.attributes", "users, from claims", s.JWT.ClaimedAttributes())
}

// announcements says whether changes of rows are announced, which only matters when rows are
// kept.
func (r *report) announcements(e postgres.Examination, s config.Directory) {
	const setting = "directory.max_staleness"
	switch {
	case s.MaxStaleness == 0:
		r.say("directory.announcements", good, setting, "Postgres is asked on each check, so changes need not be announced")
	case len(e.Unannounced) > 0:
		r.say("directory.announcements", warning, setting, "no trigger announces changes of %s, so a change is seen after up to %s; warder schema sql has the triggers",
			strings.Join(e.Unannounced, ", "), s.MaxStaleness)
	case !e.Listens:
		r.say("directory.announcements", warning, setting, "announcements do not reach this connection (LISTEN), so a change is seen after up to %s; a pooler in transaction mode drops them", s.MaxStaleness)
	case len(e.UnannouncedColumns) > 0:
		r.say("directory.announcements", warning, setting, "the triggers do not announce changes of %s, so a change of such an attribute is seen after up to %s; add the columns to the arguments of warder_announce in the trigger",
			strings.Join(e.UnannouncedColumns, ", "), s.MaxStaleness)
	case len(e.Announced) == 0:
		r.say("directory.announcements", unknown, setting, "the tables of the queries are not known, so their triggers were not looked for")
	default:
		r.say("directory.announcements", good, setting, "triggers announce changes of %s", strings.Join(e.Announced, ", "))
	}
}

// names writes roles or scopes.
func names(of authz.Names) string {
	if len(of) == 0 {
		return "none"
	}
	return cli.OneLine(strings.Join(of, ", "), 500)
}
