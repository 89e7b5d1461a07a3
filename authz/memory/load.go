package memory

import (
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"warder/authz"
	"warder/authz/attribute"
	"warder/policy/strict"
)

// maxFileSize catches the configuration of a wrong file. It is in bytes.
const maxFileSize = 16 << 20

// Load reads a directory file into a new store:
//
//	users:
//	  - {id: "42", is_active: true, roles: [CONTROL], attributes: {tenant: acme}}
//	api_keys:
//	  - {prefix: wk_demo, key_hash: <64 hex digits>, scopes: [a], is_active: true,
//	     expires_at: 2027-01-01T00:00:00Z, user_id: "42"}
//	sessions:    # sessions that always live, for small installations and trials
//	  - {user_id: "42", session_id: s1}
//	revocations: # for sessions.rule absent: sessions that have ended
//	  - {session_id: s2}                                  # with user_id too: of this user only
//	  - {user_id: "42"}                                   # all of the user
//	  - {user_id: "43", issued_before: 2027-01-01T00:00:00Z}
//
// key_hash is the lower-case hexadecimal SHA-256 of the whole key. The key itself is never
// in the file. Optional are each of the lists, expires_at (RFC 3339; by default a key
// does not expire), user_id (by default a key has no owner), roles, scopes and attributes.
//
// A name that one user of the file has as an attribute is an attribute of all users, as a column
// of a table is: where it is left out it has no value, and a claim of the token does not take its
// place. The same holds for API keys.
//
// The file is read strictly. The error lists every problem, one per line, in the form
// file:line:column: field: what is wrong; what to write instead. now is the clock for
// sessions that are added later, as in [New].
func Load(path string, now func() time.Time) (*Store, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s: is a folder; name a file", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parse(path, data, now)
}

// content is the schema of a directory file.
type content struct {
	Users    []userEntry    `json:"users"`
	APIKeys  []apiKeyEntry  `json:"api_keys"`
	Sessions []sessionEntry `json:"sessions"`

	Revocations []revocationEntry `json:"revocations"`
}

type userEntry struct {
	ID     id     `json:"id" jsonschema:"required"`
	Active bool   `json:"is_active" jsonschema:"required" missing:"; write true or false"` // no default, so that an omission cannot activate a user
	Roles  []name `json:"roles"`

	Attributes attributes `json:"attributes"`
}

type apiKeyEntry struct {
	Prefix  prefix  `json:"prefix" jsonschema:"required"`
	Hash    keyHash `json:"key_hash" jsonschema:"required"`
	Scopes  []name  `json:"scopes"`
	Active  bool    `json:"is_active" jsonschema:"required" missing:"; write true or false"`
	Expires expiry  `json:"expires_at"`
	Owner   id      `json:"user_id"`

	Attributes attributes `json:"attributes"`
}

type sessionEntry struct {
	User    id `json:"user_id" jsonschema:"required"`
	Session id `json:"session_id" jsonschema:"required"`
}

type revocationEntry struct {
	User    id   `json:"user_id"`
	Session id   `json:"session_id"`
	Before  date `json:"issued_before"`
}

// The scalar types of a directory file, each with its own check.
type (
	id     strict.String
	prefix string
	name   string
	expiry struct{ time.Time }
	// attributes are values by name.
	attributes map[string]string
	date       struct {
		time.Time
		at    strict.Position
		field string
	}
	keyHash struct {
		authz.KeyHash
		at    strict.Position
		field string
	}
)

func parse(name string, data []byte, now func() time.Time) (*Store, error) {
	v, problems := strict.Parse(strict.File{Name: name, Data: data}, strict.Limits{Bytes: maxFileSize, TooLarge: "keep a directory of that size in a database"})
	if v.Kind == strict.Null {
		problems = append(problems, strict.Problem{Position: v.At, Message: "is empty; write users, api_keys or sessions"})
	}
	if v.Kind == strict.Broken || v.Kind == strict.Null {
		return nil, problems.Err()
	}
	r := &strict.Reader{Quiet: true, Problems: problems}
	var c content
	r.Read("", v, &c)
	store := New(now)
	l := loader{r, map[string]int{}}
	store.userAttributes = namesIn(c.Users, func(u userEntry) attributes { return u.Attributes })
	store.keyAttributes = namesIn(c.APIKeys, func(k apiKeyEntry) attributes { return k.Attributes })
	for _, u := range c.Users {
		if l.once("the user "+u.ID.Text, u.ID.At, u.ID.Field) {
			store.PutUser(u.ID.Text, authz.User{Active: u.Active, Roles: namesOf(u.Roles), Attributes: u.Attributes.set(store.userAttributes)})
		}
	}
	for _, k := range c.APIKeys {
		if l.once("the key "+hex.EncodeToString(k.Hash.KeyHash[:]), k.Hash.at, k.Hash.field) {
			store.PutAPIKey(k.Hash.KeyHash, authz.APIKey{
				Prefix: string(k.Prefix), Active: k.Active, Scopes: namesOf(k.Scopes), ExpiresAt: k.Expires.Time, OwnerID: k.Owner.Text,
				Attributes: k.Attributes.set(store.keyAttributes),
			})
		}
	}
	for _, s := range c.Sessions {
		if s.User.Field != "" && l.once("the session "+s.Session.Text+" of "+s.User.Text, s.Session.At, s.Session.Field) {
			store.PutSession(s.User.Text, s.Session.Text, 0)
		}
	}
	l.revoke(&store.revocations, c.Revocations)
	if err := r.Problems.Err(); err != nil {
		return nil, err
	}
	return store, nil
}

// A loader records the line of each entry, to find duplicates.
type loader struct {
	*strict.Reader
	seen map[string]int
}

// once records an entry. If it is a duplicate, once reports the line of the first entry, and
// not what, which may contain a hash. It ignores an entry without a field, which has been
// reported already.
func (l loader) once(what string, at strict.Position, field string) bool {
	if field == "" {
		return false
	}
	if first, again := l.seen[what]; again {
		l.Fail(at, field, "is repeated; it is already at line %d", first)
		return false
	}
	l.seen[what] = at.Line
	return true
}

func (l loader) revoke(to *Revocations, entries []revocationEntry) {
	for i, e := range entries {
		field := strict.Index("revocations", i)
		switch {
		case e.Before.field != "" && (e.User.Field == "" || e.Session.Field != ""):
			l.Fail(e.Before.at, e.Before.field, "is for all tokens of a user; give user_id, and no session_id")
		case e.Before.field != "":
			if l.once("issued_before of "+e.User.Text, e.Before.at, e.Before.field) {
				to.RevokeIssued(e.User.Text, e.Before.Time)
			}
		case e.User.Field == "" && e.Session.Field == "":
			l.Fail(l.Near(field), field, "names nothing; give session_id, user_id or both")
		default:
			to.Revoke(e.User.Text, e.Session.Text)
		}
	}
}

// text reads a non-empty string.
func text(r *strict.Reader, field string, v strict.Value) (string, bool) {
	s, ok := r.Text(field, v, "")
	if ok && s == "" {
		r.Fail(v.At, field, "is empty")
	}
	return s, ok && s != ""
}

// ReadValue reads a user id or session id. It must be a string, because YAML readers differ
// in how they read numbers such as 042 and 1e3.
func (i *id) ReadValue(r *strict.Reader, field string, v strict.Value) {
	switch s, ok := text(r, field, v); {
	case !ok:
	case !authz.ValidID(s):
		r.Fail(v.At, field, "is not a valid id; use 1 to 128 of A-Z a-z 0-9 . _ @ | + = ~ -")
	default:
		*i = id{Text: s, At: v.At, Field: field}
	}
}

// ReadValue reads the public prefix of a key.
func (p *prefix) ReadValue(r *strict.Reader, field string, v strict.Value) {
	s, ok := text(r, field, v)
	if ok && !authz.ValidName(s) {
		r.Fail(v.At, field, "is not a valid prefix; it must have no comma, control character or leading or trailing space")
	}
	*p = prefix(s)
}

// ReadValue reads a role or a scope.
func (n *name) ReadValue(r *strict.Reader, field string, v strict.Value) {
	s, ok := r.Text(field, v, "")
	if ok && !authz.ValidName(s) {
		r.Fail(v.At, field, "is not a valid name; it must not be empty or have a comma, control character or leading or trailing space")
	}
	*n = name(s)
}

// timeOf reads a time in RFC 3339.
func timeOf(r *strict.Reader, field string, v strict.Value) (time.Time, bool) {
	s, ok := r.Text(field, v, "")
	if !ok {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		r.Fail(v.At, field, "is not a time; write one such as 2027-01-01T00:00:00Z")
	}
	return at, err == nil
}

// ReadValue reads when a key expires.
func (e *expiry) ReadValue(r *strict.Reader, field string, v strict.Value) {
	at, ok := timeOf(r, field, v)
	if ok && at.IsZero() {
		r.Fail(v.At, field, "is the zero time, which would mean never; set is_active: false to deactivate a key")
	}
	e.Time = at
}

// ReadValue reads the time before which the tokens that end were issued.
func (d *date) ReadValue(r *strict.Reader, field string, v strict.Value) {
	if at, ok := timeOf(r, field, v); ok {
		*d = date{at, v.At, field}
	}
}

// ReadValue reads a hash. Its error does not contain the value, which may be the key itself.
func (h *keyHash) ReadValue(r *strict.Reader, field string, v strict.Value) {
	s, ok := text(r, field, v)
	if !ok {
		return
	}
	var hash authz.KeyHash
	digits, err := hex.DecodeString(s)
	if err != nil || copy(hash[:], digits) != len(digits) || len(digits) != len(hash) || strings.ToLower(s) != s {
		r.Fail(v.At, field, "is not 64 lower-case hexadecimal digits; write the SHA-256 of the whole key (printf %%s \"$KEY\" | sha256sum), never the key")
		return
	}
	*h = keyHash{hash, v.At, field}
}

// ReadValue reads attributes.
func (a *attributes) ReadValue(r *strict.Reader, field string, v strict.Value) {
	if v.Kind != strict.Group {
		r.WrongKind(field, v, "a mapping such as {tenant: acme}")
		return
	}
	if len(v.Entries) > attribute.Max {
		r.Fail(v.At, field, "has %d attributes; use at most %d", len(v.Entries), attribute.Max)
	}
	*a = make(attributes, len(v.Entries))
	for _, e := range v.Entries {
		field := strict.Join(field, strict.KeyName(e.Key))
		if !attribute.ValidName(e.Key) {
			r.Fail(e.At, field, "is not the name of an attribute; %s", attribute.NameGrammar)
			continue
		}
		s, ok := text(r, field, e.Value)
		if ok && !attribute.ValidValue(s) {
			r.Fail(e.Value.At, field, "is not the value of an attribute; %s", attribute.ValueGrammar)
		}
		(*a)[e.Key] = s
	}
}

// set returns the attributes, with those in names that are left out as known and without a value.
func (a attributes) set(names []string) attribute.Set {
	var b attribute.Builder
	for _, name := range names {
		b.Put(name, a[name])
	}
	return b.Set()
}

// namesIn returns the names of the attributes of all entries, sorted.
func namesIn[E any](entries []E, of func(E) attributes) []string {
	all := map[string]bool{}
	for _, e := range entries {
		for name := range of(e) {
			all[name] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func namesOf(list []name) authz.Names {
	all := make([]string, len(list))
	for i, n := range list {
		all[i] = string(n)
	}
	names, _ := authz.NewNames(all)
	return names
}
