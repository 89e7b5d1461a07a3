package config

import (
	"warder/cmd/warder/internal/cli"
	"warder/policy/strict"
)

// environmentFile is the File of a problem with an environment variable.
const environmentFile = "environment"

// A Variable is an environment variable that sets a key of the file.
type Variable struct{ Name, Key string }

// Variables are the environment variables that set keys of the file, in the order of the
// help text. They take precedence over the file.
var Variables = []Variable{
	{"WARDER_LISTEN_GRPC", "listen.grpc"},
	{"WARDER_LISTEN_ADMIN", "listen.admin"},
	{"WARDER_POLICY", "policy"},
	{"WARDER_JWT_SECRET", "jwt.keys[0].secret"},
	{"WARDER_JWT_SECRET_FILE", "jwt.keys[0].secret_file"},
	{"REDIS_URL", "sessions.redis_url"},
	{"REDIS_URL_FILE", "sessions.redis_url_file"},
	{"DATABASE_URL", "directory.database_url"},
	{"DATABASE_URL_FILE", "directory.database_url_file"},
	{"WARDER_TRUSTED_PROXIES", "client_ip.trusted_proxies"},
}

// readEnvironment replaces values of the file by the environment variables that are set.
// It ignores empty variables, except those of secrets: an empty secret is a mistake.
func (c *Config) readEnvironment(env cli.LookupEnv) {
	r := c.reader
	var jwt, redis, database struct {
		secret secretText
		file   filePath
	}
	into := map[string]any{
		"WARDER_LISTEN_GRPC":     &c.Listen.GRPC,
		"WARDER_LISTEN_ADMIN":    &c.Listen.Admin,
		"WARDER_POLICY":          &c.Policy,
		"WARDER_JWT_SECRET":      &jwt.secret,
		"WARDER_JWT_SECRET_FILE": &jwt.file,
		"REDIS_URL":              &redis.secret,
		"REDIS_URL_FILE":         &redis.file,
		"DATABASE_URL":           &database.secret,
		"DATABASE_URL_FILE":      &database.file,
		"WARDER_TRUSTED_PROXIES": &c.ClientIP.TrustedProxies,
	}
	at := strict.Position{File: environmentFile}
	for _, v := range Variables {
		value, set := env(v.Name)
		if _, secret := into[v.Name].(*secretText); !secret {
			value = withoutNewline(value) // for secrets, cleanSecret does this and more
		}
		switch {
		case !set:
		case value != "":
			r.variables[v.Key] = v.Name
			r.Read(v.Name, strict.Value{At: at, Kind: strict.Text, Text: value, Filled: true}, into[v.Name])
		case isSecretVariable(v.Name):
			r.Fail(at, v.Name, "is set but empty; give it a value or unset it")
		}
	}
	// A secret in the environment replaces both keys of the pair in the file. For example,
	// REDIS_URL also takes precedence over redis_url_file.
	if redis.secret.given || redis.file != "" {
		c.Sessions.RedisURL, c.Sessions.RedisURLFile = redis.secret, redis.file
	}
	if database.secret.given || database.file != "" {
		c.Directory.DatabaseURL, c.Directory.DatabaseURLFile = database.secret, database.file
	}
	if jwt.secret.given || jwt.file != "" {
		c.replaceJWTSecret(jwt.secret, jwt.file)
	}
}

func isSecretVariable(name string) bool {
	switch name {
	case "WARDER_LISTEN_GRPC", "WARDER_LISTEN_ADMIN", "WARDER_POLICY", "WARDER_TRUSTED_PROXIES":
		return false
	}
	return true
}

// replaceJWTSecret replaces the secret of the only key in the file by the secret of the
// environment. The key keeps its algorithm and kid.
func (c *Config) replaceJWTSecret(secret secretText, file filePath) {
	switch len(c.JWT.Keys) {
	case 0:
		c.JWT.Keys = []JWTKeyKeys{{Algorithm: "HS256", Secret: secret, SecretFile: file}}
	case 1:
		c.JWT.Keys[0].Secret, c.JWT.Keys[0].SecretFile = secret, file
	default:
		c.reader.fail("jwt.keys[0].secret", "is set, but jwt.keys lists %d keys, so that it is not clear which one is meant; unset it or list one key", len(c.JWT.Keys))
	}
}
