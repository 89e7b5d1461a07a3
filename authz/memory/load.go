package memory

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"

	"warder/authz"
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
	if info.Size() > maxFileSize {
		return nil, fmt.Errorf("%s: is larger than %d MiB; keep a directory of that size in a database", path, maxFileSize>>20)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parse(path, data, now)
}

func parse(name string, data []byte, now func() time.Time) (*Store, error) {
	r := &reader{file: name}
	root, err := r.document(data)
	if err != nil {
		return nil, err
	}
	l := loader{reader: r, store: New(now), seen: make(map[string]int)}
	fields := r.fields(root, "", "users", "api_keys", "sessions")
	l.each(fields["users"], "users", l.user)
	l.each(fields["api_keys"], "api_keys", l.apiKey)
	l.each(fields["sessions"], "sessions", l.session)
	if len(r.problems) > 0 {
		return nil, r.err()
	}
	return l.store, nil
}

type loader struct {
	*reader
	store *Store
	seen  map[string]int // what must be there once, and its line
}

func (l *loader) each(list *value, field string, read func(v *value, field string)) {
	for i, v := range l.list(list, field) {
		read(v, fmt.Sprintf("%s[%d]", field, i))
	}
}

func (l *loader) user(v *value, field string) {
	f := l.fields(v, field, "id", "is_active", "roles")
	id := l.id(v, f, field, "id")
	user := authz.User{Active: l.active(v, f, field), Roles: l.names(f["roles"], field+".roles")}
	if id != "" && l.once(f["id"], field+".id", "the user "+id) {
		l.store.PutUser(id, user)
	}
}

func (l *loader) apiKey(v *value, field string) {
	f := l.fields(v, field, "prefix", "key_hash", "scopes", "is_active", "expires_at", "user_id")
	key := authz.APIKey{Active: l.active(v, f, field), Scopes: l.names(f["scopes"], field+".scopes")}
	if prefix, ok := l.required(v, f, field, "prefix"); ok {
		key.Prefix = prefix
		if !authz.ValidName(prefix) {
			l.report(f["prefix"], field+".prefix", "a prefix has no comma, no control character and no space at its ends")
		}
	}
	if f["user_id"] != nil {
		key.OwnerID = l.id(v, f, field, "user_id")
	}
	if expires := f["expires_at"]; expires != nil {
		text, _ := l.text(expires, field+".expires_at")
		at, err := time.Parse(time.RFC3339, text)
		switch {
		case err != nil:
			l.report(expires, field+".expires_at", "is no time; write one as 2027-01-01T00:00:00Z")
		case at.IsZero():
			l.report(expires, field+".expires_at", "is before all time; set is_active: false to turn a key off")
		}
		key.ExpiresAt = at
	}
	text, ok := l.required(v, f, field, "key_hash")
	if !ok {
		return
	}
	var hash authz.KeyHash
	if len(text) != hex.EncodedLen(len(hash)) || strings.ToLower(text) != text || !decodes(hash[:], text) {
		// The text is not shown: it may be the key itself.
		l.report(f["key_hash"], field+".key_hash", "is not 64 lower-case hexadecimal digits; write the SHA-256 of the whole key (printf %s \"$KEY\" | sha256sum), never the key")
		return
	}
	if l.once(f["key_hash"], field+".key_hash", "the key with the hash "+text) {
		l.store.PutAPIKey(hash, key)
	}
}

func decodes(dst []byte, text string) bool {
	_, err := hex.Decode(dst, []byte(text))
	return err == nil
}

func (l *loader) session(v *value, field string) {
	f := l.fields(v, field, "user_id", "session_id")
	user, id := l.id(v, f, field, "user_id"), l.id(v, f, field, "session_id")
	if user != "" && id != "" && l.once(v, field, "the session "+id+" of the user "+user) {
		l.store.PutSession(user, id, 0)
	}
}

// once notes what is there and reports what was there before, by its line: a
// hash is a secret of sorts.
func (l *loader) once(v *value, field, what string) bool {
	if first, again := l.seen[what]; again {
		l.report(v, field, fmt.Sprintf("stands here again; it is already at line %d", first))
		return false
	}
	l.seen[what] = v.line
	return true
}

// required returns a text that has to be there and is not empty.
func (l *loader) required(v *value, f map[string]*value, field, name string) (string, bool) {
	if f == nil {
		return "", false // reported: this is no group of keys
	}
	if f[name] == nil {
		l.report(v, field, name+" is missing")
		return "", false
	}
	text, ok := l.text(f[name], field+"."+name)
	if ok && text == "" {
		l.report(f[name], field+"."+name, "is empty")
		return "", false
	}
	return text, ok
}

// id reads a user id or session id. A number would be read as something else by
// the next program (042, 1e3), so ids are texts.
func (l *loader) id(v *value, f map[string]*value, field, name string) string {
	text, ok := l.required(v, f, field, name)
	if ok && !authz.ValidID(text) {
		l.report(f[name], field+"."+name, "is no id; use 1 to 128 of A-Z a-z 0-9 . _ @ | + = ~ -")
		return ""
	}
	return text
}

// active has no default: a key that somebody forgot to turn off would be on.
func (l *loader) active(v *value, f map[string]*value, field string) bool {
	if f == nil {
		return false
	}
	if f["is_active"] == nil {
		l.report(v, field, "is_active is missing; write true or false")
		return false
	}
	return l.boolean(f["is_active"], field+".is_active")
}

func (l *loader) names(list *value, field string) authz.Names {
	var names []string
	for i, v := range l.list(list, field) {
		field := fmt.Sprintf("%s[%d]", field, i)
		name, ok := l.text(v, field)
		if ok && !authz.ValidName(name) {
			l.report(v, field, "nobody can hold this name; a name has no comma, no control character, no space at its ends, and is not empty")
			continue
		}
		names = append(names, name)
	}
	valid, _ := authz.NewNames(names)
	return valid
}
