package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"warder/authz"
	"warder/authz/postgres"
	"warder/envoy"
	"warder/policy"
)

// A config is what warder.yaml and the environment say, with the defaults for
// what they do not say. It is not yet checked as a whole: [config.resolve] makes
// the [settings] that a server can run with.
type config struct {
	listen    listenConfig
	policy    string
	deadline  time.Duration
	jwt       jwtConfig
	apiKey    string // the header
	sessions  sessionsConfig
	directory directoryConfig
	clientIP  clientIPConfig
	log       logSettings
	sensitive []string // log.sensitive_keys
	identity  identitySettings
	shutdown  shutdownSettings
	envoy     envoySettings

	reader *configReader
}

type listenConfig struct {
	grpc, admin string
	tls         tlsSettings
	plaintext   bool
	socketMode  string
}

type jwtConfig struct {
	keys                    []jwtKeyConfig
	issuer                  string
	audiences               []string
	leeway                  time.Duration
	userClaim, sessionClaim string
}

type jwtKeyConfig struct {
	secret        secretSource
	algorithm, id string
}

type sessionsConfig struct {
	url         secretSource
	keyTemplate string
	consistency string
	timeout     time.Duration
}

type directoryConfig struct {
	url                      secretSource
	file                     string
	usersQuery, apiKeysQuery string
	maxStaleness             time.Duration
	standby                  bool
	maxStandbyLag            time.Duration
	timeout                  time.Duration
}

type clientIPConfig struct {
	source         string
	trustedProxies []string
	trustedHops    int
	header         string
}

const (
	defaultConfigPath = "/etc/warder/warder.yaml"
	defaultPolicyPath = "/etc/warder/policy.yaml"
	defaultRedisURL   = "redis://127.0.0.1:6379/0"
)

func defaultConfig() *config {
	return &config{
		listen:   listenConfig{grpc: "127.0.0.1:9191", admin: "127.0.0.1:9192", socketMode: "0660"},
		policy:   defaultPolicyPath,
		deadline: 200 * time.Millisecond,
		jwt:      jwtConfig{userClaim: "sub", sessionClaim: "jti"},
		apiKey:   "X-API-Key",
		sessions: sessionsConfig{keyTemplate: "session:{user_id}:{jti}", consistency: consistencyStrict, timeout: 100 * time.Millisecond},
		directory: directoryConfig{
			usersQuery:   "SELECT is_active, roles FROM users WHERE id = $1",
			apiKeysQuery: "SELECT prefix, scopes, is_active, expires_at, user_id FROM api_keys WHERE key_hash = $1",
			timeout:      150 * time.Millisecond, maxStandbyLag: postgres.DefaultMaxStandbyLag,
		},
		clientIP: clientIPConfig{source: "trusted_proxies"},
		log:      logSettings{Level: "info", Format: "json", Decisions: logDeny},
		identity: identitySettings{Headers: map[string]string{}, RemoveAPIKey: true},
		shutdown: shutdownSettings{Delay: 5 * time.Second, Timeout: 10 * time.Second},
		envoy:    envoySettings{MaxHeaders: envoy.DefaultMaxHeaders, MaxHeaderKB: envoy.DefaultMaxHeaderKB},
	}
}

// keys is the whole configuration file: a new key is a new line here and in its shape.
func (c *config) keys() fieldReader {
	return group(ConfigShape{}, map[string]fieldReader{
		"listen": group(ListenShape{}, map[string]fieldReader{
			"grpc":  text(&c.listen.grpc),
			"admin": text(&c.listen.admin),
			"tls": group(TLSShape{}, map[string]fieldReader{
				"cert_file":      file(&c.listen.tls.CertFile),
				"key_file":       file(&c.listen.tls.KeyFile),
				"client_ca_file": file(&c.listen.tls.ClientCAFile),
			}),
			"plaintext":   boolean(&c.listen.plaintext),
			"socket_mode": octal(&c.listen.socketMode),
		}),
		"policy":   file(&c.policy),
		"deadline": duration(&c.deadline),
		"jwt": group(JWTShape{}, map[string]fieldReader{
			"keys":          listOf(c.jwtKey),
			"issuer":        notEmptied(text(&c.jwt.issuer)),
			"audiences":     notEmptied(textList(&c.jwt.audiences)),
			"leeway":        duration(&c.jwt.leeway),
			"user_claim":    text(&c.jwt.userClaim),
			"session_claim": text(&c.jwt.sessionClaim),
		}),
		"api_key": group(APIKeyShape{}, map[string]fieldReader{
			"header": text(&c.apiKey),
		}),
		"sessions": group(SessionsShape{}, map[string]fieldReader{
			"redis_url":      secretText(&c.sessions.url),
			"redis_url_file": secretFile(&c.sessions.url),
			"key_template":   text(&c.sessions.keyTemplate),
			"consistency":    text(&c.sessions.consistency),
			"timeout":        duration(&c.sessions.timeout),
		}),
		"directory": group(DirectoryShape{}, map[string]fieldReader{
			"database_url":      secretText(&c.directory.url),
			"database_url_file": secretFile(&c.directory.url),
			"file":              file(&c.directory.file),
			"users_query":       text(&c.directory.usersQuery),
			"api_keys_query":    text(&c.directory.apiKeysQuery),
			"max_staleness":     duration(&c.directory.maxStaleness),
			"standby":           boolean(&c.directory.standby),
			"max_standby_lag":   duration(&c.directory.maxStandbyLag),
			"timeout":           duration(&c.directory.timeout),
		}),
		"client_ip": group(ClientIPShape{}, map[string]fieldReader{
			"source":               text(&c.clientIP.source),
			"trusted_proxies":      textList(&c.clientIP.trustedProxies),
			"xff_num_trusted_hops": integer(&c.clientIP.trustedHops),
			"header":               text(&c.clientIP.header),
		}),
		"log": group(LogShape{}, map[string]fieldReader{
			"level":          oneOf(&c.log.Level, "debug", "info", "warn", "error"),
			"format":         oneOf(&c.log.Format, "json", "text"),
			"decisions":      oneOf(&c.log.Decisions, logAll, logDeny, logNone),
			"sensitive_keys": textList(&c.sensitive),
		}),
		"identity": group(IdentityShape{}, map[string]fieldReader{
			"headers":              group(IdentityHeadersShape{}, c.identityHeaders()),
			"remove_api_key":       boolean(&c.identity.RemoveAPIKey),
			"remove_authorization": boolean(&c.identity.RemoveAuthorization),
		}),
		"strip_headers": textList(&c.identity.StripHeaders), // an empty list is not nil: it strips nothing
		"shutdown": group(ShutdownShape{}, map[string]fieldReader{
			"delay":   duration(&c.shutdown.Delay),
			"timeout": duration(&c.shutdown.Timeout),
		}),
		"envoy": group(EnvoyShape{}, map[string]fieldReader{
			"max_headers_count":      integer(&c.envoy.MaxHeaders),
			"max_request_headers_kb": integer(&c.envoy.MaxHeaderKB),
		}),
	})
}

func (c *config) jwtKey(i int) fieldReader {
	if i == len(c.jwt.keys) {
		c.jwt.keys = append(c.jwt.keys, jwtKeyConfig{algorithm: "HS256"})
	}
	return func(r *configReader, field string, v yamlValue) {
		k := &c.jwt.keys[i]
		k.secret.field = join(field, "secret")
		group(JWTKeyShape{}, map[string]fieldReader{
			"secret":      secretText(&k.secret),
			"secret_file": secretFile(&k.secret),
			"algorithm":   text(&k.algorithm),
			"kid":         text(&k.id),
		})(r, field, v)
	}
}

func (c *config) identityHeaders() map[string]fieldReader {
	fields := envoy.IdentityFields()
	keys := make(map[string]fieldReader, len(fields))
	for _, kind := range fields {
		keys[kind] = func(r *configReader, field string, v yamlValue) {
			var name string
			text(&name)(r, field, v)
			c.identity.Headers[kind] = name
		}
	}
	return keys
}

// octal reads a file mode. YAML may take 0660 for a number or for a text.
func octal(dst *string) fieldReader {
	return func(r *configReader, field string, v yamlValue) {
		if v.kind != yamlString && v.kind != yamlNumber {
			r.wrongKind(field, v, `a file mode such as "0660"`)
			return
		}
		*dst = v.text
	}
}

// readConfig reads the configuration: the file at path, then the environment,
// which has the last word. An empty path means the environment only.
func readConfig(path string, env lookupEnv) *config { return readConfigWith(path, env, env) }

// readConfigWith takes the variables in the file from one environment and what stands
// above the file from another.
func readConfigWith(path string, inFile, env lookupEnv) *config {
	c := defaultConfig()
	c.reader = &configReader{places: map[string]problem{}}
	if path != "" {
		root, found := readYAML(path, inFile)
		c.reader.problems, c.reader.incomplete = found, len(found) > 0
		c.reader.dir = filepath.Dir(path)
		c.read(root)
		c.reader.dir = ""
	}
	c.readEnvironment(env)
	return c
}

// readDecisive reads of a configuration what changes decisions and what the application is
// told, for commands that decide without the stores: its secrets are not read, and a
// variable that is not set may be one.
func readDecisive(path string, env lookupEnv) (*config, authz.ClientIPConfig, error) {
	open := func(name string) (string, bool) {
		value, _ := env(name)
		return value, true
	}
	c := readConfigWith(path, open, env)
	client := c.resolveClientIP()
	c.checkIdentity(&settings{APIKeyHeader: c.apiKey, Identity: c.identity})
	return c, client, c.reader.problems.err()
}

// read takes the values of a whole file.
func (c *config) read(root yamlValue) {
	c.reader.places[""] = root.place
	keys := make([]string, len(root.entries))
	for i, e := range root.entries {
		keys[i] = e.key
	}
	if other := policy.OtherFile("a configuration", keys); other != "" {
		c.reader.incomplete = true
		c.reader.fail("", "%s", other)
		return
	}
	c.keys()(c.reader, "", root)
}

// policyKnown reports whether the policy is the one that is meant: a file that could not be
// read may name another than the usual one.
func (c *config) policyKnown() bool { return !c.reader.incomplete || c.policy != defaultPolicyPath }

// configFlagOr returns the file that the flag or WARDER_CONFIG names, "" for none: for
// commands that can do without a configuration.
func configFlagOr(flag string, env lookupEnv) string {
	if named, set := env("WARDER_CONFIG"); flag == "" && set {
		return named
	}
	return flag
}

// findConfig returns the configuration file to read: the one that the flag or
// WARDER_CONFIG names, else the usual one when it is there, else "".
func findConfig(flag string, env lookupEnv) (string, error) {
	if path := configFlagOr(flag, env); path != "" {
		return path, nil
	}
	_, err := os.Stat(defaultConfigPath)
	switch {
	case err == nil:
		return defaultConfigPath, nil
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	}
	return "", problems{{File: defaultConfigPath, Message: bare(err).Error()}}
}
