package policytest

import (
	"cmp"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"warder/authz"
	"warder/authz/attribute"
	"warder/authz/token"
	"warder/policy/strict"
)

// A File is a file of cases: a policy, the contents of the stores, and requests with their
// expected results.
type File struct {
	Path string `json:"-"` // as given to Load or Parse
	Name string `json:"-"` // the base name without the extension

	About string `json:"about"`
	// Policy is the text of a policy, and PolicyFile the path of a policy file or folder,
	// relative to this file. If neither is given, the caller provides the policy.
	Policy     string  `json:"policy"`
	PolicyFile string  `json:"policy_file"`
	Config     *Config `json:"config"`
	Now        string  `json:"now"` // RFC 3339; the default is the caller's time

	// TextIDs says that some user ids are not integers.
	TextIDs  bool      `json:"text_ids"`
	Users    []User    `json:"users"`
	APIKeys  []APIKey  `json:"api_keys"`
	Sessions []Session `json:"sessions"`
	// Revocations are for files with config.sessions.rule absent, instead of Sessions.
	Revocations []Revocation `json:"revocations"`

	// Signers are private keys by name, for tokens of issuers that sign with them.
	Signers map[string]*Signer `json:"signers"`
	// Claims are the default claims of every token.
	Claims map[string]any `json:"claims"`
	// Identities are named identities for Case.As. Each is a map by identity field
	// (auth_method, user, and so on).
	Identities map[string]map[string]string `json:"identities"`

	Cases []*Case `json:"cases"`

	read   *strict.Reader // has the positions of the values
	source []byte
}

// A Config has the settings of warder.yaml that affect decisions, with the same keys.
type Config struct {
	JWT struct {
		Keys         []Key            `json:"keys"`
		Issuers      []Issuer         `json:"issuers"`
		Issuer       string           `json:"issuer"`
		Audiences    []string         `json:"audiences"`
		Leeway       time.Duration    `json:"leeway"`
		UserClaim    string           `json:"user_claim"`
		SessionClaim string           `json:"session_claim"`
		RolesClaim   string           `json:"roles_claim"`
		ActiveClaim  string           `json:"active_claim"`
		Attributes   token.Attributes `json:"attributes"`
		RefusedUses  []string         `json:"refused_uses"`
		AcceptedUses []string         `json:"accepted_uses"`
		Sources      []Source         `json:"sources"`
	} `json:"jwt"`
	Sessions struct {
		Rule          string   `json:"rule"`                    // present (the default), absent or none
		KeyTemplate   []string `json:"key_template"`            // for absent
		RevokedBefore string   `json:"revoked_before_template"` // for absent
	} `json:"sessions"`
	APIKey struct {
		Header  string   `json:"header"`
		Sources []Source `json:"sources"`
	} `json:"api_key"`
	ClientIP struct {
		Source         authz.ClientIPSource `json:"source"`
		TrustedProxies []netip.Prefix       `json:"trusted_proxies"`
		TrustedHops    int                  `json:"xff_num_trusted_hops"`
		Header         string               `json:"header"`
	} `json:"client_ip"`
	Identity struct {
		Headers             map[string]string `json:"headers"`
		Attributes          map[string]string `json:"attributes"`
		RemoveAPIKey        *bool             `json:"remove_api_key"` // default true
		RemoveAuthorization bool              `json:"remove_authorization"`
		RemoveCredentials   bool              `json:"remove_credentials"`
	} `json:"identity"`
	StripHeaders []string `json:"strip_headers"`
	Directory    struct {
		Users      string `json:"users"`       // database (the default) or token
		UsersQuery string `json:"users_query"` // with users: token, finds the owners of API keys among the users
	} `json:"directory"`
}

// A Source is a place where requests carry a credential.
type Source struct {
	Header            string `json:"header"`
	Cookie            string `json:"cookie"`
	Query             string `json:"query"`
	WebSocketProtocol string `json:"websocket_protocol"`
	Scheme            string `json:"scheme"`
}

// A Key verifies tokens. It has the secret, or the public key of a signer.
type Key struct {
	ID        string `json:"kid"`
	Algorithm string `json:"algorithm"`
	Secret    string `json:"secret"`
	Signer    string `json:"signer"`
}

// An Issuer is one of several issuers of tokens.
type Issuer struct {
	Issuer       string           `json:"issuer"`
	Audiences    []string         `json:"audiences"`
	Keys         []Key            `json:"keys"`
	UserClaim    string           `json:"user_claim"`
	SessionClaim string           `json:"session_claim"`
	RolesClaim   string           `json:"roles_claim"`
	ActiveClaim  string           `json:"active_claim"`
	Roles        string           `json:"roles"` // "off": its tokens give no roles
	Attributes   token.Attributes `json:"attributes"`
}

// Secret is the HMAC secret of files that configure no key. It protects nothing.
const Secret = "test-secret-that-protects-nothing-0123456789"

// A User is a user of the directory. With directory.users: token it is a user whose roles and state
// are in the token of Case.AsUser.
type User struct {
	ID        string   `json:"id"`
	State     string   `json:"state"` // active (the default), inactive or null
	Roles     []string `json:"roles"`
	RolesJSON *string  `json:"roles_json"` // the value of the column, instead of Roles
	// Attributes are the values of further columns. A name that one user has is a column of
	// all, which is NULL where it is left out.
	Attributes map[string]string `json:"attributes"`
}

// An APIKey is an API key of the directory.
type APIKey struct {
	Key        string   `json:"key"` // the whole key in plain text
	Prefix     string   `json:"prefix"`
	State      string   `json:"state"` // active (the default), inactive or null
	Scopes     []string `json:"scopes"`
	ScopesJSON *string  `json:"scopes_json"` // the value of the column, instead of Scopes
	Expires    string   `json:"expires"`     // relative to now, such as +1h, or RFC 3339; the default is never
	Owner      string   `json:"owner"`
	// Attributes are like those of a [User].
	Attributes map[string]string `json:"attributes"`
}

// A Session is a live session.
type Session struct {
	User    string `json:"user"`
	Session string `json:"session"`
}

// A Revocation ends sessions: one of a user, each with an id, or each of a user. With Before, it
// ends those of the user whose tokens were issued up to a time.
type Revocation struct {
	User    string `json:"user"`
	Session string `json:"session"`
	Before  string `json:"issued_before"` // relative to now, such as -1h, or RFC 3339
}

// The values of config.sessions.rule.
const (
	rulePresent = "present"
	ruleAbsent  = "absent"
	ruleNone    = "none"
)

// testSession is the session id for a user in as_user who has no session in the file.
const testSession = "test"

// complete fills in defaults and checks the file, except for its cases.
func (f *File) complete(report func(field, format string, args ...any)) {
	if f.Policy != "" && f.PolicyFile != "" {
		report("policy_file", "cannot be combined with policy; leave one of them out")
	}
	if ext := filepath.Ext(f.Policy); (ext == ".yaml" || ext == ".yml") && !strings.ContainsAny(f.Policy, ":\n") {
		report("policy", "is the name of a file, not the text of a policy; write policy_file: %s", f.Policy)
	}
	if f.Config == nil {
		f.Config = new(Config)
	}
	f.completeConfig(report)
	if _, ok := parseTime(f.Now); f.Now != "" && !ok {
		report("now", "%q is not a time; write one such as 2026-01-31T12:00:00Z", f.Now)
	}
	seen := map[string]bool{}
	for i, u := range f.Users {
		at := strict.Index("users", i)
		switch {
		case u.ID == "":
			report(at, "has no id; give each user one")
		case seen[u.ID]:
			report(at+".id", "%q is already a user of the file; list each user once", u.ID)
		}
		seen[u.ID] = true
		checkState(at, u.State, report)
		if u.State != "" && f.UsersInTokens() && !f.OwnersKnown() && f.Config.JWT.ActiveClaim == "" {
			report(at+".state", "has no effect, because users are in tokens, and without config.jwt.active_claim each of them is active; add that, or leave it out")
		}
		if u.Roles != nil && u.RolesJSON != nil {
			report(at+".roles_json", "cannot be combined with roles; leave one of them out")
		}
		checkAttributes(at, u.Attributes, report)
	}
	for i, k := range f.APIKeys {
		at := strict.Index("api_keys", i)
		if k.Key == "" {
			report(at, "has no key; give the whole key, as a client sends it")
		}
		checkState(at, k.State, report)
		if _, ok := timeFrom(time.Time{}, k.Expires); k.Expires != "" && !ok {
			report(at+".expires", "%q is not a time; write a relative one such as +1h or -30d, or one such as 2026-01-31T12:00:00Z", k.Expires)
		}
		if k.Scopes != nil && k.ScopesJSON != nil {
			report(at+".scopes_json", "cannot be combined with scopes; leave one of them out")
		}
		checkAttributes(at, k.Attributes, report)
	}
	f.completeRevocations(report)
	for i, s := range f.Sessions {
		if s.User == "" || s.Session == "" {
			report(strict.Index("sessions", i), "needs a user and a session, as in {user: \"42\", session: s-1}")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Identities)) {
		f.checkIdentityFields("identities."+name, f.Identities[name], report)
	}
}

func (f *File) completeConfig(report func(field, format string, args ...any)) {
	if len(f.Config.JWT.Keys) == 0 {
		f.Config.JWT.Keys = []Key{{Secret: Secret}}
	}
	f.completeSigners(report)
	f.checkUsersInTokens(report)
	f.completeSessions(report)
	if _, err := token.NewVerifier(f.TokenConfig()); err != nil {
		reportConfig("config.jwt", err, report)
	}
	if _, err := authz.NewClientIPResolver(f.ClientIPConfig()); err != nil {
		reportConfig("config", err, report)
	}
	for _, field := range slices.Sorted(maps.Keys(f.Config.Identity.Headers)) {
		if _, known := identityFields[field]; !known {
			report("config.identity.headers", "%q is not a field of an identity; use %s", field, identityFieldList())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Config.Identity.Attributes)) {
		if !attribute.ValidName(name) {
			report("config.identity.attributes", "%q is not the name of an attribute; %s", name, attribute.NameGrammar)
		}
	}
}

// checkAttributes checks the names of attributes. The values may be any, as those of a column.
func checkAttributes(at string, attributes map[string]string, report func(field, format string, args ...any)) {
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		if !attribute.ValidName(name) {
			report(at+".attributes", "%q is not the name of an attribute; %s", name, attribute.NameGrammar)
		}
	}
}

// checkUsersInTokens checks directory.users and the keys that are for one of its values.
func (f *File) checkUsersInTokens(report func(field, format string, args ...any)) {
	d, jwt := f.Config.Directory, f.Config.JWT
	if !slices.Contains([]string{"", "database", usersInTokens}, d.Users) {
		report("config.directory.users", "%q is no place of users; use database or token", d.Users)
	}
	if f.UsersInTokens() {
		return
	}
	given := map[string]string{"config.jwt.roles_claim": jwt.RolesClaim, "config.jwt.active_claim": jwt.ActiveClaim, "config.directory.users_query": d.UsersQuery}
	for i, is := range jwt.Issuers {
		at := strict.Index("config.jwt.issuers", i)
		given[at+".roles_claim"], given[at+".active_claim"] = is.RolesClaim, is.ActiveClaim
	}
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if given[key] != "" {
			report(key, "has no effect without config.directory.users: token; add that, or leave it out")
		}
	}
}

// usersInTokens is the value of directory.users for users that are in tokens.
const usersInTokens = "token"

// UsersInTokens reports whether the roles and the state of users are in tokens.
func (f *File) UsersInTokens() bool { return f.Config.Directory.Users == usersInTokens }

// OwnersKnown reports whether the owners of API keys can be looked up among the users.
func (f *File) OwnersKnown() bool { return !f.UsersInTokens() || f.Config.Directory.UsersQuery != "" }

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
		report(at+".state", `%q is not a state; use active, inactive or "null"`, state)
	}
}

// completeCases fills in defaults and checks the cases. at has the index of each case in the
// file.
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
			report(field+".name", "%q contains a control character, which a terminal would interpret; remove it", c.Name)
		case twice:
			report(field+".name", "%q is also the name of the case at line %d; names must differ, for --run and reports", c.Name, f.Cases[first].at.Line)
		default:
			seen[c.Name] = i
		}
		c.complete(func(key, format string, args ...any) { report(strict.Join(field, key), format, args...) })
		if c.AsUser != "" && !slices.ContainsFunc(f.Sessions, func(s Session) bool { return s.User == c.AsUser }) {
			f.Sessions = append(f.Sessions, Session{c.AsUser, testSession})
		}
	}
}

// TokenConfig returns the configuration of the file's token verifier.
func (f *File) TokenConfig() token.Config {
	jwt := f.Config.JWT
	c := token.Config{
		Issuer: jwt.Issuer, Audiences: jwt.Audiences, Leeway: jwt.Leeway,
		UserClaim: jwt.UserClaim, SessionClaim: jwt.SessionClaim, SessionOptional: f.sessionOptional(), Attributes: jwt.Attributes, RefusedUses: jwt.RefusedUses, AcceptedUses: jwt.AcceptedUses,
	}
	c.Keys = f.tokenKeys(jwt.Keys)
	for _, is := range jwt.Issuers {
		c.Issuers = append(c.Issuers, token.Issuer{
			Name: is.Issuer, Audiences: is.Audiences, UserClaim: is.UserClaim, SessionClaim: is.SessionClaim, Attributes: is.Attributes, Keys: f.tokenKeys(is.Keys),
		})
	}
	if f.UsersInTokens() {
		c.RolesClaim, c.ActiveClaim, c.ValidRole = f.rolesClaim(), jwt.ActiveClaim, authz.ValidName
		for i, is := range jwt.Issuers {
			c.Issuers[i].RolesClaim, c.Issuers[i].ActiveClaim, c.Issuers[i].NoRoles = is.RolesClaim, is.ActiveClaim, is.Roles == "off"
		}
	}
	return c
}

func (f *File) rolesClaim() string { return cmp.Or(f.Config.JWT.RolesClaim, "roles") }

// ClientIPConfig returns the configuration of the file's client IP resolver. A depth with a
// proxy that appends its own address to X-Forwarded-For must add that address to
// TrustedProxies, unless TrustedProxies is empty.
func (f *File) ClientIPConfig() authz.ClientIPConfig {
	c := f.Config.ClientIP
	return authz.ClientIPConfig{Source: c.Source, TrustedProxies: c.TrustedProxies, TrustedHops: c.TrustedHops, Header: c.Header}
}

// Sources returns where requests carry credentials.
func (f *File) Sources() authz.Sources {
	list := func(sources []Source) (all []authz.Source) {
		for _, s := range sources {
			all = append(all, authz.Source(s))
		}
		return all
	}
	return authz.Sources{
		Tokens: list(f.Config.JWT.Sources), APIKeys: list(f.Config.APIKey.Sources), APIKeyHeader: f.Config.APIKey.Header,
	}
}

// KeepsAPIKey reports whether API keys are sent to the upstream.
func (f *File) KeepsAPIKey() bool {
	return f.Config.Identity.RemoveAPIKey != nil && !*f.Config.Identity.RemoveAPIKey
}

// identityFields maps the fields of an identity to their default headers. The names are
// repeated here on purpose, so that tests fail if they change: upstreams rely on them.
var identityFields = map[string]string{
	"auth_method": "x-warder-auth-method",
	"user":        "x-warder-user",
	"roles":       "x-warder-roles",
	"session":     "x-warder-session",
	"key_prefix":  "x-warder-key-prefix",
	"scopes":      "x-warder-scopes",
	"client_ip":   "x-warder-client-ip",
}

// attributePrefix begins the field of an identity that is an attribute, such as
// attributes.tenant.
const attributePrefix = "attributes."

func identityFieldList() string { return strings.Join(slices.Sorted(maps.Keys(identityFields)), ", ") }

func (f *File) checkIdentityFields(at string, fields map[string]string, report func(field, format string, args ...any)) {
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		name, isAttribute := strings.CutPrefix(field, attributePrefix)
		if isAttribute && f.Config.Identity.Attributes[name] == "" && fields[field] != "" {
			report(strict.Join(at, field), "is an attribute without a header; name the header in config.identity.attributes")
		} else if _, known := identityFields[field]; !known && !isAttribute {
			report(at, "%q is not a field of an identity; use %s", field, identityFieldList())
		} else if fields[field] == "" {
			report(strict.Join(at, field), "is empty; leave out a field that is not sent to the upstream")
		}
	}
}

// IdentityHeader returns the header of an identity field.
func (f *File) IdentityHeader(field string) string {
	if name, renamed := f.Config.Identity.Headers[field]; renamed {
		return strings.ToLower(name)
	}
	if name, is := strings.CutPrefix(field, attributePrefix); is {
		return strings.ToLower(f.Config.Identity.Attributes[name])
	}
	return identityFields[field]
}

// identityFields returns the fields that an identity of the file may have.
func (f *File) identityFields() []string {
	fields := slices.Collect(maps.Keys(identityFields))
	for name := range f.Config.Identity.Attributes {
		fields = append(fields, attributePrefix+name)
	}
	return fields
}

// UserAttributes and APIKeyAttributes return the names of the attributes of all users and of all
// API keys: the columns of their tables.
func (f *File) UserAttributes() []string {
	all := map[string]bool{}
	for _, u := range f.Users {
		for name := range u.Attributes {
			all[name] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func (f *File) APIKeyAttributes() []string {
	all := map[string]bool{}
	for _, k := range f.APIKeys {
		for name := range k.Attributes {
			all[name] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}
