package config

import (
	"io/fs"
	"net/netip"
	"time"

	"warder/authz"
	"warder/authz/mask"
	"warder/authz/postgres"
	"warder/authz/redis"
	"warder/envoy"
)

// Settings are a validated configuration with its secrets read. A server is made from them.
// Secrets in Settings are masked when printed.
type Settings struct {
	Listen    Listen
	Policy    string // a file or a folder
	Deadline  time.Duration
	JWT       JWT
	Sources   authz.Sources // where requests carry credentials
	Sessions  Sessions
	Directory Directory
	ClientIP  authz.ClientIPConfig
	Log       Log
	Identity  Identity
	Shutdown  Shutdown
	Envoy     Envoy
	// Choices say what the settings choose not to check, a line each. They are among the warnings,
	// and in /readyz.
	Choices []string
}

// Listen contains the settings of the listeners.
type Listen struct {
	GRPC, Admin Address
	TLS         TLS
	SocketMode  fs.FileMode
}

// TLS contains the names of the certificate files. If all are empty, the listener is
// plaintext.
type TLS struct {
	CertFile, KeyFile string
	ClientCAFile      string // if set, clients need a certificate signed by this CA
}

// Enabled reports whether a certificate is configured.
func (t TLS) Enabled() bool { return t.CertFile != "" }

// An Address is the address of a listener. Network is "tcp" with Address host:port, or "unix"
// with Address the path of a socket.
type Address struct{ Network, Address string }

// String writes the address as the configuration does.
func (a Address) String() string {
	if a.Network == "unix" {
		return "unix://" + a.Address
	}
	return a.Address
}

// Sessions contains the settings of the session store.
type Sessions struct {
	Rule        SessionRule // with RuleNone nothing else is set
	RedisURL    mask.Secret // memory:// for sessions in memory
	Password    mask.Secret // the password that RedisURL leaves out, if any
	TLS         ClientTLS
	KeyTemplate string        // with RulePresent
	Absent      *redis.Absent // with RuleAbsent
	Tracked     bool          // cache sessions while Redis announces changes
	Timeout     time.Duration
	// The files that the two secrets are from, if any.
	RedisURLFile, PasswordFile SecretFile
	PasswordCommand            *PasswordCommand // prints Password; nil if no program does
	Sentinel                   Sentinel
}

// Sentinel contains the settings of the Sentinels of the URL.
type Sentinel struct {
	MasterName, Username string
	Password             mask.Secret
	PasswordFile         SecretFile
}

// ClientTLS contains the names of certificate files for connections to a server, and the name that
// the server's certificate must have if that is not the host.
type ClientTLS struct{ CAFile, CertFile, KeyFile, ServerName string }

// InRedis reports whether Redis is asked about sessions.
func (s Sessions) InRedis() bool { return s.Rule != RuleNone && !s.InMemory() }

// InMemory reports whether sessions are kept in this process.
func (s Sessions) InMemory() bool { return s.RedisURL.Reveal() == memoryURL }

// memoryURL selects sessions in memory: those of directory.file, or none without that file.
const memoryURL = "memory://"

// Directory contains the settings of the directory, which is either a database or a file.
type Directory struct {
	DatabaseURL              mask.Secret
	Password                 mask.Secret // the password that DatabaseURL leaves out, if any
	File                     string
	UsersQuery, APIKeysQuery string
	Commands                 postgres.Commands // of warder key
	NoAPIKeys                bool              // API keys are off
	UsersInTokens            bool              // the roles and the state of users are in tokens
	NoUsers                  bool              // users are in tokens, and the owners of API keys cannot be looked up
	MaxStaleness             time.Duration     // 0 disables the cache
	Standby                  bool              // a standby may answer
	MaxStandbyLag            time.Duration     // the maximum age of the data of a standby
	MaxConnections           int
	Timeout                  time.Duration
	// The files that the two secrets are from, if any.
	DatabaseURLFile, PasswordFile SecretFile
	PasswordCommand               *PasswordCommand // prints Password; nil if no program does
}

// UsesDatabase reports whether there is a database to ask.
func (d Directory) UsesDatabase() bool { return d.File == "" && (!d.NoUsers || !d.NoAPIKeys) }

// Log contains the settings of warder's own log and the decision log.
type Log struct {
	Level     string // debug, info, warn or error
	Format    string // json or text
	Decisions Decisions
	// Mask masks secrets, including the values of log.sensitive_keys, without those of
	// log.keep_keys. A nil Mask knows only the built-in keys.
	Mask *mask.Masker
}

// Decisions selects the decisions that are written to standard output.
type Decisions string

// The values of Decisions.
const (
	LogAll  Decisions = "all"
	LogDeny Decisions = "deny"
	LogNone Decisions = "none"
)

// Identity contains the settings of the headers that identify the principal to the application.
type Identity struct {
	Headers             map[string]string // renamed headers; maps user, roles and so on to a header name
	Attributes          map[string]string // headers for attributes, by the name of the attribute
	RemoveAPIKey        bool
	RemoveAuthorization bool
	RemoveCredentials   bool
	StripHeaders        []string // nil means the default headers
}

// IdentityConfig returns the configuration of package envoy for the identity headers.
func (s *Settings) IdentityConfig() envoy.IdentityConfig {
	return envoy.IdentityConfig{
		Headers:             s.Identity.Headers,
		Attributes:          s.Identity.Attributes,
		Sources:             s.Sources,
		KeepAPIKey:          !s.Identity.RemoveAPIKey,
		RemoveAuthorization: s.Identity.RemoveAuthorization,
		RemoveCredentials:   s.Identity.RemoveCredentials,
		StripHeaders:        s.Identity.StripHeaders,
	}
}

// Shutdown contains the time limits of the shutdown.
type Shutdown struct {
	Delay   time.Duration // how long the server still serves after it reports that it is not ready
	Timeout time.Duration // how long checks in flight may take after Delay
}

// Envoy contains Envoy's limits for the headers of a request, and what it is sent.
type Envoy struct {
	MaxHeaders, MaxHeaderKB int
	Summary                 bool // metadata is sent as a summary
}

func (k EnvoyKeys) settings() Envoy {
	return Envoy{int(k.MaxHeaders), int(k.MaxHeaderKB), k.Metadata == metadataSummary}
}

// proxyNetwork parses an entry of client_ip.trusted_proxies, which is a network or a single
// address.
func proxyNetwork(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

// DefaultSettings returns the settings of an empty configuration. They do not include the
// policy, the keys and the stores, which have no default.
func DefaultSettings() *Settings {
	c := defaultConfig()
	return &Settings{
		Listen: Listen{
			GRPC:       Address{"tcp", c.Listen.GRPC},
			Admin:      Address{"tcp", c.Listen.Admin},
			SocketMode: 0o660,
		},
		Deadline: c.Deadline,
		JWT:      JWT{UserClaim: c.JWT.UserClaim, SessionClaim: c.JWT.SessionClaim, Overlap: c.JWT.Overlap},
		Sources:  c.Sources(),
		Sessions: Sessions{Rule: RulePresent, KeyTemplate: c.Sessions.KeyTemplate[0], Timeout: c.Sessions.Timeout},
		Directory: Directory{
			UsersQuery: c.Directory.UsersQuery, APIKeysQuery: c.Directory.APIKeysQuery, Timeout: c.Directory.Timeout,
		},
		Log:      Log{Level: string(c.Log.Level), Format: string(c.Log.Format), Decisions: Decisions(c.Log.Decisions)},
		Identity: Identity{RemoveAPIKey: true},
		Shutdown: Shutdown(c.Shutdown),
		Envoy:    c.Envoy.settings(),
	}
}
