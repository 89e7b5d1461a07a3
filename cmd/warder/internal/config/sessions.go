package config

import (
	"slices"
	"strings"
	"time"

	"warder/authz/mask"
	"warder/authz/redis"
	"warder/authz/token"
)

// A SessionRule says when the session of a token is alive. The zero SessionRule is none of them.
type SessionRule string

// The values of sessions.rule.
const (
	RulePresent SessionRule = "present" // while its key exists
	RuleAbsent  SessionRule = "absent"  // while no key ends it
	RuleNone    SessionRule = "none"    // until the token expires
)

const rulePresent = word(RulePresent)

// The values of sessions.consistency.
const (
	consistencyStrict  = "strict"
	consistencyTracked = "tracked"
)

// resolveSessions returns the settings of sessions. With the rule none they have nothing else.
func (c *Config) resolveSessions() Sessions {
	r := c.reader
	s := Sessions{
		TLS: ClientTLS{
			CAFile: string(c.Sessions.TLS.CAFile), CertFile: string(c.Sessions.TLS.CertFile), KeyFile: string(c.Sessions.TLS.KeyFile),
			ServerName: c.Sessions.TLS.ServerName,
		},
		Rule: SessionRule(c.Sessions.Rule), Timeout: c.Sessions.Timeout,
		Tracked: c.Sessions.Consistency == consistencyTracked,
	}
	if s.Rule == RuleNone {
		c.warnUnusedSessions()
		return Sessions{Rule: RuleNone}
	}
	if !c.resolveKeys(&s) {
		return s
	}
	source := c.redisURL()
	url, ok := source.read(r)
	switch {
	case ok:
		s.RedisURL = url
	case !source.isSet() && !r.given("sessions.redis_url") && !r.given("sessions.redis_url_file"):
		s.RedisURL = mask.New(defaultRedisURL)
	default:
		return s // already reported
	}
	s.RedisURLFile = source.file()
	s.Password, s.PasswordFile = c.passwordFile("sessions.password_file", c.Sessions.PasswordFile)
	s.Sentinel.MasterName, s.Sentinel.Username = c.Sessions.Sentinel.MasterName, c.Sessions.Sentinel.Username
	s.Sentinel.Password, s.Sentinel.PasswordFile = c.passwordFile("sessions.sentinel.password_file", c.Sessions.Sentinel.PasswordFile)
	if s.InMemory() {
		if len(c.Sessions.PasswordCommand) > 0 {
			r.warn("sessions.password_command", "is not run, because sessions are in memory; leave it out")
		}
		if s.PasswordFile.Path != "" {
			r.warn("sessions.password_file", "is not looked at, because sessions are in memory; leave it out")
			s.PasswordFile = SecretFile{}
		}
		if s.TLS != (ClientTLS{}) {
			r.warn("sessions.tls", "is not looked at, because sessions are in memory; leave it out")
		}
		if s.Sentinel != (Sentinel{}) {
			r.warn("sessions.sentinel", "is not looked at, because sessions are in memory; leave it out")
			s.Sentinel = Sentinel{}
		}
		if s.Tracked {
			r.warn("sessions.consistency", "tracked changes nothing for sessions in memory, which are always up to date; leave it out")
		}
		return s
	}
	if s.Absent != nil && len(s.Absent.KeyTemplates) == 0 && s.Absent.RevokedBefore == "" {
		r.fail("sessions.rule", `is absent, and no key ends a session; give key_template, such as "revoked:{jti}", or revoked_before_template`)
		return s
	}
	s.PasswordCommand = c.passwordCommand("sessions", c.Sessions.PasswordCommand, c.Sessions.PasswordLifetime)
	store := s.Redis(nil)
	if s.PasswordCommand != nil {
		store.Password = anyPassword
	}
	if err := store.Validate(); err != nil {
		r.failWith("sessions.redis_url", "", s.PasswordCommand.naming(err))
	}
	for _, line := range store.Warnings() {
		r.warn("sessions.redis_url", "%s", line)
	}
	return s
}

// resolveKeys sets the keys of sessions. It reports a problem and returns false if they do not fit
// the rule. Package redis checks the templates themselves.
func (c *Config) resolveKeys(s *Sessions) bool {
	r, templates := c.reader, c.Sessions.KeyTemplate
	if s.Rule == RulePresent {
		switch {
		case len(templates) != 1:
			r.fail("sessions.key_template", "has %d templates; a session that is alive while its key exists has one, and several are for sessions.rule: absent", len(templates))
			return false
		case r.given("sessions.revoked_before_template"):
			r.fail("sessions.revoked_before_template", "is for sessions.rule: absent; set that, or leave it out and delete the keys of the user's sessions")
			return false
		}
		s.KeyTemplate = templates[0]
		return true
	}
	s.Absent = c.Revocations()
	store := s.Redis(nil)
	if len(s.Absent.KeyTemplates) > 0 || s.Absent.RevokedBefore != "" { // resolveSessions says if none is needed
		if err := store.ValidateKeys(); err != nil {
			r.failWith("sessions", "", err)
			return false
		}
	}
	for _, line := range store.KeyWarnings() {
		r.warn("sessions.key_template", "%s", line)
	}
	return true
}

// Revocations returns the keys that end sessions, or nil if sessions.rule is not absent.
func (c *Config) Revocations() *redis.Absent {
	if SessionRule(c.Sessions.Rule) != RuleAbsent {
		return nil
	}
	absent := &redis.Absent{RevokedBefore: string(c.Sessions.RevokedBefore)}
	if c.reader.given("sessions.key_template") { // the default is for the rule present
		absent.KeyTemplates = c.Sessions.KeyTemplate
	}
	return absent
}

// NoSessions reports whether no session is asked for.
func (c *Config) NoSessions() bool { return SessionRule(c.Sessions.Rule) == RuleNone }

// ClockAhead returns how far the clock of an issuer of tokens may be ahead.
func (c *Config) ClockAhead() time.Duration { return max(c.JWT.Leeway, token.ClockGrace) }

// sessionOptional reports whether a token need not be of a session, because no key depends on it.
func (c *Config) sessionOptional() bool {
	switch SessionRule(c.Sessions.Rule) {
	case RuleNone:
		return true
	case RuleAbsent:
		keys := c.Revocations()
		named := len(keys.KeyTemplates) > 0 || keys.RevokedBefore != ""
		return named && !slices.ContainsFunc(keys.KeyTemplates, func(key string) bool { return strings.Contains(key, "{jti}") })
	case RulePresent:
	}
	return false
}

// warnUnusedSessions warns about the keys of the file that rule none does not look at.
func (c *Config) warnUnusedSessions() {
	for _, key := range []string{
		"redis_url", "redis_url_file", "password_file", "password_command", "password_lifetime", "tls", "sentinel",
		"key_template", "revoked_before_template", "consistency",
	} {
		field := "sessions." + key
		if _, inFile := c.reader.Place(field); inFile && c.reader.variables[field] == "" {
			c.reader.warn(field, "is not looked at, because sessions.rule is none; leave it out")
		}
	}
}

// checkRevocations reports revocations in the file that nobody would look at.
func (c *Config) checkRevocations(s *Settings) {
	file, err := OpenDirectory(s.Directory)
	if err != nil || file == nil || file.Revocations().Len() == 0 { // an error was reported
		return
	}
	if s.Sessions.Rule != RuleAbsent || s.Sessions.InRedis() {
		c.reader.fail("directory.file", "has revocations, which are only looked at with sessions.rule: absent and sessions.redis_url: memory://; write them where sessions are, and remove them from the file")
	}
}

// warnNoFile warns about sessions in memory that nobody can put there.
func (c *Config) warnNoFile(s Sessions) {
	if s.Rule == RuleAbsent {
		c.reader.warn("sessions.redis_url", "memory:// without directory.file has no revocations: a logout is not seen until the token expires; name a Redis, or a file with revocations")
		return
	}
	c.reader.warn("sessions.redis_url", "memory:// without directory.file has no sessions: every bearer token will be refused; name a Redis, or a file with sessions")
}

// choose adds what the settings choose not to check.
func (c *Config) choose(s *Settings) {
	add := func(field, message string) {
		c.reader.warn(field, "%s", message)
		s.Choices = append(s.Choices, field+": "+message)
	}
	if s.Sessions.Rule == RuleNone {
		add("sessions.rule", "none: a token is accepted until it expires, whoever logs out meanwhile; keep tokens short-lived")
	}
	if s.Directory.UsersInTokens {
		add("directory.users", "token: the roles and the state of a user are those of the token. Who can set claims at an issuer can make an admin, "+
			"and a change, also that a user is no longer active, is seen only with a new token, unless the session is ended; keep tokens short-lived")
	}
}
