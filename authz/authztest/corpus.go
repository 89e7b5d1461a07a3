package authztest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"warder/authz"
	"warder/authz/token"
)

// A CorpusFile is one file of the decision corpus: a policy, what the stores hold,
// and requests with the answers that they must get. README.md in the corpus says
// how a file is written.
type CorpusFile struct {
	Name   string       `yaml:"-"` // the file's, without .yaml
	About  string       `yaml:"about"`
	Policy string       `yaml:"policy"` // the text of a policy file
	Config CorpusConfig `yaml:"config"`

	// TextIDs says that some user ids are no integers.
	TextIDs  bool            `yaml:"text_ids"`
	Users    []CorpusUser    `yaml:"users"`
	APIKeys  []CorpusAPIKey  `yaml:"api_keys"`
	Sessions []CorpusSession `yaml:"sessions"`

	// Claims are those of every token, unless a case says otherwise.
	Claims map[string]any `yaml:"claims"`
	// Identities are what the upstream is told, by field (auth_method, user …), each
	// under a name that cases use.
	Identities map[string]map[string]string `yaml:"identities"`

	Cases []*Case `yaml:"cases"`
}

// A CorpusConfig is the part of warder.yaml that changes decisions, under the same
// keys.
type CorpusConfig struct {
	JWT struct {
		Keys         []CorpusKey   `yaml:"keys"`
		Issuer       string        `yaml:"issuer"`
		Audiences    []string      `yaml:"audiences"`
		Leeway       time.Duration `yaml:"leeway"`
		UserClaim    string        `yaml:"user_claim"`
		SessionClaim string        `yaml:"session_claim"`
	} `yaml:"jwt"`
	APIKey struct {
		Header string `yaml:"header"`
	} `yaml:"api_key"`
	ClientIP struct {
		Source         authz.ClientIPSource `yaml:"source"`
		TrustedProxies []netip.Prefix       `yaml:"trusted_proxies"`
		TrustedHops    int                  `yaml:"xff_num_trusted_hops"`
		Header         string               `yaml:"header"`
	} `yaml:"client_ip"`
	Identity struct {
		Headers             map[string]string `yaml:"headers"`
		RemoveAPIKey        *bool             `yaml:"remove_api_key"` // absent: true
		RemoveAuthorization bool              `yaml:"remove_authorization"`
	} `yaml:"identity"`
	StripHeaders []string `yaml:"strip_headers"`
}

// A CorpusKey verifies tokens.
type CorpusKey struct {
	ID        string `yaml:"kid"`
	Algorithm string `yaml:"algorithm"`
	Secret    string `yaml:"secret"`
}

// CorpusSecret signs the tokens of files that configure no key. It is the text of
// an HMAC secret, and protects nothing.
const CorpusSecret = "corpus-secret-that-protects-nothing-0123456789"

// A CorpusUser is a user of the directory.
type CorpusUser struct {
	ID        string   `yaml:"id"`
	State     string   `yaml:"state"` // active (when absent), inactive or null
	Roles     []string `yaml:"roles"`
	RolesJSON *string  `yaml:"roles_json"` // instead of Roles, what the column holds
}

// A CorpusAPIKey is an API key of the directory.
type CorpusAPIKey struct {
	Key        string   `yaml:"key"` // the whole key, in clear
	Prefix     string   `yaml:"prefix"`
	State      string   `yaml:"state"` // active (when absent), inactive or null
	Scopes     []string `yaml:"scopes"`
	ScopesJSON *string  `yaml:"scopes_json"`
	Expires    string   `yaml:"expires"` // from now, as +1h; absent: never
	Owner      string   `yaml:"owner"`
}

// A CorpusSession is a session that lives.
type CorpusSession struct {
	User    string `yaml:"user"`
	Session string `yaml:"session"`
}

// LoadCorpus reads every *.yaml file of a folder, sorted by name. The files are
// strict: what is unknown, missing or contradicts itself is an error.
func LoadCorpus(dir string) ([]*CorpusFile, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s: no *.yaml file; a corpus has at least one", dir)
	}
	var files []*CorpusFile
	var problems []error
	for _, path := range paths {
		f, err := loadCorpusFile(path)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", path, err))
			continue
		}
		files = append(files, f)
	}
	return files, errors.Join(problems...)
}

func loadCorpusFile(path string) (*CorpusFile, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := &CorpusFile{Name: strings.TrimSuffix(filepath.Base(path), ".yaml")}
	d := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict(), yaml.CustomUnmarshaler(unmarshalPrefix))
	if err := d.Decode(f); err != nil {
		return nil, err
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document; want one")
	}
	return f, f.complete()
}

// The library takes a netip.Prefix for a struct.
func unmarshalPrefix(p *netip.Prefix, text []byte) (err error) {
	*p, err = netip.ParsePrefix(strings.Trim(strings.TrimSpace(string(text)), `"'`))
	return err
}

// complete fills in what is derived and reports what is wrong.
func (f *CorpusFile) complete() error {
	var problems []error
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if f.About == "" || f.Policy == "" || len(f.Cases) == 0 {
		report("about, policy and cases are wanted")
	}
	if len(f.Config.JWT.Keys) == 0 {
		f.Config.JWT.Keys = []CorpusKey{{Secret: CorpusSecret}}
	}
	for i := range f.Config.JWT.Keys {
		if k := &f.Config.JWT.Keys[i]; k.Algorithm == "" {
			k.Algorithm = "HS256"
		}
	}
	for _, u := range f.Users {
		if !slices.Contains(states, u.State) {
			report("user %q: state %q; want active, inactive or null", u.ID, u.State)
		}
	}
	for _, k := range f.APIKeys {
		if !slices.Contains(states, k.State) {
			report("api key %q: state %q; want active, inactive or null", k.Prefix, k.State)
		}
		if _, ok := relativeTime(k.Expires); k.Expires != "" && !ok {
			report("api key %q: expires %q; want a time from now such as +1h", k.Prefix, k.Expires)
		}
	}
	for name, fields := range f.Identities {
		for _, problem := range unknownFields(fields) {
			report("identities.%s: %s", name, problem)
		}
	}
	seen := map[string]bool{}
	for i, c := range f.Cases {
		if c.Name == "" || seen[c.Name] {
			report("cases[%d]: the name %q is empty or stands here again", i, c.Name)
		}
		seen[c.Name] = true
		c.file = f
		for _, problem := range c.complete() {
			report("%s: %s", c.Name, problem)
		}
	}
	return errors.Join(problems...)
}

var states = []string{"", "active", "inactive", "null"}

// active returns the flag as a table holds it.
func active(state string) *bool {
	switch state {
	case "", "active":
		return Yes
	case "inactive":
		return No
	default:
		return nil
	}
}

// TokenConfig returns what verifies the tokens of the file.
func (f *CorpusFile) TokenConfig() token.Config {
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
func (f *CorpusFile) ClientIPConfig() authz.ClientIPConfig {
	c := f.Config.ClientIP
	return authz.ClientIPConfig{Source: c.Source, TrustedProxies: c.TrustedProxies, TrustedHops: c.TrustedHops, Header: c.Header}
}

// APIKeyHeader returns the header that carries API keys.
func (f *CorpusFile) APIKeyHeader() string {
	if f.Config.APIKey.Header != "" {
		return f.Config.APIKey.Header
	}
	return "X-API-Key"
}

// KeepsAPIKey reports whether the upstream gets to see API keys.
func (f *CorpusFile) KeepsAPIKey() bool {
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

func unknownFields(fields map[string]string) (problems []string) {
	for field, value := range fields {
		if _, known := identityFields[field]; !known || value == "" {
			problems = append(problems, fmt.Sprintf("%s: %q is unknown or without a value", field, value))
		}
	}
	return problems
}

// IdentityHeader returns the header of an identity field.
func (f *CorpusFile) IdentityHeader(field string) string {
	if name, renamed := f.Config.Identity.Headers[field]; renamed {
		return strings.ToLower(name)
	}
	return identityFields[field]
}
