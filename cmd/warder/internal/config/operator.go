package config

import (
	"slices"
	"strings"

	"warder/authz/mask"
	"warder/cmd/warder/internal/cli"
)

// ReadPart reads a configuration for a command that needs only a part of it, such as the
// stores. It accepts variables that are not set, because they may be for other parts. The
// caller then resolves the parts that it needs.
func ReadPart(path string, env cli.LookupEnv) *Config {
	open := func(name string) (string, bool) {
		value, _ := env(name)
		return value, true
	}
	return readConfigWith(path, open, env)
}

// An Override is the URL of a store that replaces the one of the configuration, with other
// rights. It has a Value or the File that holds it. Name is the flag or the variable that it is
// from, for messages.
type Override struct {
	Name  string
	Value mask.Secret
	File  string
}

// IsSet reports whether there is an override.
func (o Override) IsSet() bool { return o.Name != "" }

// UseRedisURL replaces the URL of Redis, and the password and the Sentinels that belong to it.
func (c *Config) UseRedisURL(o Override) {
	k := &c.Sessions
	k.RedisURL, k.RedisURLFile, k.PasswordFile, k.Sentinel = o.text(), filePath(o.File), "", SentinelKeys{}
	k.PasswordCommand = nil
	c.reader.override("sessions.redis_url", o)
}

// UseDatabaseURL replaces the URL of the database and the password that belongs to it. A
// directory.file stays an error: there is no database then.
func (c *Config) UseDatabaseURL(o Override) {
	k := &c.Directory
	k.DatabaseURL, k.DatabaseURLFile, k.PasswordFile = o.text(), filePath(o.File), ""
	k.PasswordCommand = nil
	c.reader.override("directory.database_url", o)
}

func (o Override) text() secretText { return secretText{value: o.Value, given: o.File == ""} }

// override records where a secret is from.
func (r *configReader) override(field string, o Override) {
	delete(r.variables, field)
	delete(r.variables, field+"_file")
	if o.File != "" {
		field += "_file"
	}
	r.variables[field] = o.Name
}

// placeOf returns the File of a problem with the variable or the flag of that name.
func placeOf(name string) string {
	if strings.HasPrefix(name, "--") {
		return "command line"
	}
	return environmentFile
}

// ResolveSessions validates and returns the settings of the session store only.
func (c *Config) ResolveSessions() (s Sessions, err error) {
	err = c.part(func() { s = c.resolveSessions() })
	return s, err
}

// ResolveDirectory validates and returns the settings of the directory only.
func (c *Config) ResolveDirectory() (d Directory, err error) {
	err = c.part(func() { d = c.resolveDirectory() })
	return d, err
}

// ResolveJWT validates and returns the settings of the verification of tokens only.
func (c *Config) ResolveJWT() (s JWT, err error) {
	err = c.part(func() { s = c.resolveJWT() })
	return s, err
}

// part runs resolve and returns its problems, with those of the reading. Another part does not
// return them.
func (c *Config) part(resolve func()) error {
	read := slices.Clip(c.reader.Problems)
	resolve()
	err := c.reader.Problems.Err()
	c.reader.Problems = read
	return err
}

// Where returns where a key of the configuration was given, such as "warder.yaml:12:3" or
// "environment: DATABASE_URL", or "default".
func (c *Config) Where(field string) string {
	place := c.reader.at(field)
	switch {
	case place.File == "":
		return "default"
	case place.Line == 0:
		return place.File + ": " + place.Field
	}
	return place.Position.String()
}
