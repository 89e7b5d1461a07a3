package config

import (
	_ "embed"
	"path/filepath"
	"strings"
	"time"

	"warder/authz/mask"
	"warder/policy/strict"
)

// Schema is the JSON Schema of warder.yaml, for editors. It is made from the types
// below and their comments: go test ./cmd/warder/internal/config -run Schema -update writes it anew.
//
//go:embed config.schema.json
var Schema string

// The types below are the only list of the keys of warder.yaml. The file is read into them,
// and editors and the reference show their comments. To add a key, add a field here, its
// default to defaultConfig, and its check to resolve.

// A Config is the configuration of warder. Everything has a default or one
// environment variable, and the environment has the last word. ${VAR} and
// ${VAR:-default} are read in every value.
type Config struct {
	// Where warder listens.
	Listen ListenKeys `json:"listen"`
	// The route policy: a file, or a folder of *.yaml, relative to this file; read again when it changes. WARDER_POLICY wins over it.
	Policy filePath `json:"policy" jsonschema_extras:"default=/etc/warder/policy.yaml"`
	// How long one check may take: below Envoy's timeout, above those of the stores; at most 10s.
	Deadline time.Duration `json:"deadline" jsonschema_extras:"default=200ms"`
	// How bearer tokens are verified.
	JWT JWTKeys `json:"jwt"`
	// API keys in requests.
	APIKey APIKeyKeys `json:"api_key"`
	// Where sessions live: Redis.
	Sessions SessionsKeys `json:"sessions"`
	// Where users and API keys are: Postgres, or a file.
	Directory DirectoryKeys `json:"directory"`
	// How the address of a client is found.
	ClientIP ClientIPKeys `json:"client_ip"`
	// What warder writes about itself and about its decisions.
	Log LogKeys `json:"log"`
	// What the application is told of who is asking.
	Identity IdentityKeys `json:"identity"`
	// Request headers that never reach the application; [] strips none. Absent: the usual ones by which a client could name another path or method.
	StripHeaders textsOrVariable `json:"strip_headers"`
	// How warder ends after SIGTERM.
	Shutdown ShutdownKeys `json:"shutdown"`
	// The Envoy in front: its limits, where its configuration sets others than its defaults, and what it is sent.
	Envoy EnvoyKeys `json:"envoy"`

	reader *configReader
}

// A ListenKeys is where warder listens: "host:port" with an IP address or localhost,
// or "unix:///path".
type ListenKeys struct {
	// For Envoy's checks and access logs. An address that others can reach needs tls, or plaintext: true. WARDER_LISTEN_GRPC wins over it.
	GRPC string `json:"grpc" jsonschema:"example=unix:///run/warder/warder.sock" jsonschema_extras:"default=127.0.0.1:9191"`
	// For /healthz and /readyz. WARDER_LISTEN_ADMIN wins over it.
	Admin string `json:"admin" jsonschema_extras:"default=127.0.0.1:9192"`
	// Certificates of the gRPC listener; read again when they change.
	TLS TLSKeys `json:"tls"`
	// true takes checks unencrypted on an address that others can reach.
	Plaintext bool `json:"plaintext" jsonschema_extras:"default=false"`
	// The mode of a unix socket, at least 0600.
	SocketMode fileMode `json:"socket_mode" jsonschema_extras:"default=0660"`
}

// A TLSKeys is the certificate files of a listener, in PEM.
type TLSKeys struct {
	// The certificate, with its chain. It needs key_file.
	CertFile filePath `json:"cert_file"`
	// The private key of the certificate.
	KeyFile filePath `json:"key_file"`
	// Asks for client certificates that one of these authorities signed.
	ClientCAFile filePath `json:"client_ca_file"`
}

// A JWTKeys is how bearer tokens are verified.
type JWTKeys struct {
	// The keys that tokens are signed with, besides those of issuers. WARDER_JWT_SECRET and WARDER_JWT_SECRET_FILE stand for the secret of the only one.
	Keys []JWTKeyKeys `json:"keys" jsonschema:"minItems=1"`
	// What iss must be in tokens of keys; "" does not check it.
	Issuer checkedText `json:"issuer" jsonschema_extras:"default="`
	// At least one of these must be in aud, in tokens of keys; [] does not check it.
	Audiences checkedTexts `json:"audiences"`
	// Further issuers of tokens, such as identity providers. iss selects one, and no key of one proves a token of another.
	Issuers []JWTIssuerKeys `json:"issuers"`
	// How far clocks may be apart, for exp, nbf and iat; at most 5m. For nbf and iat it is at least 5s.
	Leeway time.Duration `json:"leeway" jsonschema_extras:"default=0s"`
	// How long the secret or the public keys that a file held before are accepted beside the new ones; 0s drops it at once. At most 24h.
	Overlap time.Duration `json:"overlap" jsonschema_extras:"default=1h"`
	// The claim that holds the id of the user, or a path to it, such as account.id.
	UserClaim string `json:"user_claim" jsonschema_extras:"default=sub"`
	// The claim that holds the id of the session, or a path to it.
	SessionClaim string `json:"session_claim" jsonschema_extras:"default=jti"`
	// The claim that holds the roles of the user, or a path to it, such as realm_access.roles. For directory.users: token.
	RolesClaim filledText `json:"roles_claim" jsonschema_extras:"default=roles"`
	// The claim that is true if the user is active, or a path to it. Absent: the user of every valid token is active. For directory.users: token.
	ActiveClaim filledText `json:"active_claim"`
	// Attributes of the principal from claims: a claim, or a path to it such as org.id, by the name of the attribute. A column of the directory with the name wins. Texts, whole numbers, true and false.
	Attributes map[string]string `json:"attributes"`
	// Kinds of tokens that are refused besides the built-in ones, as claims such as typ, use and purpose name them.
	RefusedUses []string `json:"refused_uses"`
	// Built-in kinds of tokens that are accepted nevertheless.
	AcceptedUses []string `json:"accepted_uses"`
	// Where a request carries its token. Two tokens in one request are refused. Absent: [{header: Authorization}].
	Sources []TokenSourceKeys `json:"sources" jsonschema:"minItems=1"`
}

// A TokenSourceKeys is a place where a request may carry a token: one of header, cookie, query and websocket_protocol.
type TokenSourceKeys struct {
	// A header.
	Header string `json:"header" jsonschema:"example=Authorization"`
	// A cookie. For unsafe methods and WebSockets it is read only if Sec-Fetch-Site or Origin shows that no other site sent the request, or cors.allow_origins lists the origin.
	Cookie string `json:"cookie" jsonschema:"example=access_token"`
	// A query parameter. It is read on routes with token_query: true, and the application sees it.
	Query string `json:"query" jsonschema:"example=token"`
	// A WebSocket subprotocol: the token is the next one that the client offers, or follows in the same one if this ends with a dot.
	WebSocketProtocol string `json:"websocket_protocol" jsonschema:"example=bearer"`
	// The word before the token in a header or cookie. Absent: Bearer in Authorization, and none elsewhere.
	Scheme string `json:"scheme" jsonschema:"example=Bearer"`
}

// An APIKeySourceKeys is a place where a request may carry an API key: one of header and query.
type APIKeySourceKeys struct {
	// A header. Authorization needs a scheme.
	Header string `json:"header" jsonschema:"example=X-API-Key"`
	// A query parameter. It is read on routes with api_key_query: true, and the application sees it.
	Query string `json:"query" jsonschema:"example=api_key"`
	// The word before the key in a header.
	Scheme string `json:"scheme" jsonschema:"example=ApiKey"`
}

// A JWTIssuerKeys is an issuer of tokens. Its keys are in keys, in a jwks_file, at a jwks_url, or where discovery finds them.
type JWTIssuerKeys struct {
	// The iss of its tokens, byte for byte.
	Issuer string `json:"issuer"`
	// At least one of these must be in aud; [] does not check it. An issuer has tokens for other applications too.
	Audiences checkedTexts `json:"audiences"`
	// The keys that its tokens are signed with.
	Keys []JWTKeyKeys `json:"keys" jsonschema:"minItems=1"`
	// A file with its public keys, a JSON Web Key Set; read again when it changes.
	JWKSFile filePath `json:"jwks_file"`
	// Where its public keys are, https. They are fetched in the background, and when a token has a kid that is not known.
	JWKSURL string `json:"jwks_url"`
	// true finds jwks_url by OpenID Connect Discovery, at the issuer.
	Discovery bool `json:"discovery" jsonschema_extras:"default=false"`
	// The authorities that are trusted for jwks_url and discovery instead of those of the system; read at each fetch.
	CAFile filePath `json:"ca_file"`
	// How long fetched keys are used when they cannot be fetched again; at most 168h. After it, tokens of the issuer are a 503.
	MaxAge time.Duration `json:"max_age" jsonschema_extras:"default=24h"`
	// The algorithms that the keys of a key set may be for. Absent: each with a public key. A key without alg is for the one that fits it.
	Algorithms []string `json:"algorithms"`
	// The claim that holds the id of the user, or a path to it. Absent: that of jwt.
	UserClaim string `json:"user_claim"`
	// The claim that holds the id of the session, or a path to it. Absent: that of jwt.
	SessionClaim string `json:"session_claim"`
	// The claim that holds the roles of the user, or a path to it. Absent: that of jwt.
	RolesClaim filledText `json:"roles_claim"`
	// off: tokens of the issuer give no roles, with directory.users: token.
	Roles switchWord `json:"roles" jsonschema_extras:"default=on"`
	// The claim that is true if the user is active, or a path to it. Absent: that of jwt.
	ActiveClaim filledText `json:"active_claim"`
	// Attributes of the principal from claims, instead of those of jwt. {}: none.
	Attributes map[string]string `json:"attributes"`
}

// A JWTKeyKeys is a key that tokens are signed with: secret, secret_file, public_key_file or jwks_file.
type JWTKeyKeys struct {
	// The secret, of 32 bytes or more. It belongs in a variable: ${JWT_SECRET}.
	Secret secretText `json:"secret"`
	// A file that holds the secret, read again when it changes; a newline at its end is left out.
	SecretFile filePath `json:"secret_file"`
	// A file with a public key or a certificate in PEM, read again when it changes.
	PublicKeyFile filePath `json:"public_key_file"`
	// A file with public keys, a JSON Web Key Set, read again when it changes. Each key has its own kid and alg.
	JWKSFile filePath `json:"jwks_file"`
	// The one algorithm of the key. Absent: HS256 for a secret; RS256, that of the curve or EdDSA for a public key; that of each key in a jwks_file.
	Algorithm word `json:"algorithm" jsonschema:"enum=HS256,enum=HS384,enum=HS512,enum=RS256,enum=RS384,enum=RS512,enum=PS256,enum=PS384,enum=PS512,enum=ES256,enum=ES384,enum=ES512,enum=EdDSA"`
	// The kid of the tokens that the key is for; "" is for tokens without one, "*" for all that no other key is for.
	KID string `json:"kid" jsonschema_extras:"default="`
}

// An APIKeyKeys is where a request carries an API key.
type APIKeyKeys struct {
	// The name of the header.
	Header string `json:"header" jsonschema_extras:"default=X-API-Key"`
	// Where a request carries its API key, instead of header. Two keys in one request are refused.
	Sources []APIKeySourceKeys `json:"sources" jsonschema:"minItems=1"`
}

// A SessionsKeys is where sessions live: redis_url or redis_url_file.
type SessionsKeys struct {
	// redis://, rediss:// (TLS), unix://, redis+sentinel:// or redis+cluster://, and the spellings of other clients; memory:// for a trial. REDIS_URL and REDIS_URL_FILE win over it.
	RedisURL secretText `json:"redis_url" jsonschema_extras:"default=redis://127.0.0.1:6379/0"`
	// A file that holds the URL, read again when it changes.
	RedisURLFile filePath `json:"redis_url_file"`
	// A file that holds the password alone, which the URL then leaves out; read again when it changes.
	PasswordFile filePath `json:"password_file"`
	// A program and its arguments, without a shell, that prints the password, such as a token of a cloud's IAM; instead of password_file. It runs again after password_lifetime, and at once when a login is refused.
	PasswordCommand []string `json:"password_command"`
	// How long a password of password_command is used for new connections; less than it is valid. 10s to 24h.
	PasswordLifetime time.Duration `json:"password_lifetime" jsonschema_extras:"default=10m0s"`
	// Certificates for a URL with TLS; read again when they change. Absent: the authorities of the system are trusted.
	TLS ClientTLSKeys `json:"tls"`
	// For a URL that names Sentinels (redis+sentinel://).
	Sentinel SentinelKeys `json:"sentinel"`
	// present: a session is alive while its key exists. absent: it is alive until a key ends it, such as one in a list of revoked tokens. none: there is no Redis, and a logout is not seen until the token expires.
	Rule word `json:"rule" jsonschema:"enum=present,enum=absent,enum=none" jsonschema_extras:"default=present"`
	// The key of a session, of {user_id} and {jti}. It is there as long as the session lives. With rule absent: the key that ends sessions, of {jti}, {user_id} or both, or a list of such keys.
	KeyTemplate keyTemplates `json:"key_template" jsonschema_extras:"default=session:{user_id}:{jti}"`
	// With rule absent: the key, of {user_id}, whose value is a time. Tokens of the user that were issued (iat) up to it are refused. Seconds or milliseconds since 1970, or RFC 3339.
	RevokedBefore filledText `json:"revoked_before_template" jsonschema:"example=revoked_before:{user_id}"`
	// strict asks Redis on each check; tracked keeps what it said while Redis announces changes.
	Consistency word `json:"consistency" jsonschema:"enum=strict,enum=tracked" jsonschema_extras:"default=strict"`
	// How long Redis may take; below the deadline.
	Timeout time.Duration `json:"timeout" jsonschema_extras:"default=100ms"`
}

// A SentinelKeys is how the Sentinels of the URL are asked which server is the primary, where the URL does not say it.
type SentinelKeys struct {
	// The name that they have for the primary.
	MasterName string `json:"master_name"`
	// Their own user, which is not that of the URL. Absent: they have no users.
	Username string `json:"username"`
	// A file that holds their own password; read again when it changes. Absent: they have none.
	PasswordFile filePath `json:"password_file"`
}

// A ClientTLSKeys is how a server is verified, and the certificate that it may ask for. Files are in PEM.
type ClientTLSKeys struct {
	// The authorities that are trusted instead of those of the system, for a private authority.
	CAFile filePath `json:"ca_file"`
	// A certificate of warder, for a server that asks for one. It needs key_file.
	CertFile filePath `json:"cert_file"`
	// The private key of the certificate, without a password.
	KeyFile filePath `json:"key_file"`
	// The name that the server's certificate has to have. Absent: the host of the URL.
	ServerName string `json:"server_name"`
}

// A DirectoryKeys is where users and API keys are: database_url, database_url_file or file.
type DirectoryKeys struct {
	// The URL of Postgres; those of SQLAlchemy are understood. DATABASE_URL and DATABASE_URL_FILE win over it.
	DatabaseURL secretText `json:"database_url"`
	// A file that holds the URL, read again when it changes.
	DatabaseURLFile filePath `json:"database_url_file"`
	// A file that holds the password alone, which the URL then leaves out; read again when it changes.
	PasswordFile filePath `json:"password_file"`
	// A program and its arguments, without a shell, that prints the password, such as a token of a cloud's IAM; instead of password_file. It runs again after password_lifetime, and at once when a login is refused.
	PasswordCommand []string `json:"password_command"`
	// How long a password of password_command is used for new connections; less than it is valid. 10s to 24h.
	PasswordLifetime time.Duration `json:"password_lifetime" jsonschema_extras:"default=10m0s"`
	// A YAML file with users and API keys, instead of a database.
	File filePath `json:"file"`
	// Where the roles and the state of users are. database is the database or the file. token takes them from the claims of each token, so that a change is seen with a new token only; users are then looked up for the owners of API keys alone, and only in a file or by a users_query that is written.
	Users word `json:"users" jsonschema:"enum=database,enum=token" jsonschema_extras:"default=database"`
	// Finds a user: $1 is the id of the token. Its columns are is_active and roles. Further columns, such as tenant, are attributes of the user.
	UsersQuery string `json:"users_query" jsonschema_extras:"default=SELECT is_active\\, roles FROM users WHERE id = $1"`
	// Finds an API key: $1 is the lower-case hexadecimal SHA-256 of the whole key. Its columns are prefix, scopes, is_active, expires_at and user_id. Further columns are attributes of the key.
	APIKeysQuery string `json:"api_keys_query" jsonschema_extras:"default=SELECT prefix\\, scopes\\, is_active\\, expires_at\\, user_id FROM api_keys WHERE key_hash = $1"`
	// off where there is no table of API keys: the query is not checked at the start, no key is valid, and a policy that accepts keys is an error.
	APIKeys switchWord `json:"api_keys" jsonschema_extras:"default=on"`
	// The statements of warder key, for tables other than the reference schema. The service runs none of them. Each uses all of its parameters, which are texts. Statements that return keys have the columns id, prefix, scopes, is_active, expires_at, user_id, and created_at if there is one.
	Commands CommandsKeys `json:"commands"`
	// How old a row may be, unless its change is announced; 0s asks Postgres on each check. At most 1h.
	MaxStaleness time.Duration `json:"max_staleness" jsonschema_extras:"default=0s"`
	// true lets a standby answer, which may not know yet what has changed: max_standby_lag bounds that, and adds to max_staleness.
	Standby bool `json:"standby" jsonschema_extras:"default=false"`
	// How long ago the primary may have committed the last transaction that a standby has replayed. At most 1h.
	MaxStandbyLag time.Duration `json:"max_standby_lag" jsonschema_extras:"default=10s"`
	// How many connections one warder may have open, besides one for announcements. Fewer where many warders share a database. Absent: 10.
	MaxConnections connections `json:"max_connections"`
	// How long Postgres may take; below the deadline.
	Timeout time.Duration `json:"timeout" jsonschema_extras:"default=150ms"`
}

// A CommandsKeys is the statements of warder key.
type CommandsKeys struct {
	// Stores a key and returns its id: $1 is the id of the owner or NULL, $2 the lower-case hexadecimal SHA-256 of the key, $3 the prefix, $4 the scopes as a JSON array, $5 when it expires (RFC 3339) or NULL.
	CreateKey string `json:"create_key" jsonschema_extras:"default=INSERT INTO api_keys (user_id\\, key_hash\\, prefix\\, scopes\\, expires_at) VALUES ($1\\, $2\\, $3\\, $4\\, $5) RETURNING id"`
	// Returns keys: $1 is the id of their owner, or NULL for all.
	ListKeys string `json:"list_keys" jsonschema_extras:"default=SELECT id\\, prefix\\, scopes\\, is_active\\, expires_at\\, user_id\\, created_at FROM api_keys WHERE $1::text IS NULL OR user_id::text = $1 ORDER BY id"`
	// Returns the keys whose id or prefix is $1.
	ShowKey string `json:"show_key" jsonschema_extras:"default=SELECT id\\, prefix\\, scopes\\, is_active\\, expires_at\\, user_id\\, created_at FROM api_keys WHERE id::text = $1 OR prefix = $1 ORDER BY id"`
	// Makes the key with the id $1 invalid.
	RevokeKey string `json:"revoke_key" jsonschema_extras:"default=UPDATE api_keys SET is_active = false WHERE id::text = $1"`
	// Makes the key with the id $1 expire at $2 (RFC 3339).
	ExpireKey string `json:"expire_key" jsonschema_extras:"default=UPDATE api_keys SET expires_at = $2 WHERE id::text = $1"`
}

// A ClientIPKeys is how the address of a client is found.
type ClientIPKeys struct {
	// Where the address is read. trusted_proxies walks X-Forwarded-For from the right over your proxies; leftmost_forwarded_for is what any client can forge.
	Source sourceWord `json:"source" jsonschema_extras:"default=trusted_proxies"`
	// The networks of your proxies, for source: trusted_proxies. WARDER_TRUSTED_PROXIES wins over it.
	TrustedProxies textsOrVariable `json:"trusted_proxies"`
	// For source: xff_num_trusted_hops, the number that Envoy has too; at most 64.
	TrustedHops hopCount `json:"xff_num_trusted_hops"`
	// For source: header, a header that Envoy itself overwrites.
	Header string `json:"header"`
}

// A LogKeys is what warder writes about itself and about its decisions.
type LogKeys struct {
	// The least that is logged.
	Level word `json:"level" jsonschema:"enum=debug,enum=info,enum=warn,enum=error" jsonschema_extras:"default=info"`
	// How a line is written.
	Format word `json:"format" jsonschema:"enum=json,enum=text" jsonschema_extras:"default=json"`
	// Which decisions are written to standard output, one JSON line each.
	Decisions word `json:"decisions" jsonschema:"enum=all,enum=deny,enum=none" jsonschema_extras:"default=deny"`
	// Keys whose values are masked too, beside those that are built in.
	SensitiveKeys textsOrVariable `json:"sensitive_keys"`
	// Keys whose values are not masked although their names are sensitive, each as the whole key. Never password, authorization, cookie or secret, nor a key that ends with one of them.
	KeepKeys textsOrVariable `json:"keep_keys"`
}

// An IdentityKeys is what the application is told of who is asking.
type IdentityKeys struct {
	// Other names for the headers; absent ones are x-warder-….
	Headers IdentityHeadersKeys `json:"headers"`
	// Headers for attributes of the principal, by the name of the attribute: a claim of jwt.attributes or a column of the directory. No client can send one.
	Attributes map[string]string `json:"attributes"`
	// The API key does not go to the application.
	RemoveAPIKey bool `json:"remove_api_key" jsonschema_extras:"default=true"`
	// The bearer token does not go to the application.
	RemoveAuthorization bool `json:"remove_authorization" jsonschema_extras:"default=false"`
	// No credential goes to the application, from whichever of the sources; other cookies and subprotocols stay. A query parameter cannot be removed.
	RemoveCredentials bool `json:"remove_credentials" jsonschema_extras:"default=false"`
}

// An IdentityHeadersKeys is the names of the identity headers.
type IdentityHeadersKeys struct {
	// session, api_key or anonymous. Absent: x-warder-auth-method.
	AuthMethod *string `json:"auth_method"`
	// The id of the user. Absent: x-warder-user.
	User *string `json:"user"`
	// The roles, comma-separated. Absent: x-warder-roles.
	Roles *string `json:"roles"`
	// The id of the session. Absent: x-warder-session.
	Session *string `json:"session"`
	// The public prefix of an API key. Absent: x-warder-key-prefix.
	KeyPrefix *string `json:"key_prefix"`
	// The scopes of an API key, comma-separated. Absent: x-warder-scopes.
	Scopes *string `json:"scopes"`
	// The address of the client. Absent: x-warder-client-ip.
	ClientIP *string `json:"client_ip"`
}

// A ShutdownKeys is how warder ends after SIGTERM.
type ShutdownKeys struct {
	// How long it serves on and says that it is not ready, so that others notice; at most 5m.
	Delay time.Duration `json:"delay" jsonschema_extras:"default=5s"`
	// How long what is in flight may take after that; at most 5m.
	Timeout time.Duration `json:"timeout" jsonschema_extras:"default=10s"`
}

// An EnvoyKeys is about the Envoy in front. Its limits are those on the headers of a request,
// pseudo-headers and what Envoy and warder add included. A request that would not fit is refused
// with a 400.
type EnvoyKeys struct {
	// max_headers_count of Envoy's common_http_protocol_options. Absent: 100.
	MaxHeaders headerCount `json:"max_headers_count"`
	// max_request_headers_kb of Envoy's connection manager. Absent: 60.
	MaxHeaderKB headerKB `json:"max_request_headers_kb"`
	// How the dynamic metadata is sent: fields, one value for each; summary, all in one text, which costs Envoy less.
	Metadata word `json:"metadata" jsonschema:"enum=fields,enum=summary" jsonschema_extras:"default=fields"`
}

// The values of warder.yaml that are more than a text; the schema has a rule for each.
type (
	// A filePath is the path of a file or folder. In warder.yaml it is relative to the folder
	// of that file, in the environment to the working directory.
	filePath string
	fileMode string
	hopCount int
	// connections is a size of a pool.
	connections int
	// A headerCount and a headerKB are limits of Envoy.
	headerCount int
	headerKB    int
	sourceWord  string
	word        string // one of those in its tag
	// A switchWord is on or off. YAML 1.1 takes these words for true and false, so that programs
	// may write those.
	switchWord string
	// A textsOrVariable is a list. A text that comes from a variable is one too, separated
	// by commas or spaces.
	textsOrVariable []string
	// A filledText is a text that is never empty, because the empty one would turn a check off.
	filledText string
	// A keyTemplates is one template, or a list of them.
	keyTemplates []string
	// A checkedText and checkedTexts turn a check off when they are empty. They may not come
	// from a variable that is empty: who writes ${AUDIENCE} wants it checked.
	checkedText  string
	checkedTexts []string
)

// The values of a switchWord.
const (
	switchedOn  = "on"
	switchedOff = "off"
)

// A secretText is a secret that stands in the configuration. The zero secretText is none.
type secretText struct {
	value   mask.Secret
	given   bool
	literal bool // it stands in the file in plain, not in a variable
}

// ReadValue reads a path.
func (p *filePath) ReadValue(r *strict.Reader, field string, v strict.Value) {
	text, ok := r.Text(field, v, "")
	if ok && text == "" {
		r.Fail(v.At, field, "is empty; name a file or leave the key out")
	}
	*p = filePath(text)
}

// below makes a relative path relative to the folder dir.
func (p *filePath) below(dir string) {
	if *p != "" && !filepath.IsAbs(string(*p)) {
		*p = filePath(filepath.Join(dir, string(*p)))
	}
}

// ReadValue reads a file mode. A YAML parser may read 0660 as a number or as a text.
func (m *fileMode) ReadValue(r *strict.Reader, field string, v strict.Value) {
	if v.Kind != strict.Text && v.Kind != strict.Number {
		r.WrongKind(field, v, `a file mode such as "0660"`)
		return
	}
	*m = fileMode(v.Text)
}

// ReadValue reads on or off, or true or false without quotes.
func (w *switchWord) ReadValue(r *strict.Reader, field string, v strict.Value) {
	truth := v.Kind == strict.Bool || v.Filled
	switch {
	case v.Kind == strict.Text && v.Text == switchedOn, truth && v.Text == "true":
		*w = switchedOn
	case v.Kind == strict.Text && v.Text == switchedOff, truth && v.Text == "false":
		*w = switchedOff
	default:
		r.WrongKind(field, v, "on or off")
	}
}

// ReadValue reads a secret. No message contains its value.
func (s *secretText) ReadValue(r *strict.Reader, field string, v strict.Value) {
	if text, ok := r.Text(field, v, ""); ok {
		*s = secretText{mask.New(text), true, !v.Filled}
	}
}

// ReadValue reads a list, or a variable that contains a list.
func (t *textsOrVariable) ReadValue(r *strict.Reader, field string, v strict.Value) {
	if v.Kind == strict.Text && v.Filled {
		*t = fieldsOf(v.Text)
		return
	}
	if v.Kind != strict.List {
		r.WrongKind(field, v, "a list such as [a, b]")
		return
	}
	*t = textsOrVariable{}
	for i, item := range v.Items {
		field := strict.Index(field, i)
		r.SetPlace(field, item.At)
		text, ok := r.Text(field, item, "")
		switch {
		case !ok:
		case item.Filled:
			*t = append(*t, fieldsOf(text)...)
		case text == "":
			r.Fail(item.At, field, "is empty; leave it out")
		default:
			*t = append(*t, text)
		}
	}
}

// ReadValue reads a text. An empty text turns a check off.
func (t *checkedText) ReadValue(r *strict.Reader, field string, v strict.Value) {
	if !emptied(r, field, v) {
		text, _ := r.Text(field, v, "")
		*t = checkedText(text)
	}
}

// ReadValue reads a list. An empty list turns a check off.
func (t *checkedTexts) ReadValue(r *strict.Reader, field string, v strict.Value) {
	if !emptied(r, field, v) {
		(*textsOrVariable)(t).ReadValue(r, field, v)
	}
}

// ReadValue reads a text that is not empty.
func (t *filledText) ReadValue(r *strict.Reader, field string, v strict.Value) {
	text, ok := r.Text(field, v, "")
	switch {
	case ok && text == "" && v.Filled:
		r.Fail(v.At, field, "comes from a variable that is empty; set the variable or leave the key out")
	case ok && text == "":
		r.Fail(v.At, field, "is empty; write a text or leave the key out")
	}
	*t = filledText(text)
}

// ReadValue reads a text or a list of texts.
func (t *keyTemplates) ReadValue(r *strict.Reader, field string, v strict.Value) {
	if v.Kind != strict.List {
		text, ok := r.Text(field, v, `"session:{user_id}:{jti}"`)
		if ok {
			*t = keyTemplates{text}
		}
		return
	}
	var all []string
	r.Read(field, v, &all)
	*t = all
}

func emptied(r *strict.Reader, field string, v strict.Value) bool {
	for _, part := range append([]strict.Value{v}, v.Items...) {
		if part.Kind == strict.Text && part.Filled && len(fieldsOf(part.Text)) == 0 {
			r.Fail(v.At, field, "comes from a variable that is empty, which would turn the check off; set the variable or leave the key out")
			return true
		}
	}
	return false
}

func fieldsOf(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' || c == '\n' || c == '\r' })
}

// HintKey returns what to use instead of an unknown key, or "".
func (*Config) HintKey(_, key string) string {
	if key == "shadow" {
		return "is unknown; it is a flag, warder serve --shadow, so that no file can open everything; for one route it is a key of the policy"
	}
	return ""
}
