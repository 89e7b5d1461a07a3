package config

import (
	"warder/cmd/warder/internal/cli"
	"warder/policy/strict"
)

// environmentFile is the File of a problem that is about a variable.
const environmentFile = "environment"

// A Variable stands for a key of the file.
type Variable struct{ Name, Key string }

// Variables are the variables that stand for keys of the file, as the
// help lists them. A variable that is set wins over the file.
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

// readEnvironment lets the variables that are set replace what the file says.
// An empty variable is as good as none, unless it stands for a secret: that was
// meant to be there.
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
		switch {
		case !set:
		case value != "":
			r.variables[v.Key] = v.Name
			r.Read(v.Name, strict.Value{At: at, Kind: strict.Text, Text: value, Filled: true}, into[v.Name])
		case isSecretVariable(v.Name):
			r.Fail(at, v.Name, "is set but empty; give it a value or unset it")
		}
	}
	// A secret of the environment replaces the whole pair of the file, so that
	// REDIS_URL wins over redis_url_file too.
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

// replaceJWTSecret puts the secret of the environment in the place of the one of
// the file's only key, which keeps its algorithm and kid.
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
