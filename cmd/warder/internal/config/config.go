package config

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"warder/authz"
	"warder/authz/postgres"
	"warder/cmd/warder/internal/cli"
	"warder/envoy"
	"warder/policy"
	"warder/policy/strict"
)

// DefaultPath is the default path of the configuration file.
const DefaultPath = "/etc/warder/warder.yaml"

const (
	defaultPolicyPath = "/etc/warder/policy.yaml"
	defaultRedisURL   = "redis://127.0.0.1:6379/0"
	defaultRolesClaim = "roles"
)

func defaultConfig() *Config {
	return &Config{
		Listen:   ListenKeys{GRPC: "127.0.0.1:9191", Admin: "127.0.0.1:9192", SocketMode: "0660"},
		Policy:   defaultPolicyPath,
		Deadline: 200 * time.Millisecond,
		JWT:      JWTKeys{UserClaim: "sub", SessionClaim: "jti", RolesClaim: defaultRolesClaim, Overlap: time.Hour},
		APIKey:   APIKeyKeys{Header: "X-API-Key"},
		Sessions: SessionsKeys{Rule: rulePresent, KeyTemplate: keyTemplates{"session:{user_id}:{jti}"}, Consistency: consistencyStrict, Timeout: 100 * time.Millisecond, PasswordLifetime: defaultPasswordLifetime},
		Directory: DirectoryKeys{
			Users:        usersInDatabase,
			UsersQuery:   "SELECT is_active, roles FROM users WHERE id = $1",
			APIKeysQuery: "SELECT prefix, scopes, is_active, expires_at, user_id FROM api_keys WHERE key_hash = $1",
			APIKeys:      switchedOn,
			Commands: CommandsKeys{
				CreateKey: postgres.DefaultCreateKey, ListKeys: postgres.DefaultListKeys, ShowKey: postgres.DefaultShowKey,
				RevokeKey: postgres.DefaultRevokeKey, ExpireKey: postgres.DefaultExpireKey,
			},
			PasswordLifetime: defaultPasswordLifetime, Timeout: 150 * time.Millisecond, MaxStandbyLag: postgres.DefaultMaxStandbyLag, MaxConnections: postgres.DefaultMaxConns,
		},
		ClientIP: ClientIPKeys{Source: "trusted_proxies"},
		Log:      LogKeys{Level: "info", Format: "json", Decisions: word(LogDeny)},
		Identity: IdentityKeys{RemoveAPIKey: true},
		Shutdown: ShutdownKeys{Delay: 5 * time.Second, Timeout: 10 * time.Second},
		Envoy:    EnvoyKeys{MaxHeaders: envoy.DefaultMaxHeaders, MaxHeaderKB: envoy.DefaultMaxHeaderKB, Metadata: metadataFields},
	}
}

// Read reads the configuration from the file at path and then from the environment, which
// takes precedence. If path is empty, Read uses only the environment.
func Read(path string, env cli.LookupEnv) *Config { return readConfigWith(path, env, env) }

// readConfigWith is like Read, but looks up the variables that the file refers to in inFile,
// and the variables that override the file in env.
func readConfigWith(path string, inFile, env cli.LookupEnv) *Config {
	c := defaultConfig()
	c.reader = newConfigReader()
	if path != "" {
		data, err := cli.ReadBounded(path, maxConfigSize)
		if err != nil {
			c.reader.Problems = cli.Problems{{Position: strict.Position{File: path}, Message: err.Error()}}
		} else {
			c.read(path, data, inFile)
		}
		c.reader.incomplete = c.reader.incomplete || len(c.reader.Problems) > 0
	}
	c.readEnvironment(env)
	return c
}

// ReadDecisive reads the parts of a configuration that affect decisions and the identity
// headers, for commands that decide without the stores. It does not read secrets. It
// accepts variables that are not set, because they may contain secrets.
func ReadDecisive(path string, env cli.LookupEnv) (*Config, authz.ClientIPConfig, error) {
	open := func(name string) (string, bool) {
		value, _ := env(name)
		return value, true
	}
	c := readConfigWith(path, open, env)
	client := c.resolveClientIP()
	c.checkIdentity(&Settings{Sources: c.Sources(), Identity: c.IdentitySettings()})
	return c, client, c.reader.Problems.Err()
}

// read reads the text of a file.
func (c *Config) read(path string, data []byte, env cli.LookupEnv) {
	r := c.reader
	root, found := strict.Parse(strict.File{Name: path, Data: data}, strict.Limits{Bytes: maxConfigSize, TooLarge: "name the right file", Hint: variableHint})
	fill := &filler{env: env}
	root = fill.fill(root)
	r.Problems = append(found, fill.problems...)
	r.incomplete = len(r.Problems) > 0
	if root.Kind == strict.Broken || root.Kind == strict.Null { // everything has a default
		r.SetPlace("", root.At)
		return
	}
	if other := policy.OtherFile("a configuration", root.Keys()); other != "" {
		r.incomplete = true
		r.Fail(root.At, "", "%s", other)
		return
	}
	usual := c.Policy
	c.Policy = ""
	r.Read("", root, c)
	for _, path := range c.paths() {
		path.below(filepath.Dir(root.At.File))
	}
	for _, argv := range [][]string{c.Sessions.PasswordCommand, c.Directory.PasswordCommand} {
		if len(argv) > 0 && strings.Contains(argv[0], "/") && !filepath.IsAbs(argv[0]) { // else it is looked for in PATH
			argv[0] = filepath.Dir(root.At.File) + "/" + argv[0] // Join would make a plain name of ./name
		}
	}
	if c.Policy == "" {
		c.Policy = usual
	}
}

// variableHint returns a hint to quote a variable, whose braces are not valid in a YAML flow
// mapping.
func variableHint(line string) string {
	if strings.Contains(line, "${") {
		return `between { } a variable must be in quotes, as in "${VAR}"`
	}
	return ""
}

// paths returns the files and folders that the configuration names.
func (c *Config) paths() []*filePath {
	tls, client := &c.Listen.TLS, &c.Sessions.TLS
	all := []*filePath{
		&c.Policy, &tls.CertFile, &tls.KeyFile, &tls.ClientCAFile, &c.Sessions.RedisURLFile, &c.Sessions.PasswordFile,
		&client.CAFile, &client.CertFile, &client.KeyFile, &c.Sessions.Sentinel.PasswordFile,
		&c.Directory.DatabaseURLFile, &c.Directory.PasswordFile, &c.Directory.File,
	}
	for i := range c.JWT.Keys {
		all = append(all, c.JWT.Keys[i].paths()...)
	}
	for i := range c.JWT.Issuers {
		is := &c.JWT.Issuers[i]
		all = append(all, &is.JWKSFile, &is.CAFile)
		for j := range is.Keys {
			all = append(all, is.Keys[j].paths()...)
		}
	}
	return all
}

// redisURL and databaseURL return the sources of the two secrets with only one place each.
func (c *Config) redisURL() secretSource {
	return secretSource{c.Sessions.RedisURL, string(c.Sessions.RedisURLFile), "sessions.redis_url"}
}

func (c *Config) databaseURL() secretSource {
	return secretSource{c.Directory.DatabaseURL, string(c.Directory.DatabaseURLFile), "directory.database_url"}
}

func (k *JWTKeyKeys) paths() []*filePath {
	return []*filePath{&k.SecretFile, &k.PublicKeyFile, &k.JWKSFile}
}

// renamed returns the identity headers that the configuration renames.
func (k IdentityHeadersKeys) renamed() map[string]string {
	names := map[string]string{}
	for field, name := range map[string]*string{
		"auth_method": k.AuthMethod, "user": k.User, "roles": k.Roles, "session": k.Session,
		"key_prefix": k.KeyPrefix, "scopes": k.Scopes, "client_ip": k.ClientIP,
	} {
		if name != nil {
			names[field] = *name
		}
	}
	return names
}

// PolicyKnown reports whether the path of the policy is known. If the file could not be read in
// full and the path is the default, the file may name another path.
func (c *Config) PolicyKnown() bool { return !c.reader.incomplete || c.Policy != defaultPolicyPath }

// APIKeysOff reports whether directory.api_keys is off.
func (c *Config) APIKeysOff() bool { return c.Directory.APIKeys == switchedOff }

// UsersInTokens reports whether the roles and the state of users are in tokens: directory.users is
// token.
func (c *Config) UsersInTokens() bool { return c.Directory.Users == usersInTokens }

// OwnersKnown reports whether the owners of API keys can be looked up if users are in tokens: in a
// file, or by a users_query that is written.
func (c *Config) OwnersKnown() bool {
	return c.Directory.File != "" || c.reader.given("directory.users_query") && c.Directory.UsersQuery != ""
}

// RolesClaim returns the claim with the roles, or "" if users are not in tokens.
func (c *Config) RolesClaim() string {
	if !c.UsersInTokens() {
		return ""
	}
	return cmp.Or(string(c.JWT.RolesClaim), defaultRolesClaim)
}

// UsePolicy replaces the path of the policy by the value of a flag.
func (c *Config) UsePolicy(path string) { c.Policy = filePath(path) }

// NamedFile returns the configuration file that the flag or WARDER_CONFIG names, or "" if
// neither does. It is for commands that do not need a configuration.
func NamedFile(flag string, env cli.LookupEnv) string {
	if named, set := env("WARDER_CONFIG"); flag == "" && set {
		return named
	}
	return flag
}

// FindFile returns the path of the configuration file. This is the file that the flag or
// WARDER_CONFIG names, or else [DefaultPath] if it exists, or else "".
func FindFile(flag string, env cli.LookupEnv) (string, error) {
	if path := NamedFile(flag, env); path != "" {
		return path, nil
	}
	_, err := os.Stat(DefaultPath)
	switch {
	case err == nil:
		return DefaultPath, nil
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	}
	return "", cli.Problems{{Position: strict.Position{File: DefaultPath}, Message: cli.Bare(err).Error()}}
}
