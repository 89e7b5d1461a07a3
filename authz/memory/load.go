package memory

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"

	"warder/authz"
	"warder/policy/strict"
)

// maxFileSize bounds a mistake (the wrong file named), not a directory.
const maxFileSize = 16 << 20

// Load reads a directory file into a new store:
//
//	users:
//	  - {id: "42", is_active: true, roles: [CONTROL]}
//	api_keys:
//	  - {prefix: wk_demo, key_hash: <64 hex digits>, scopes: [a], is_active: true,
//	     expires_at: 2027-01-01T00:00:00Z, user_id: "42"}
//	sessions:    # sessions that always live, for small installations and trials
//	  - {user_id: "42", session_id: s1}
//
// key_hash is the lower-case SHA-256 of the whole key; the key itself is never in
// the file. expires_at (RFC 3339; absent: never), user_id (absent: nobody's), roles
// and scopes (absent: none) may be left out, and so may each of the three lists.
//
// The file is strict: every problem of it is in the error, one a line, as
// file:line:column: field: what is wrong; what would be right. now is the clock
// for sessions that are put later, as in [New].
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

// A content is what a directory file says.
type content struct {
	Users    []userEntry    `json:"users"`
	APIKeys  []apiKeyEntry  `json:"api_keys"`
	Sessions []sessionEntry `json:"sessions"`
}

type userEntry struct {
	ID     id     `json:"id" jsonschema:"required"`
	Active bool   `json:"is_active" jsonschema:"required" missing:"; write true or false"` // no default: who is forgotten would be on
	Roles  []name `json:"roles"`
}

type apiKeyEntry struct {
	Prefix  prefix  `json:"prefix" jsonschema:"required"`
	Hash    keyHash `json:"key_hash" jsonschema:"required"`
	Scopes  []name  `json:"scopes"`
	Active  bool    `json:"is_active" jsonschema:"required" missing:"; write true or false"`
	Expires expiry  `json:"expires_at"`
	Owner   id      `json:"user_id"`
}

type sessionEntry struct {
	User    id `json:"user_id" jsonschema:"required"`
	Session id `json:"session_id" jsonschema:"required"`
}

// The texts of a directory, each of which reads and checks itself.
type (
	id      strict.String
	prefix  string
	name    string
	expiry  struct{ time.Time }
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
	for _, u := range c.Users {
		if l.once("the user "+u.ID.Text, u.ID.At, u.ID.Field) {
			store.PutUser(u.ID.Text, authz.User{Active: u.Active, Roles: namesOf(u.Roles)})
		}
	}
	for _, k := range c.APIKeys {
		if l.once("the key "+hex.EncodeToString(k.Hash.KeyHash[:]), k.Hash.at, k.Hash.field) {
			store.PutAPIKey(k.Hash.KeyHash, authz.APIKey{
				Prefix: string(k.Prefix), Active: k.Active, Scopes: namesOf(k.Scopes), ExpiresAt: k.Expires.Time, OwnerID: k.Owner.Text,
			})
		}
	}
	for _, s := range c.Sessions {
		if s.User.Field != "" && l.once("the session "+s.Session.Text+" of "+s.User.Text, s.Session.At, s.Session.Field) {
			store.PutSession(s.User.Text, s.Session.Text, 0)
		}
	}
	if err := r.Problems.Err(); err != nil {
		return nil, err
	}
	return store, nil
}

// A loader knows what must be there once, and its line.
type loader struct {
	*strict.Reader
	seen map[string]int
}

// once notes what is there and reports what was there before, by its line: a hash is a
// secret of sorts. What has no field was reported.
func (l loader) once(what string, at strict.Position, field string) bool {
	if field == "" {
		return false
	}
	if first, again := l.seen[what]; again {
		l.Fail(at, field, "stands here again; it is already at line %d", first)
		return false
	}
	l.seen[what] = at.Line
	return true
}

// text reads a text that is not empty.
func text(r *strict.Reader, field string, v strict.Value) (string, bool) {
	s, ok := r.Text(field, v, "")
	if ok && s == "" {
		r.Fail(v.At, field, "is empty")
	}
	return s, ok && s != ""
}

// ReadValue reads a user id or session id. A number would be read as something else by
// the next program (042, 1e3), so ids are texts.
func (i *id) ReadValue(r *strict.Reader, field string, v strict.Value) {
	switch s, ok := text(r, field, v); {
	case !ok:
	case !authz.ValidID(s):
		r.Fail(v.At, field, "is no id; use 1 to 128 of A-Z a-z 0-9 . _ @ | + = ~ -")
	default:
		*i = id{Text: s, At: v.At, Field: field}
	}
}

// ReadValue reads the public prefix of a key.
func (p *prefix) ReadValue(r *strict.Reader, field string, v strict.Value) {
	s, ok := text(r, field, v)
	if ok && !authz.ValidName(s) {
		r.Fail(v.At, field, "is no prefix; a prefix has no comma, no control character and no space at its ends")
	}
	*p = prefix(s)
}

// ReadValue reads a role or a scope.
func (n *name) ReadValue(r *strict.Reader, field string, v strict.Value) {
	s, ok := r.Text(field, v, "")
	if ok && !authz.ValidName(s) {
		r.Fail(v.At, field, "is a name that nobody can hold; a name has no comma, no control character, no space at its ends, and is not empty")
	}
	*n = name(s)
}

// ReadValue reads a time.
func (e *expiry) ReadValue(r *strict.Reader, field string, v strict.Value) {
	s, ok := r.Text(field, v, "")
	if !ok {
		return
	}
	at, err := time.Parse(time.RFC3339, s)
	switch {
	case err != nil:
		r.Fail(v.At, field, "is no time; write one as 2027-01-01T00:00:00Z")
	case at.IsZero():
		r.Fail(v.At, field, "is before all time; set is_active: false to turn a key off")
	}
	e.Time = at
}

// ReadValue reads a hash. What stands in its place is not shown: it may be the key itself.
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

func namesOf(list []name) authz.Names {
	all := make([]string, len(list))
	for i, n := range list {
		all[i] = string(n)
	}
	names, _ := authz.NewNames(all)
	return names
}
