package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"warder/authz"
	"warder/authz/mask"
	"warder/authz/postgres"
	"warder/cmd/warder/internal/cli"
	"warder/envoy"
)

// Limits of configuration values. They only catch mistakes such as 10m for 10ms.
const (
	maxDeadline = 10 * time.Second
	// envoyTimeout is the timeout of a check in the Envoy configurations that come with
	// warder.
	envoyTimeout = 500 * time.Millisecond
	maxStaleness = time.Hour
	maxShutdown  = 5 * time.Minute
	maxOverlap   = 24 * time.Hour
	maxHeaderKB  = 8192 // the limit in Envoy itself

	// The words of envoy.metadata.
	metadataFields  word = "fields"
	metadataSummary word = "summary"
	// With fewer connections, unknown users could hold all of them.
	minConnections = 4
	maxConnections = 1000

	shutdownRange = "0s to 5m"
)

// Resolve validates the whole configuration and reads its secrets. The error contains all
// problems, including those found while reading the configuration. The warnings are about
// settings that are valid but probably not intended.
func (c *Config) Resolve() (s *Settings, warnings cli.Problems, err error) {
	r := c.reader
	s = &Settings{
		Policy:   string(c.Policy),
		Deadline: c.Deadline,
		Sources:  c.Sources(),
		Log:      Log{Level: string(c.Log.Level), Format: string(c.Log.Format), Decisions: Decisions(c.Log.Decisions)},
		Identity: c.IdentitySettings(),
		Shutdown: Shutdown(c.Shutdown),
		Envoy:    c.Envoy.settings(),
	}
	s.Listen = c.resolveListen()
	c.checkBudgets()
	s.JWT = c.resolveJWT()
	s.Sessions = c.resolveSessions()
	s.Directory = c.resolveDirectory()
	s.ClientIP = c.resolveClientIP()
	c.checkIdentity(s)
	s.Log.Mask = c.resolveMask()
	if s.Directory.UsersInTokens && s.Directory.NoAPIKeys && s.Directory.File != "" && !s.Sessions.InMemory() {
		r.warn("directory.file", "is not used, because users are in tokens, directory.api_keys is off and sessions are not in memory; leave it out")
	}
	if s.Sessions.InMemory() && s.Directory.File == "" {
		c.warnNoFile(s.Sessions)
	}
	c.checkRevocations(s)
	c.choose(s)
	if len(r.Problems) > 0 {
		return nil, r.warnings.Sorted(), r.Problems.Err()
	}
	return s, r.warnings.Sorted(), nil
}

// checkBudgets checks that the timeouts of the stores are below the deadline of a check, and
// that the deadline is below Envoy's timeout. Otherwise Envoy would answer instead of warder.
func (c *Config) checkBudgets() {
	r := c.reader
	if c.Deadline <= 0 || c.Deadline > maxDeadline {
		r.fail("deadline", "is %v; use more than 0s and at most %v, below the timeout of Envoy's ext_authz filter", c.Deadline, maxDeadline)
	}
	if c.Deadline >= envoyTimeout && c.Deadline <= maxDeadline {
		r.warn("deadline", "is %v, and Envoy gives the whole check %v in the configurations that warder ships: Envoy answers before warder does; lower it, or raise the timeout of ext_authz above it", c.Deadline, envoyTimeout)
	}
	for _, store := range []struct {
		field   string
		timeout time.Duration
	}{{"sessions.timeout", c.Sessions.Timeout}, {"directory.timeout", c.Directory.Timeout}} {
		origin := ""
		if !r.given(store.field) {
			origin = " (the default)"
		}
		switch {
		case store.timeout <= 0:
			r.fail(store.field, "is %v; use more than 0s and less than the deadline, %v", store.timeout, c.Deadline)
		case store.timeout >= c.Deadline && c.Deadline > 0:
			r.fail(store.field, "is %v%s, which is not below the deadline, %v; lower it or raise the deadline", store.timeout, origin, c.Deadline)
		}
	}
	if c.Directory.MaxStaleness < 0 || c.Directory.MaxStaleness > maxStaleness {
		r.fail("directory.max_staleness", "is %v; use 0s to %v", c.Directory.MaxStaleness, maxStaleness)
	}
	switch lag := c.Directory.MaxStandbyLag; {
	case lag <= 0 || lag > maxStaleness:
		r.fail("directory.max_standby_lag", "is %v; use more than 0s and at most %v", lag, maxStaleness)
	case r.given("directory.max_standby_lag") && !c.Directory.Standby:
		r.warn("directory.max_standby_lag", "has no effect, because no standby may answer; set directory.standby: true or leave it out")
	}
	if n := c.Directory.MaxConnections; n < minConnections || n > maxConnections {
		r.fail("directory.max_connections", "is %d; use %d to %d", n, minConnections, maxConnections)
	}
	if c.Directory.Standby && c.Directory.File != "" {
		r.warn("directory.standby", "has no effect, because users and keys are in directory.file; leave it out")
	}
	if c.Shutdown.Delay < 0 || c.Shutdown.Delay > maxShutdown {
		r.fail("shutdown.delay", "is %v; use %s", c.Shutdown.Delay, shutdownRange)
	}
	if n := c.Envoy.MaxHeaders; n < 1 || n > envoy.MaxHeaders {
		r.fail("envoy.max_headers_count", "is %d; use the number that Envoy has, 1 to %d", n, envoy.MaxHeaders)
	}
	if n := c.Envoy.MaxHeaderKB; n < 1 || n > maxHeaderKB {
		r.fail("envoy.max_request_headers_kb", "is %d; use the number that Envoy has, 1 to %d", n, maxHeaderKB)
	}
	if c.Shutdown.Timeout < 0 || c.Shutdown.Timeout > maxShutdown {
		r.fail("shutdown.timeout", "is %v; use %s", c.Shutdown.Timeout, shutdownRange)
	}
}

func (c *Config) resolveListen() Listen {
	r, l := c.reader, c.Listen
	tls := TLS{string(l.TLS.CertFile), string(l.TLS.KeyFile), string(l.TLS.ClientCAFile)}
	s := Listen{TLS: tls, SocketMode: c.socketMode()}
	s.GRPC, _ = c.resolveAddress("listen.grpc", l.GRPC)
	s.Admin, _ = c.resolveAddress("listen.admin", l.Admin)
	if s.GRPC == s.Admin && s.GRPC.Address != "" && !strings.HasSuffix(s.GRPC.Address, ":0") {
		r.fail("listen.admin", "is also the address of listen.grpc; give each its own")
	}
	switch {
	case (tls.CertFile == "") != (tls.KeyFile == ""):
		r.fail("listen.tls", "needs both cert_file and key_file")
	case tls.ClientCAFile != "" && tls.CertFile == "":
		r.fail("listen.tls", "has a client_ca_file but no certificate of its own; give cert_file and key_file")
	case tls.Enabled():
		if _, err := LoadTLS(tls); err != nil {
			r.failWith("listen.tls", "", err)
		}
	case s.GRPC.Network == "tcp" && !isLoopback(s.GRPC.Address) && !l.Plaintext:
		r.fail("listen.grpc", "%s takes tokens and API keys unencrypted from other machines; listen on a loopback address or a unix socket (unix:///run/warder/warder.sock), "+
			"or set listen.tls, or accept it with listen.plaintext: true", s.GRPC.Address)
	}
	return s
}

// resolveAddress parses host:port or unix:///path. The host must be an IP address or
// localhost, so that the listener does not depend on a name service.
func (c *Config) resolveAddress(field, value string) (Address, bool) {
	r := c.reader
	value = withoutNewline(value)
	if path, ok := strings.CutPrefix(value, "unix://"); ok {
		if !filepath.IsAbs(path) || strings.HasSuffix(path, "/") {
			r.fail(field, "%q is not the path of a socket; write one such as unix:///run/warder/warder.sock", value)
			return Address{}, false
		}
		if max(len(path), len(filepath.Dir(path))+len("/.w1234567890/s")) > maxSocketPath {
			r.fail(field, "%q is too long for a socket; choose a path of less than 90 bytes", value)
			return Address{}, false
		}
		return Address{"unix", filepath.Clean(path)}, true
	}
	host, port, err := net.SplitHostPort(value)
	if err == nil {
		if _, portErr := strconv.ParseUint(port, 10, 16); portErr != nil {
			err = portErr
		}
		if _, hostErr := netip.ParseAddr(host); hostErr != nil && host != "" && host != "localhost" {
			err = hostErr
		}
	}
	if err != nil {
		r.fail(field, "%q is not an address to listen on; write one such as 127.0.0.1:9191 or unix:///run/warder/warder.sock", value)
		return Address{}, false
	}
	return Address{"tcp", value}, true
}

// maxSocketPath is the maximum length of a path in sockaddr_un on Linux, without the final
// zero byte.
const maxSocketPath = 107

func isLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func (c *Config) socketMode() fs.FileMode {
	mode, err := strconv.ParseUint(strings.TrimPrefix(string(c.Listen.SocketMode), "0o"), 8, 32)
	if err != nil || mode > 0o777 || mode&0o600 != 0o600 {
		c.reader.fail("listen.socket_mode", `%q is not a file mode for a socket; write one such as "0660", with at least 0600`, string(c.Listen.SocketMode))
		return 0
	}
	return fs.FileMode(mode)
}

// The values of directory.users.
const (
	usersInDatabase = "database"
	usersInTokens   = "token"
)

// checkUsers warns of what has no effect where users are in tokens and there are no API keys.
func (c *Config) checkUsers(s Directory) {
	r := c.reader
	if !s.UsersInTokens || !s.NoAPIKeys {
		return
	}
	if r.given("directory.users_query") {
		r.warn("directory.users_query", "has no effect, because users are in tokens and there are no API keys whose owners it could find; leave it out")
	}
	if s.File == "" && c.databaseURL().isSet() {
		r.warn("directory.database_url", "is not used, because users are in tokens and directory.api_keys is off; leave it out")
	}
}

func (c *Config) resolveDirectory() Directory {
	r, d := c.reader, &c.Directory
	s := Directory{
		File: string(d.File), UsersQuery: d.UsersQuery, APIKeysQuery: d.APIKeysQuery, Commands: postgres.Commands(d.Commands), NoAPIKeys: c.APIKeysOff(),
		UsersInTokens: c.UsersInTokens(), NoUsers: c.UsersInTokens() && d.File == "" && (!c.OwnersKnown() || c.APIKeysOff()),
		MaxStaleness: d.MaxStaleness, Standby: d.Standby, MaxStandbyLag: d.MaxStandbyLag, Timeout: d.Timeout,
		MaxConnections: int(d.MaxConnections),
	}
	if s.NoAPIKeys && r.given("directory.api_keys_query") {
		r.warn("directory.api_keys_query", "has no effect, because directory.api_keys is off; leave it out")
	}
	c.checkUsers(s)
	if d.File == "" && !s.UsesDatabase() {
		return s
	}
	source := c.databaseURL()
	url, ok := source.read(r)
	switch {
	case source.isSet() && d.File != "":
		r.fail("directory.file", "is set together with %s; keep one of the two", sourceName(r.at(source.field), "database_url"))
	case ok:
		s.DatabaseURL, s.DatabaseURLFile = url, source.file()
		s.Password, s.PasswordFile = c.passwordFile("directory.password_file", d.PasswordFile)
		s.PasswordCommand = c.passwordCommand("directory", d.PasswordCommand, d.PasswordLifetime)
		store := s.Postgres(nil)
		if s.PasswordCommand != nil {
			store.Password = anyPassword
		}
		if err := store.Validate(); err != nil {
			r.failWith("directory.database_url", "", s.PasswordCommand.naming(err))
		}
		for _, warning := range store.Warnings() {
			r.warn("directory.database_url", "%s", warning)
		}
	case d.File != "":
		if d.PasswordFile != "" {
			r.warn("directory.password_file", "is not looked at, because users and keys are in directory.file; leave it out")
		}
		if len(d.PasswordCommand) > 0 {
			r.warn("directory.password_command", "is not run, because users and keys are in directory.file; leave it out")
		}
		if _, err := OpenDirectory(s); err != nil {
			r.directoryFile(s.File, err)
		}
	case s.UsersInTokens && !r.incomplete && !source.isSet() && !r.given("directory.file") && !r.given("directory.database_url") && !r.given("directory.database_url_file"):
		r.fail("directory", "has no place of API keys; write directory.api_keys: off if there are none, or set DATABASE_URL or DATABASE_URL_FILE, or database_url, database_url_file or file")
	case !r.incomplete && !source.isSet() && !r.given("directory.file") && !r.given("directory.database_url") && !r.given("directory.database_url_file"):
		r.fail("directory", "missing; set DATABASE_URL or DATABASE_URL_FILE, or directory.database_url, database_url_file or file in the configuration file")
	}
	return s
}

// passwordFile reads a file with a password. If there is none, or a problem was reported, the
// password is "".
func (c *Config) passwordFile(field string, path filePath) (mask.Secret, SecretFile) {
	file := SecretFile{Key: field, Path: string(path)}
	if path == "" {
		return mask.Secret{}, SecretFile{}
	}
	password, err := file.Read()
	if err != nil {
		c.reader.fail(field, "%v", err)
	}
	return password, file
}

// directoryFile reports the problems of the directory file. If the file cannot be read, the
// problem is reported at the key that names it. Problems of its content are reported at the
// places in the file that the error names.
func (r *configReader) directoryFile(path string, err error) {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		r.fail("directory.file", "%s %v", path, cli.Bare(pathError))
		return
	}
	r.Problems = append(r.Problems, cli.ProblemsOf(path, err)...)
}

// sourceName describes where the other of two conflicting values was given.
func sourceName(place cli.Problem, key string) string {
	if place.File == environmentFile {
		return "the variable " + place.Field
	}
	return key
}

func (c *Config) resolveClientIP() authz.ClientIPConfig {
	r := c.reader
	s := authz.ClientIPConfig{Source: authz.ClientIPSource(c.ClientIP.Source), TrustedHops: int(c.ClientIP.TrustedHops), Header: c.ClientIP.Header}
	const list = "client_ip.trusted_proxies"
	for i, text := range c.ClientIP.TrustedProxies {
		network, err := proxyNetwork(text)
		if err != nil {
			r.fail(list, "%q (entry %d) is not a network; write one such as 10.0.0.0/8 or 2001:db8::/32", text, i+1)
			continue
		}
		s.TrustedProxies = append(s.TrustedProxies, network)
	}
	if _, err := authz.NewClientIPResolver(s); err != nil {
		r.failWith("client_ip", "", err)
	}
	if s.Source == authz.SourceLeftmostForwardedFor {
		r.warn("client_ip.source", "leftmost_forwarded_for trusts what any client writes into X-Forwarded-For, so client_ips exclude nobody; use trusted_proxies with the networks of your proxies")
	}
	for _, unused := range []struct {
		field  string
		source authz.ClientIPSource
	}{
		{list, authz.SourceTrustedProxies},
		{"client_ip.xff_num_trusted_hops", authz.SourceTrustedHops},
		{"client_ip.header", authz.SourceHeader},
	} {
		if r.given(unused.field) && s.Source != unused.source && (unused.field != list || len(s.TrustedProxies) > 0) {
			r.warn(unused.field, "has no effect, because client_ip.source is %s; set client_ip.source: %s or leave it out", s.Source, unused.source)
		}
	}
	return s
}

// resolveMask adds the sensitive keys of the configuration to the built-in ones, and takes out
// those that it keeps.
func (c *Config) resolveMask() *mask.Masker {
	r, good := c.reader, true
	fail := func(field string, err error) {
		good = false
		r.fail(field, "%v", err)
	}
	for i, key := range c.Log.SensitiveKeys {
		if _, err := mask.NewMasker(key); err != nil {
			fail(fmt.Sprintf("log.sensitive_keys[%d]", i), err)
		}
	}
	for i, key := range c.Log.KeepKeys {
		field := fmt.Sprintf("log.keep_keys[%d]", i)
		switch _, err := mask.NewMaskerKeeping(nil, []string{key}); {
		case err != nil:
			fail(field, err)
		case (&mask.Masker{}).SensitiveKey(key) || (&mask.Masker{}).SensitiveInQuery(key):
			r.warn(field, "%s", mask.KeptWarning(key))
		default:
			r.warn(field, "%q is not a sensitive key, so that its values are not masked anyway; leave it out", key)
		}
	}
	sensitive := c.Log.SensitiveKeys
	for _, name := range c.sourceNames() {
		if known := (&mask.Masker{}); !known.SensitiveKey(name) {
			sensitive = append(slices.Clip(sensitive), name)
		}
	}
	masker, err := mask.NewMaskerKeeping(sensitive, c.Log.KeepKeys)
	if err != nil && good {
		fail("log.keep_keys", err)
	}
	return masker // an error prevents the start
}

// checkIdentity has package envoy check the identity headers and the sources of credentials, and
// reports problems under their keys in the configuration.
func (c *Config) checkIdentity(s *Settings) {
	r := c.reader
	if _, err := envoy.NewServer(envoy.Config{Decider: (*authz.Engine)(nil), Identity: s.IdentityConfig()}); err != nil {
		r.failWith("identity", "", err)
	}
	c.warnUnsupplied(s)
	if !c.Identity.RemoveCredentials {
		return
	}
	if r.given("identity.remove_api_key") && !c.Identity.RemoveAPIKey {
		r.fail("identity.remove_api_key", "is false, and identity.remove_credentials is true; leave one of the two out")
	}
	tokens, apiKeys := s.Sources.All()
	for i, source := range tokens {
		if source.Query != "" {
			r.warn(s.Sources.TokenField(i), "identity.remove_credentials does not remove %s, which is part of the path: the application sees the token", source)
		}
	}
	for i, source := range apiKeys {
		if source.Query != "" {
			r.warn(s.Sources.APIKeyField(i), "identity.remove_credentials does not remove %s, which is part of the path: the application sees the key", source)
		}
	}
}

// Sources returns where requests carry credentials.
func (c *Config) Sources() authz.Sources {
	var s authz.Sources
	for _, k := range c.JWT.Sources {
		s.Tokens = append(s.Tokens, authz.Source(k))
	}
	for _, k := range c.APIKey.Sources {
		s.APIKeys = append(s.APIKeys, authz.Source{Header: k.Header, Query: k.Query, Scheme: k.Scheme})
	}
	if s.APIKeys == nil || c.reader != nil && c.reader.given("api_key.header") {
		s.APIKeyHeader = c.APIKey.Header
	}
	return s
}

// sourceNames returns the names under which logs could contain a credential.
func (c *Config) sourceNames() (names []string) {
	s := c.Sources()
	for _, source := range slices.Concat(s.Tokens, s.APIKeys) {
		for _, name := range []string{source.Cookie, source.Query, source.Header} {
			if name != "" {
				names = append(names, name)
			}
		}
	}
	return names
}

// IdentitySettings returns the settings of the identity headers for the application.
func (c *Config) IdentitySettings() Identity {
	i := c.Identity
	return Identity{
		Headers: i.Headers.renamed(), Attributes: i.Attributes, RemoveAPIKey: i.RemoveAPIKey, RemoveAuthorization: i.RemoveAuthorization, RemoveCredentials: i.RemoveCredentials, StripHeaders: c.StripHeaders,
	}
}
