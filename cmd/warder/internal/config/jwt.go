package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"warder/authz"
	"warder/authz/jwks"
	"warder/authz/mask"
	"warder/authz/token"
	"warder/policy/strict"
)

// JWT contains the settings for the verification of tokens.
type JWT struct {
	Keys                    []JWTKey // those of all issuers
	Issuer                  string
	Audiences               []string
	Issuers                 []JWTIssuer
	Leeway                  time.Duration
	Overlap                 time.Duration // how long a replaced secret is accepted
	UserClaim, SessionClaim string
	// RolesClaim is "" unless the roles and the state of users are in tokens.
	RolesClaim, ActiveClaim string
	SessionOptional         bool             // a token need not be of a session
	Attributes              token.Attributes // of the principal, from claims
	RefusedUses             []string         // besides the built-in ones
	AcceptedUses            []string
}

// A JWTIssuer is one of several issuers of tokens.
type JWTIssuer struct {
	Name                    string
	Audiences               []string
	UserClaim, SessionClaim string
	RolesClaim, ActiveClaim string
	NoRoles                 bool             // tokens of it give no roles
	Attributes              token.Attributes // nil: those of JWT
	Remote                  *jwks.Config     // where the keys are; nil if they are in Keys
}

// The kinds of JWTKey.Kind.
const (
	KeySecret     KeyKind = iota
	KeyPublicFile         // PEM
	KeySetFile            // a JSON Web Key Set
)

// A KeyKind is what the text of a key is.
type KeyKind int

// A JWTKey is a key that verifies the tokens with its key ID, or a set of such keys.
type JWTKey struct {
	Kind       KeyKind
	ID         string
	Algorithm  string      // "": the default of a public key, or that of each key of a set
	Algorithms []string    // of a set: those that its keys may be for; empty means all
	Secret     mask.Secret // or the text of the file with public keys
	File       SecretFile  // the file that the secret is from, if any
	Issuer     int         // 0: the keys of jwt; otherwise the index in Issuers plus one
	Field      string      // the key of the configuration, for messages
}

// rememberedTokens is the maximum size of the cache of verified tokens, in bytes. That is
// enough for about 100,000 tokens, as many as the caches of sessions and users have room for.
const rememberedTokens = 32 << 20

// rememberedBefore is like rememberedTokens, for the tokens of a secret that was replaced.
const rememberedBefore = 8 << 20

// FetchedKeys are the keys that were fetched, by the index in Issuers. Those of an issuer that is
// not there are not known.
type FetchedKeys map[int][]token.Key

// Verifier returns a verifier with the keys. The error contains all problems of the keys. The
// keys at URLs are not known to it.
func (s JWT) Verifier() (*token.Verifier, error) { return s.VerifierWith(nil) }

// VerifierWith is like Verifier, with keys that were fetched.
func (s JWT) VerifierWith(fetched FetchedKeys) (*token.Verifier, error) {
	return s.verifier(s.Keys, fetched, rememberedTokens)
}

// VerifierOf returns a verifier with only one of the keys, and with a smaller cache. It does not
// know whether tokens of other issuers are valid.
func (s JWT) VerifierOf(key int) (*token.Verifier, error) {
	return s.verifier(s.Keys[key:key+1], nil, rememberedBefore)
}

func (s JWT) verifier(keys []JWTKey, fetched FetchedKeys, remember int) (*token.Verifier, error) {
	c := token.Config{
		Issuer: s.Issuer, Audiences: s.Audiences, Leeway: s.Leeway, UserClaim: s.UserClaim, SessionClaim: s.SessionClaim, SessionOptional: s.SessionOptional,
		Attributes:  s.Attributes,
		RefusedUses: s.RefusedUses, AcceptedUses: s.AcceptedUses,
		Remember:   remember,
		RolesClaim: s.RolesClaim, ActiveClaim: s.ActiveClaim, ValidRole: authz.ValidName,
	}
	whole := len(keys) == len(s.Keys)
	for i, is := range s.Issuers {
		known, fetched := fetched[i]
		c.Issuers = append(c.Issuers, token.Issuer{
			Name: is.Name, Audiences: is.Audiences, UserClaim: is.UserClaim, SessionClaim: is.SessionClaim, RolesClaim: is.RolesClaim, ActiveClaim: is.ActiveClaim, NoRoles: is.NoRoles,
			Attributes: is.Attributes,
			Keys:       known, KeysUnknown: !fetched && (is.Remote != nil || !whole),
		})
	}
	var problems []error
	for _, k := range keys {
		made, err := k.keys()
		if err != nil {
			problems = append(problems, err)
		}
		if k.Issuer == 0 {
			c.Keys = append(c.Keys, made...)
			continue
		}
		is := &c.Issuers[k.Issuer-1]
		is.Keys, is.KeysUnknown = append(is.Keys, made...), false
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return token.NewVerifier(c)
}

// keys returns the keys of the text. The error is a [*token.ConfigError] and does not contain it.
func (k JWTKey) keys() ([]token.Key, error) {
	source := strings.TrimPrefix(k.Field, "jwt.")
	one := token.Key{ID: k.ID, Algorithm: k.Algorithm, Source: source}
	switch k.Kind {
	case KeySecret:
		one.Algorithm = cmp.Or(k.Algorithm, "HS256")
		one.Secret = []byte(k.Secret.Reveal())
		return []token.Key{one}, nil
	case KeyPublicFile:
		public, err := token.ParsePublicKey([]byte(k.Secret.Reveal()))
		if err != nil {
			return nil, token.Misconfigured(source, "%s %v", k.File.Path, err)
		}
		one.Public = public
		one.Algorithm = cmp.Or(k.Algorithm, token.DefaultAlgorithm(public))
		if one.Algorithm == "" {
			return nil, token.Misconfigured(source, "%s contains a key on a curve that no algorithm is for; want P-256, P-384, P-521, Ed25519 or RSA", k.File.Path)
		}
		return []token.Key{one}, nil
	default:
		return k.set(source)
	}
}

// set returns the keys of a JSON Web Key Set. A key that must not be in it is an error, because
// the file is in the operator's hand.
func (k JWTKey) set(source string) ([]token.Key, error) {
	algorithms := k.Algorithms
	if k.Algorithm != "" {
		algorithms = []string{k.Algorithm}
	}
	set, err := token.ParseKeySet([]byte(k.Secret.Reveal()), algorithms)
	switch {
	case err != nil:
		return nil, token.Misconfigured(source, "%s %v", k.File.Path, err)
	case len(set.Refused) > 0:
		return nil, token.Misconfigured(source, "%s: %s", k.File.Path, strings.Join(set.Refused, "; "))
	case len(set.Keys) == 0 && len(set.Unused) > 0:
		return nil, token.Misconfigured(source, "%s has no key that can be used: %s", k.File.Path, strings.Join(set.Unused, "; "))
	case len(set.Keys) == 0:
		return nil, token.Misconfigured(source, "%s has no keys; want at least one", k.File.Path)
	}
	for i := range set.Keys {
		set.Keys[i].Source = source
	}
	return set.Keys, nil
}

// RemoteKeys returns a source for each issuer whose keys are at a URL, by the index in Issuers.
// use gets the keys when they change.
func (s JWT) RemoteKeys(log *slog.Logger, use func(issuer int, keys []token.Key)) (map[int]*jwks.Source, error) {
	sources := map[int]*jwks.Source{}
	for i, is := range s.Issuers {
		if is.Remote == nil {
			continue
		}
		c := *is.Remote
		c.Log = log
		if use != nil {
			c.Use = func(keys []token.Key) { use(i, keys) }
		}
		source, err := jwks.New(c)
		if err != nil {
			return nil, err
		}
		sources[i] = source
	}
	return sources, nil
}

// FetchKeys fetches the keys at URLs once, for a command. Those that cannot be fetched are not
// in the result; the error joins a [*token.ConfigError] for each.
func (s JWT) FetchKeys(ctx context.Context) (FetchedKeys, error) {
	sources, err := s.RemoteKeys(nil, nil)
	if err != nil {
		return nil, err
	}
	fetched := FetchedKeys{}
	var problems []error
	for _, i := range slices.Sorted(maps.Keys(sources)) {
		keys, err := sources[i].Fetch(ctx)
		if err != nil {
			problems = append(problems, token.Misconfigured(strict.Index("jwt.issuers", i), "the keys of %s: %v", s.Issuers[i].Name, err))
			continue
		}
		fetched[i] = keys
	}
	return fetched, errors.Join(problems...)
}

func (c *Config) resolveJWT() JWT {
	r := c.reader
	s := JWT{
		Issuer: string(c.JWT.Issuer), Audiences: c.JWT.Audiences, Leeway: c.JWT.Leeway, Overlap: c.JWT.Overlap,
		UserClaim: c.JWT.UserClaim, SessionClaim: c.JWT.SessionClaim, SessionOptional: c.sessionOptional(), Attributes: c.JWT.Attributes, RefusedUses: c.JWT.RefusedUses, AcceptedUses: c.JWT.AcceptedUses,
	}
	c.resolveUserClaims(&s)
	if c.JWT.Overlap < 0 || c.JWT.Overlap > maxOverlap {
		r.fail("jwt.overlap", "is %v; use 0s to 24h, at least as long as a token lives", c.JWT.Overlap)
	}
	if len(c.JWT.Keys) == 0 && !r.given("jwt.keys") && len(c.JWT.Issuers) == 0 {
		if r.incomplete {
			return s
		}
		r.fail("jwt.keys", "missing; set WARDER_JWT_SECRET_FILE or WARDER_JWT_SECRET, or list the key in the configuration file, or list jwt.issuers")
		return s
	}
	before := len(r.Problems)
	for i := range c.JWT.Keys {
		s.Keys = append(s.Keys, c.resolveKey(&c.JWT.Keys[i], fmt.Sprintf("jwt.keys[%d]", i), 0))
	}
	for i := range c.JWT.Issuers {
		c.resolveIssuer(&s, i)
	}
	if len(c.JWT.Keys) == 0 {
		for _, unused := range []string{"jwt.issuer", "jwt.audiences"} {
			if r.given(unused) {
				r.warn(unused, "has no effect, because there are no jwt.keys that it is for; each of jwt.issuers has its own")
			}
		}
	}
	if len(r.Problems) > before || len(s.Keys) == 0 && len(s.Issuers) == 0 {
		return s
	}
	if r.incomplete && slices.ContainsFunc(s.Keys, func(k JWTKey) bool { return k.Secret.Reveal() == "" }) {
		return s // the variable is not set, which was already reported
	}
	if _, err := s.Verifier(); err != nil {
		r.failWith("jwt", "jwt", err)
	}
	return s
}

// resolveUserClaims adds the claims with the roles and the state of users, if tokens have them.
func (c *Config) resolveUserClaims(s *JWT) {
	r := c.reader
	claims := map[string]filledText{"jwt.roles_claim": c.JWT.RolesClaim, "jwt.active_claim": c.JWT.ActiveClaim}
	for i := range c.JWT.Issuers {
		field := strict.Index("jwt.issuers", i)
		is := &c.JWT.Issuers[i]
		claims[field+".roles_claim"], claims[field+".active_claim"] = is.RolesClaim, is.ActiveClaim
		switch {
		case is.Roles == switchedOff && r.given(field+".roles_claim"):
			r.fail(field+".roles_claim", "is given together with roles: off; keep one of the two")
		case r.given(field+".roles") && !c.UsersInTokens():
			r.warn(field+".roles", "has no effect, because the roles of users are those of the directory; leave it out")
		case c.UsersInTokens() && is.Roles != switchedOff && is.RolesClaim == "" && len(c.JWT.Issuers)+len(c.JWT.Keys) > 1:
			r.warn(field, "has no roles_claim of its own, so whoever sets the claim %s in tokens of %s gives roles here; write roles_claim, or roles: off if it gives none", c.RolesClaim(), is.Issuer)
		}
	}
	for field, name := range claims {
		first, _, _ := strings.Cut(string(name), ".")
		switch {
		case !c.UsersInTokens() && r.given(field):
			r.warn(field, "has no effect, because the roles and the state of users are those of the directory; write directory.users: token, or leave it out")
		case c.UsersInTokens() && strings.HasSuffix(first, "user_metadata"):
			r.warn(field, "%q is in user_metadata, which users may change themselves at Supabase and Auth0; name a claim such as app_metadata.roles", name)
		}
	}
	if c.UsersInTokens() {
		s.RolesClaim, s.ActiveClaim = c.RolesClaim(), string(c.JWT.ActiveClaim)
	}
}

// resolveKey reads a key. A problem with what it reads is reported. algorithms are for a key set.
func (c *Config) resolveKey(k *JWTKeyKeys, field string, issuer int, algorithms ...string) JWTKey {
	r := c.reader
	out := JWTKey{ID: k.KID, Algorithm: string(k.Algorithm), Algorithms: algorithms, Issuer: issuer, Field: field}
	source := secretSource{k.Secret, string(k.SecretFile), field + ".secret"}
	var given []string
	for _, has := range []struct {
		name string
		is   bool
	}{
		{"secret", k.Secret.given}, {"secret_file", k.SecretFile != ""}, {"public_key_file", k.PublicKeyFile != ""}, {"jwks_file", k.JWKSFile != ""},
	} {
		if has.is {
			given = append(given, has.name)
		}
	}
	if len(given) > 1 && (k.PublicKeyFile != "" || k.JWKSFile != "") {
		r.fail(field, "has %s; keep one of them, and write another entry for each further key", strings.Join(given, " and "))
		return out
	}
	switch {
	case k.PublicKeyFile != "":
		out.Kind, out.File = KeyPublicFile, SecretFile{Key: field + ".public_key_file", Path: string(k.PublicKeyFile), Public: true}
	case k.JWKSFile != "":
		out.Kind, out.File = KeySetFile, SecretFile{Key: field + ".jwks_file", Path: string(k.JWKSFile), Public: true}
		if r.given(field + ".kid") {
			r.fail(field+".kid", "cannot be given with jwks_file, whose keys have their own; leave it out")
		}
	default:
		secret, ok := source.read(r)
		if !ok && !source.isSet() && !r.given(source.field) && !r.given(source.field+"_file") {
			r.fail(field, "has no key; give secret_file, secret: ${VAR}, public_key_file or jwks_file")
		}
		if ok && source.literal {
			r.warn(source.field, "the file contains the secret itself; replace it with secret_file or ${VAR}")
		}
		out.Algorithm = cmp.Or(out.Algorithm, "HS256")
		out.Secret, out.File = secret, source.file()
		return out
	}
	text, err := out.File.Read()
	if err != nil {
		r.fail(out.File.Key, "%v", err)
		return out
	}
	out.Secret, out.Field = text, out.File.Key
	if _, err := out.keys(); err != nil {
		r.failWith(out.Field, "jwt", err)
	}
	return out
}

// resolveIssuer adds an issuer and its keys.
func (c *Config) resolveIssuer(s *JWT, i int) {
	r, is := c.reader, &c.JWT.Issuers[i]
	field := strict.Index("jwt.issuers", i)
	out := JWTIssuer{Name: is.Issuer, Audiences: is.Audiences, UserClaim: is.UserClaim, SessionClaim: is.SessionClaim, Attributes: is.Attributes}
	if c.UsersInTokens() {
		out.RolesClaim, out.ActiveClaim, out.NoRoles = string(is.RolesClaim), string(is.ActiveClaim), is.Roles == switchedOff
	}
	var given []string
	for _, has := range []struct {
		name string
		is   bool
	}{
		{"keys", len(is.Keys) > 0 || r.given(field+".keys")}, {"jwks_file", is.JWKSFile != ""}, {"jwks_url", is.JWKSURL != ""}, {"discovery", is.Discovery},
	} {
		if has.is {
			given = append(given, has.name)
		}
	}
	switch {
	case len(given) == 0:
		r.fail(field, "has no keys; give discovery: true, jwks_url, jwks_file or keys")
	case len(given) > 1:
		r.fail(field, "has %s; keep one of them", strings.Join(given, " and "))
	}
	remote := &jwks.Config{Issuer: is.Issuer, URL: is.JWKSURL, CAFile: string(is.CAFile), MaxAge: is.MaxAge, Algorithms: is.Algorithms}
	if is.JWKSURL != "" || is.Discovery {
		out.Remote = remote
		for _, err := range remote.Validate() {
			r.failWith(field, field, err)
		}
	} else {
		for _, unused := range []string{".ca_file", ".max_age"} {
			if r.given(field + unused) {
				r.warn(field+unused, "has no effect without jwks_url or discovery; leave it out")
			}
		}
		for j, name := range is.Algorithms {
			if !slices.Contains(token.PublicAlgorithms(), name) {
				r.fail(fmt.Sprintf("%s.algorithms[%d]", field, j), "%q is no algorithm with a public key; use %s", name, strings.Join(token.PublicAlgorithms(), ", "))
			}
		}
		if r.given(field+".algorithms") && is.JWKSFile == "" {
			r.warn(field+".algorithms", "has no effect on keys, each of which has its algorithm; leave it out")
		}
	}
	if len(is.Audiences) == 0 && !r.given(field+".audiences") {
		r.warn(field, "has no audiences, so a token of %s for any other application is accepted here too; list what aud is in tokens for yours, or write audiences: [] if they have none", is.Issuer)
	}
	s.Issuers = append(s.Issuers, out)
	for j := range is.Keys {
		s.Keys = append(s.Keys, c.resolveKey(&is.Keys[j], fmt.Sprintf("%s.keys[%d]", field, j), i+1))
	}
	if is.JWKSFile != "" {
		s.Keys = append(s.Keys, c.resolveKey(&JWTKeyKeys{JWKSFile: is.JWKSFile}, field, i+1, is.Algorithms...))
	}
}
