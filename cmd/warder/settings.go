package main

import (
	"io/fs"
	"net/netip"
	"time"

	"warder/authz"
	"warder/authz/mask"
	"warder/authz/token"
	"warder/envoy"
)

// settings are a configuration that was checked as a whole and whose secrets
// were read: what a [server] is made of. Secrets in it print masked.
type settings struct {
	Listen       listenSettings
	Policy       string // a file or a folder
	Deadline     time.Duration
	JWT          jwtSettings
	APIKeyHeader string
	Sessions     sessionsSettings
	Directory    directorySettings
	ClientIP     authz.ClientIPConfig
	Log          logSettings
	Identity     identitySettings
	Shutdown     shutdownSettings
	Envoy        envoySettings
}

type listenSettings struct {
	GRPC, Admin address
	TLS         tlsSettings
	SocketMode  fs.FileMode
}

// tlsSettings name the files; all empty means plaintext.
type tlsSettings struct {
	CertFile, KeyFile string
	ClientCAFile      string // when set, a client needs a certificate of it
}

func (t tlsSettings) enabled() bool { return t.CertFile != "" }

// An address is where a listener is bound: "tcp" with host:port, or "unix" with
// the path of a socket.
type address struct{ Network, Address string }

// String writes the address as the configuration does.
func (a address) String() string {
	if a.Network == "unix" {
		return "unix://" + a.Address
	}
	return a.Address
}

type jwtSettings struct {
	Keys                    []jwtKey
	Issuer                  string
	Audiences               []string
	Leeway                  time.Duration
	UserClaim, SessionClaim string
}

type jwtKey struct {
	ID        string
	Algorithm string
	Secret    mask.Secret
}

// rememberedTokens bounds the tokens that are kept so as not to be verified anew, in
// bytes: some 20,000 usual ones.
const rememberedTokens = 16 << 20

// verifier makes the verifier of the keys; every problem of them is in the error.
func (s jwtSettings) verifier() (*token.Verifier, error) {
	c := token.Config{
		Issuer: s.Issuer, Audiences: s.Audiences, Leeway: s.Leeway, UserClaim: s.UserClaim, SessionClaim: s.SessionClaim,
		Remember: rememberedTokens,
	}
	for _, k := range s.Keys {
		c.Keys = append(c.Keys, token.Key{ID: k.ID, Algorithm: k.Algorithm, Secret: []byte(k.Secret.Reveal())})
	}
	return token.NewVerifier(c)
}

type sessionsSettings struct {
	RedisURL    mask.Secret // memory:// for sessions in memory
	KeyTemplate string
	Tracked     bool // facts are kept while Redis announces changes
	Timeout     time.Duration
}

func (s sessionsSettings) inMemory() bool { return s.RedisURL.Reveal() == memoryURL }

// memoryURL asks for sessions in memory: those of directory.file, or none.
const memoryURL = "memory://"

// directorySettings name a database or a file, one of them.
type directorySettings struct {
	DatabaseURL              mask.Secret
	File                     string
	UsersQuery, APIKeysQuery string
	MaxStaleness             time.Duration // 0: no fact is kept
	Standby                  bool          // a standby may answer …
	MaxStandbyLag            time.Duration // … whose data is no older
	Timeout                  time.Duration
}

type logSettings struct {
	Level     string // debug, info, warn or error
	Format    string // json or text
	Decisions logDecisions
	// Mask knows the secrets, with the keys of log.sensitive_keys; nil knows those
	// that are built in.
	Mask *mask.Masker
}

// logDecisions says which decisions are written to standard output.
type logDecisions string

const (
	logAll  logDecisions = "all"
	logDeny logDecisions = "deny"
	logNone logDecisions = "none"
)

type identitySettings struct {
	Headers             map[string]string // renamed ones: user, roles, … to a header
	RemoveAPIKey        bool
	RemoveAuthorization bool
	StripHeaders        []string // nil: the usual ones
}

func (s *settings) identity() envoy.IdentityConfig {
	return envoy.IdentityConfig{
		Headers:             s.Identity.Headers,
		APIKeyHeader:        s.APIKeyHeader,
		KeepAPIKey:          !s.Identity.RemoveAPIKey,
		RemoveAuthorization: s.Identity.RemoveAuthorization,
		StripHeaders:        s.Identity.StripHeaders,
	}
}

type shutdownSettings struct {
	Delay   time.Duration // how long a server that says it is not ready still serves
	Timeout time.Duration // how long checks in flight may take after that
}

// envoySettings are the limits of Envoy on the headers of a request.
type envoySettings struct{ MaxHeaders, MaxHeaderKB int }

// proxyNetwork reads an entry of client_ip.trusted_proxies: a network, or an
// address that stands for itself.
func proxyNetwork(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

// defaultSettings are those of a configuration that says nothing, without what
// has no default: the policy, the keys and the stores.
func defaultSettings() *settings {
	c := defaultConfig()
	return &settings{
		Listen: listenSettings{
			GRPC:       address{"tcp", c.Listen.GRPC},
			Admin:      address{"tcp", c.Listen.Admin},
			SocketMode: 0o660,
		},
		Deadline:     c.Deadline,
		JWT:          jwtSettings{UserClaim: c.JWT.UserClaim, SessionClaim: c.JWT.SessionClaim},
		APIKeyHeader: c.APIKey.Header,
		Sessions:     sessionsSettings{KeyTemplate: c.Sessions.KeyTemplate, Timeout: c.Sessions.Timeout},
		Directory: directorySettings{
			UsersQuery: c.Directory.UsersQuery, APIKeysQuery: c.Directory.APIKeysQuery, Timeout: c.Directory.Timeout,
		},
		Log:      logSettings{Level: string(c.Log.Level), Format: string(c.Log.Format), Decisions: logDecisions(c.Log.Decisions)},
		Identity: identitySettings{RemoveAPIKey: true},
		Shutdown: shutdownSettings(c.Shutdown),
		Envoy:    envoySettings{int(c.Envoy.MaxHeaders), int(c.Envoy.MaxHeaderKB)},
	}
}
