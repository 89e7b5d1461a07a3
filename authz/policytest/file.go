package policytest

import (
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"warder/authz"
	"warder/authz/token"
	"warder/policy/strict"
)

// A File is one file of cases: a policy, what the stores hold, and requests with the
// answers that they must get.
type File struct {
	Path string `json:"-"` // as it was named
	Name string `json:"-"` // the file's, without folder and .yaml

	About      string  `json:"about"`
	Policy     string  `json:"policy"`      // the text of a policy, or
	PolicyFile string  `json:"policy_file"` // a file or folder beside this one; neither: the caller's
	Config     *Config `json:"config"`
	Now        string  `json:"now"` // RFC 3339; absent: the caller's

	// TextIDs says that some user ids are no integers.
	TextIDs  bool      `json:"text_ids"`
	Users    []User    `json:"users"`
	APIKeys  []APIKey  `json:"api_keys"`
	Sessions []Session `json:"sessions"`

	// Claims are those of every token, unless a case says otherwise.
	Claims map[string]any `json:"claims"`
	// Identities are what the upstream is told, by field (auth_method, user …), each
	// under a name that cases use.
	Identities map[string]map[string]string `json:"identities"`

	Cases []*Case `json:"cases"`

	read   *strict.Reader // knows where values stand
	source []byte
}

// A Config is the part of warder.yaml that changes decisions, under the same keys.
type Config struct {
	JWT struct {
		Keys         []Key         `json:"keys"`
		Issuer       string        `json:"issuer"`
		Audiences    []string      `json:"audiences"`
		Leeway       time.Duration `json:"leeway"`
		UserClaim    string        `json:"user_claim"`
		SessionClaim string        `json:"session_claim"`
	} `json:"jwt"`
	APIKey struct {
		Header string `json:"header"`
	} `json:"api_key"`
	ClientIP struct {
		Source         authz.ClientIPSource `json:"source"`
		TrustedProxies []netip.Prefix       `json:"trusted_proxies"`
		TrustedHops    int                  `json:"xff_num_trusted_hops"`
		Header         string               `json:"header"`
	} `json:"client_ip"`
	Identity struct {
		Headers             map[string]string `json:"headers"`
		RemoveAPIKey        *bool             `json:"remove_api_key"` // absent: true
		RemoveAuthorization bool              `json:"remove_authorization"`
	} `json:"identity"`
	StripHeaders []string `json:"strip_headers"`
}

// A Key verifies tokens.
type Key struct {
	ID        string `json:"kid"`
	Algorithm string `json:"algorithm"`
	Secret    string `json:"secret"`
}

// Secret signs the tokens of files that configure no key. It is the text of an HMAC
// secret, and protects nothing.
const Secret = "test-secret-that-protects-nothing-0123456789"

// A User is a user of the directory.
type User struct {
	ID        string   `json:"id"`
	State     string   `json:"state"` // active (when absent), inactive or null
	Roles     []string `json:"roles"`
	RolesJSON *string  `json:"roles_json"` // instead of Roles, what the column holds
}

// An APIKey is an API key of the directory.
type APIKey struct {
	Key        string   `json:"key"` // the whole key, in clear
	Prefix     string   `json:"prefix"`
	State      string   `json:"state"` // active (when absent), inactive or null
	Scopes     []string `json:"scopes"`
	ScopesJSON *string  `json:"scopes_json"`
	Expires    string   `json:"expires"` // from now, as +1h, or RFC 3339; absent: never
	Owner      string   `json:"owner"`
}

// A Session is a session that lives.
type Session struct {
	User    string `json:"user"`
	Session string `json:"session"`
}

// testSession is the session of a user that as_user names and that has none of its own.
const testSession = "test"

// complete fills in what is derived and reports what is wrong.
func (f *File) complete(report func(field, format string, args ...any)) {
	if f.Policy != "" && f.PolicyFile != "" {
		report("policy_file", "names a policy beside the one in policy; give one of them")
	}
	if ext := filepath.Ext(f.Policy); (ext == ".yaml" || ext == ".yml") && !strings.ContainsAny(f.Policy, ":\n") {
		report("policy", "is the name of a file where the text of a policy is wanted; write policy_file: %s", f.Policy)
	}
	if f.Config == nil {
		f.Config = new(Config)
	}
	f.completeConfig(report)
	if _, ok := parseTime(f.Now); f.Now != "" && !ok {
		report("now", "%q is no time; write one such as 2026-01-31T12:00:00Z", f.Now)
	}
	seen := map[string]bool{}
	for i, u := range f.Users {
		at := strict.Index("users", i)
		switch {
		case u.ID == "":
			report(at, "has no id; give each user one")
		case seen[u.ID]:
			report(at+".id", "%q is a user already; give each user once", u.ID)
		}
		seen[u.ID] = true
		checkState(at, u.State, report)
		if u.Roles != nil && u.RolesJSON != nil {
			report(at+".roles_json", "stands for the roles, beside roles; give one of them")
		}
	}
	for i, k := range f.APIKeys {
		at := strict.Index("api_keys", i)
		if k.Key == "" {
			report(at, "has no key; give the whole key, as a client sends it")
		}
		checkState(at, k.State, report)
		if _, ok := timeFrom(time.Time{}, k.Expires); k.Expires != "" && !ok {
			report(at+".expires", "%q is no time; write one from now, such as +1h or -30d, or one such as 2026-01-31T12:00:00Z", k.Expires)
		}
		if k.Scopes != nil && k.ScopesJSON != nil {
			report(at+".scopes_json", "stands for the scopes, beside scopes; give one of them")
		}
	}
	for i, s := range f.Sessions {
		if s.User == "" || s.Session == "" {
			report(strict.Index("sessions", i), "needs a user and a session, as in {user: \"42\", session: s-1}")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Identities)) {
		checkIdentityFields("identities."+name, f.Identities[name], report)
	}
}

func (f *File) completeConfig(report func(field, format string, args ...any)) {
	if len(f.Config.JWT.Keys) == 0 {
		f.Config.JWT.Keys = []Key{{Secret: Secret}}
	}
	for i := range f.Config.JWT.Keys {
		if k := &f.Config.JWT.Keys[i]; k.Algorithm == "" {
			k.Algorithm = "HS256"
		}
	}
	if _, err := token.NewVerifier(f.TokenConfig()); err != nil {
		reportConfig("config.jwt", err, report)
	}
	if _, err := authz.NewClientIPResolver(f.ClientIPConfig()); err != nil {
		reportConfig("config", err, report)
	}
	for _, field := range slices.Sorted(maps.Keys(f.Config.Identity.Headers)) {
		if _, known := identityFields[field]; !known {
			report("config.identity.headers", "%q is no field of an identity; use %s", field, identityFieldList())
		}
	}
}

func reportConfig(section string, err error, report func(field, format string, args ...any)) {
	for _, e := range authz.ConfigErrors(err) {
		field := section
		if e.Field != "" {
			field = strict.Join(section, e.Field)
		}
		report(field, "%s", e.Problem)
	}
}

func checkState(at, state string, report func(field, format string, args ...any)) {
	if !slices.Contains([]string{"", "active", "inactive", "null"}, state) {
		report(at+".state", `%q is no state; use active, inactive or "null"`, state)
	}
}

// completeCases checks the cases and takes them apart. at says which index each has in
// the file.
func (f *File) completeCases(at []int, report func(field, format string, args ...any)) {
	seen := map[string]int{}
	for i, c := range f.Cases {
		field := strict.Index("cases", at[i])
		c.field, c.file, c.at = field, f, f.read.Near(field)
		first, twice := seen[c.Name]
		switch {
		case c.Name == "":
			report(field, "has no name; say in a few words what it is about")
		case strings.ContainsFunc(c.Name, unicode.IsControl):
			report(field+".name", "%q holds a control character, which a terminal would obey; take it out", c.Name)
		case twice:
			report(field+".name", "%q is the name of the case at line %d too; --run and reports need each once", c.Name, f.Cases[first].at.Line)
		default:
			seen[c.Name] = i
		}
		c.complete(func(key, format string, args ...any) { report(strict.Join(field, key), format, args...) })
		if c.AsUser != "" && !slices.ContainsFunc(f.Sessions, func(s Session) bool { return s.User == c.AsUser }) {
			f.Sessions = append(f.Sessions, Session{c.AsUser, testSession})
		}
	}
}

// TokenConfig returns what verifies the tokens of the file.
func (f *File) TokenConfig() token.Config {
	jwt := f.Config.JWT
	c := token.Config{
		Issuer: jwt.Issuer, Audiences: jwt.Audiences, Leeway: jwt.Leeway,
		UserClaim: jwt.UserClaim, SessionClaim: jwt.SessionClaim,
	}
	for _, k := range jwt.Keys {
		c.Keys = append(c.Keys, token.Key{ID: k.ID, Algorithm: k.Algorithm, Secret: []byte(k.Secret)})
	}
	return c
}

// ClientIPConfig returns what finds the client's address. A depth whose proxy adds
// an address of its own to X-Forwarded-For adds it to TrustedProxies, when that is
// not empty.
func (f *File) ClientIPConfig() authz.ClientIPConfig {
	c := f.Config.ClientIP
	return authz.ClientIPConfig{Source: c.Source, TrustedProxies: c.TrustedProxies, TrustedHops: c.TrustedHops, Header: c.Header}
}

// APIKeyHeader returns the header that carries API keys.
func (f *File) APIKeyHeader() string {
	if f.Config.APIKey.Header != "" {
		return f.Config.APIKey.Header
	}
	return "X-API-Key"
}

// KeepsAPIKey reports whether the upstream gets to see API keys.
func (f *File) KeepsAPIKey() bool {
	return f.Config.Identity.RemoveAPIKey != nil && !*f.Config.Identity.RemoveAPIKey
}

// identityFields are what the upstream can be told, and the headers for it unless
// they are renamed. They stand here once more on purpose: clients of warder rely
// on them.
var identityFields = map[string]string{
	"auth_method": "x-warder-auth-method",
	"user":        "x-warder-user",
	"roles":       "x-warder-roles",
	"session":     "x-warder-session",
	"key_prefix":  "x-warder-key-prefix",
	"scopes":      "x-warder-scopes",
	"client_ip":   "x-warder-client-ip",
}

func identityFieldList() string { return strings.Join(slices.Sorted(maps.Keys(identityFields)), ", ") }

func checkIdentityFields(at string, fields map[string]string, report func(field, format string, args ...any)) {
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if _, known := identityFields[field]; !known {
			report(at, "%q is no field of an identity; use %s", field, identityFieldList())
		} else if fields[field] == "" {
			report(strict.Join(at, field), "is empty; leave out a field that the upstream is not told")
		}
	}
}

// IdentityHeader returns the header of an identity field.
func (f *File) IdentityHeader(field string) string {
	if name, renamed := f.Config.Identity.Headers[field]; renamed {
		return strings.ToLower(name)
	}
	return identityFields[field]
}
