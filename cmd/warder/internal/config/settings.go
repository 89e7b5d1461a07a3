package config

import (
	"io/fs"
	"net/netip"
	"time"

	"warder/authz"
	"warder/authz/mask"
	"warder/authz/token"
	"warder/envoy"
)

// Settings are a configuration that was checked as a whole and whose secrets
// were read: what a server is made of. Secrets in it print masked.
type Settings struct {
	Listen       Listen
	Policy       string // a file or a folder
	Deadline     time.Duration
	JWT          JWT
	APIKeyHeader string
	Sessions     Sessions
	Directory    Directory
	ClientIP     authz.ClientIPConfig
	Log          Log
	Identity     Identity
	Shutdown     Shutdown
	Envoy        Envoy
}

// Listen say where the listeners are bound.
type Listen struct {
	GRPC, Admin Address
	TLS         TLS
	SocketMode  fs.FileMode
}

// TLS name the files; all empty means plaintext.
type TLS struct {
	CertFile, KeyFile string
	ClientCAFile      string // when set, a client needs a certificate of it
}

// Enabled reports whether there is a certificate.
func (t TLS) Enabled() bool { return t.CertFile != "" }

// An Address is where a listener is bound: "tcp" with host:port, or "unix" with
// the path of a socket.
type Address struct{ Network, Address string }

// String writes the address as the configuration does.
func (a Address) String() string {
	if a.Network == "unix" {
		return "unix://" + a.Address
	}
	return a.Address
}

// JWT say how tokens are verified.
type JWT struct {
	Keys                    []JWTKey
	Issuer                  string
	Audiences               []string
	Leeway                  time.Duration
	UserClaim, SessionClaim string
}

// A JWTKey verifies the tokens that name it.
type JWTKey struct {
	ID        string
	Algorithm string
	Secret    mask.Secret
}

// rememberedTokens bounds the tokens that are kept so as not to be verified anew, in
// bytes: some 20,000 usual ones.
const rememberedTokens = 16 << 20

// Verifier makes the verifier of the keys; every problem of them is in the error.
func (s JWT) Verifier() (*token.Verifier, error) {
	c := token.Config{
		Issuer: s.Issuer, Audiences: s.Audiences, Leeway: s.Leeway, UserClaim: s.UserClaim, SessionClaim: s.SessionClaim,
		Remember: rememberedTokens,
	}
	for _, k := range s.Keys {
		c.Keys = append(c.Keys, token.Key{ID: k.ID, Algorithm: k.Algorithm, Secret: []byte(k.Secret.Reveal())})
	}
	return token.NewVerifier(c)
}

// Sessions say where sessions are.
type Sessions struct {
	RedisURL    mask.Secret // memory:// for sessions in memory
	KeyTemplate string
	Tracked     bool // facts are kept while Redis announces changes
	Timeout     time.Duration
}

// InMemory reports whether sessions are kept in this process.
func (s Sessions) InMemory() bool { return s.RedisURL.Reveal() == memoryURL }

// memoryURL asks for sessions in memory: those of directory.file, or none.
const memoryURL = "memory://"

// Directory name a database or a file, one of them.
type Directory struct {
	DatabaseURL              mask.Secret
	File                     string
	UsersQuery, APIKeysQuery string
	MaxStaleness             time.Duration // 0: no fact is kept
	Standby                  bool          // a standby may answer …
	MaxStandbyLag            time.Duration // … whose data is no older
	Timeout                  time.Duration
}

// Log say what warder writes about itself and about its decisions.
type Log struct {
	Level     string // debug, info, warn or error
	Format    string // json or text
	Decisions Decisions
	// Mask knows the secrets, with the keys of log.sensitive_keys; nil knows those
	// that are built in.
	Mask *mask.Masker
}

// Decisions says which decisions are written to standard output.
type Decisions string

// The decisions that are written.
const (
	LogAll  Decisions = "all"
	LogDeny Decisions = "deny"
	LogNone Decisions = "none"
)

// Identity say what the application is told of who is asking.
type Identity struct {
	Headers             map[string]string // renamed ones: user, roles, … to a header
	RemoveAPIKey        bool
	RemoveAuthorization bool
	StripHeaders        []string // nil: the usual ones
}

// IdentityConfig is what package envoy needs to tell the application who is asking.
func (s *Settings) IdentityConfig() envoy.IdentityConfig {
	return envoy.IdentityConfig{
		Headers:             s.Identity.Headers,
		APIKeyHeader:        s.APIKeyHeader,
		KeepAPIKey:          !s.Identity.RemoveAPIKey,
		RemoveAuthorization: s.Identity.RemoveAuthorization,
		StripHeaders:        s.Identity.StripHeaders,
	}
}

// Shutdown say how long a server takes to end.
type Shutdown struct {
	Delay   time.Duration // how long a server that says it is not ready still serves
	Timeout time.Duration // how long checks in flight may take after that
}

// Envoy are the limits of Envoy on the headers of a request.
type Envoy struct{ MaxHeaders, MaxHeaderKB int }

// proxyNetwork reads an entry of client_ip.trusted_proxies: a network, or an
// address that stands for itself.
func proxyNetwork(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

// DefaultSettings are those of a configuration that says nothing, without what
// has no default: the policy, the keys and the stores.
func DefaultSettings() *Settings {
	c := defaultConfig()
	return &Settings{
		Listen: Listen{
			GRPC:       Address{"tcp", c.Listen.GRPC},
			Admin:      Address{"tcp", c.Listen.Admin},
			SocketMode: 0o660,
		},
		Deadline:     c.Deadline,
		JWT:          JWT{UserClaim: c.JWT.UserClaim, SessionClaim: c.JWT.SessionClaim},
		APIKeyHeader: c.APIKey.Header,
		Sessions:     Sessions{KeyTemplate: c.Sessions.KeyTemplate, Timeout: c.Sessions.Timeout},
		Directory: Directory{
			UsersQuery: c.Directory.UsersQuery, APIKeysQuery: c.Directory.APIKeysQuery, Timeout: c.Directory.Timeout,
		},
		Log:      Log{Level: string(c.Log.Level), Format: string(c.Log.Format), Decisions: Decisions(c.Log.Decisions)},
		Identity: Identity{RemoveAPIKey: true},
		Shutdown: Shutdown(c.Shutdown),
		Envoy:    Envoy{int(c.Envoy.MaxHeaders), int(c.Envoy.MaxHeaderKB)},
	}
}
