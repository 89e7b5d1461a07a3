package authztest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"warder/authz"
	"warder/authz/attribute"
)

// A UserRow is a row of a table of users.
type UserRow struct {
	ID     string
	Active *bool  // nil for NULL
	Roles  string // valid or invalid JSON text; "" for NULL
	// Attributes are the values of the columns of [AttributeNames], in the same order; "" for
	// NULL. Shorter lists end with NULL.
	Attributes []string
}

// An APIKeyRow is a row of a table of API keys.
type APIKeyRow struct {
	Hash    authz.KeyHash
	Prefix  string
	Scopes  string // valid or invalid JSON text; "" for NULL
	Active  *bool  // nil for NULL
	Expires string // RFC 3339, "infinity", "-infinity"; "" for NULL
	OwnerID string // "" for NULL; else the id of an existing user
	// Attributes are like those of a [UserRow].
	Attributes []string
}

// AttributeNames are the attributes that users and API keys of a [DirectoryFixture] have.
func AttributeNames() []string { return []string{"tenant", "plan"} }

// Attribute returns the n-th of the attributes of a row, "" for NULL.
func Attribute(list []string, n int) string {
	if n < len(list) {
		return list[n]
	}
	return ""
}

// AttributeSet returns attributes of a row as a set.
func AttributeSet(list []string) attribute.Set {
	var b attribute.Builder
	for n, name := range AttributeNames() {
		b.Put(name, Attribute(list, n))
	}
	return b.Set()
}

// An IDKind is the type of a store's user ids.
type IDKind string

const (
	TextIDs    IDKind = "text"
	IntegerIDs IDKind = "integer" // 8 bytes, unless there is an exception
	UUIDs      IDKind = "uuid"
)

// A DirectoryFixture is an empty directory under test and the functions to fill it.
type DirectoryFixture struct {
	Users   authz.Users
	APIKeys authz.APIKeys
	IDs     IDKind

	PutUser      func(testing.TB, UserRow)
	DeleteUser   func(t testing.TB, id string)
	PutAPIKey    func(testing.TB, APIKeyRow)
	DeleteAPIKey func(testing.TB, authz.KeyHash)

	// Exceptions has the cases that the store cannot represent, each with the reason. The
	// name of a case is group/case. A name that ends in "/" is that of a whole group.
	Exceptions map[string]string
}

// RunDirectory runs the conformance suite for a store of users and API keys. open must return
// an empty store each time.
func RunDirectory(t *testing.T, open func(testing.TB) DirectoryFixture) {
	t.Helper()
	d := &directorySuite{open: open, used: make(map[string]bool)}
	t.Run("users", d.users)
	t.Run("names", d.names)
	t.Run("shapes", d.shapes)
	t.Run("broken", d.broken)
	t.Run("attributes", d.attributes)
	t.Run("ids", d.ids)
	t.Run("keys", d.keys)
	t.Run("expiry", d.expiry)
	t.Run("contexts", d.contexts)
	for name := range open(t).Exceptions {
		if !d.used[name] {
			t.Errorf("the exception %q matches no case", name)
		}
	}
}

type directorySuite struct {
	open func(testing.TB) DirectoryFixture
	used map[string]bool // the exceptions that matched a case
}

// run runs one case on an empty store, unless the store has an exception for it.
func (d *directorySuite) run(t *testing.T, group, name string, f func(*testing.T, DirectoryFixture)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		fixture := d.open(t)
		for exception, reason := range fixture.Exceptions {
			if exception != group+"/"+name && (!strings.HasSuffix(exception, "/") || !strings.HasPrefix(group+"/"+name, exception)) {
				continue
			}
			d.used[exception] = true
			if reason == "" {
				t.Errorf("the exception %q has no reason", exception)
			}
			t.Logf("not applicable to this store: %s", reason)
			return
		}
		f(t, fixture)
	})
}

// Yes and No are values for the flags of rows. nil is NULL.
var (
	yes, no = true, false
	Yes, No = &yes, &no
)

// id returns the id of the n-th user, for n from 1 to 9.
func (f DirectoryFixture) id(n int) string {
	switch f.IDs {
	case IntegerIDs:
		return fmt.Sprint(41 + n)
	case UUIDs:
		return fmt.Sprintf("d94b6a2e-1f0c-4a3b-9a55-0e7f1c2b3a%02x", 0x40+n)
	default:
		return fmt.Sprintf("user-%d@example.com", n)
	}
}

func (d *directorySuite) users(t *testing.T) {
	for _, tt := range []struct {
		active bool
		name   string
		row    UserRow
		roles  authz.Names
	}{
		{true, "active", UserRow{Active: Yes, Roles: `["CONTROL"]`}, authz.Names{"CONTROL"}},
		{true, "active without roles", UserRow{Active: Yes, Roles: `[]`}, nil},
		{true, "active with NULL roles", UserRow{Active: Yes}, nil},
		{false, "inactive", UserRow{Active: No, Roles: `["ADMIN"]`}, authz.Names{"ADMIN"}},
		{false, "NULL is inactive", UserRow{Roles: `["ADMIN"]`}, authz.Names{"ADMIN"}},
	} {
		d.run(t, "users", tt.name, func(t *testing.T, f DirectoryFixture) {
			tt.row.ID = f.id(1)
			f.PutUser(t, tt.row)
			wantUser(t, f, f.id(1), authz.User{Active: tt.active, Roles: tt.roles})
		})
	}

	d.run(t, "users", "unknown", func(t *testing.T, f DirectoryFixture) {
		wantNoUser(t, f, f.id(1))
		f.PutUser(t, UserRow{ID: f.id(2), Active: Yes, Roles: `["ADMIN"]`})
		wantNoUser(t, f, f.id(1))
	})

	d.run(t, "users", "changed and deleted at once", func(t *testing.T, f DirectoryFixture) {
		f.PutUser(t, UserRow{ID: f.id(1), Active: Yes, Roles: `["ADMIN"]`})
		f.PutUser(t, UserRow{ID: f.id(2), Active: Yes, Roles: `["CONTROL"]`})
		wantUser(t, f, f.id(1), authz.User{Active: true, Roles: authz.Names{"ADMIN"}})
		f.PutUser(t, UserRow{ID: f.id(1), Active: No, Roles: `[]`})
		wantUser(t, f, f.id(1), authz.User{})
		f.DeleteUser(t, f.id(1))
		wantNoUser(t, f, f.id(1))
		wantUser(t, f, f.id(2), authz.User{Active: true, Roles: authz.Names{"CONTROL"}})
	})
}

// A nameList is the text of a column of roles or scopes and the expected names.
type nameList struct {
	want authz.Names
	name string
	text string
}

// nameLists are arrays of strings, of which the valid names count.
var nameLists = []nameList{
	{authz.Names{"ADMIN"}, "one", `["ADMIN"]`},
	{authz.Names{"A", "B", "C"}, "sorted", `["C","A","B"]`},
	{authz.Names{"A"}, "duplicates", `["A","A"]`},
	{nil, "empty array", `[]`},
	{authz.Names{"admin"}, "another case", `["admin"]`},
	{authz.Names{"assets:audit", "assets:*"}, "punctuation", `["assets:audit","assets:*"]`},
	{authz.Names{"Größe"}, "letters beyond ASCII", `["Größe"]`},
	{authz.Names{"two words"}, "a space inside", `["two words"]`},
	{authz.Names{`quote"back\slash{}`}, "what arrays quote", `["quote\"back\\slash{}"]`},
	{authz.Names{"NULL"}, "the word NULL", `["NULL"]`},
	{authz.Names{"A"}, "empty name dropped", `["","A"]`},
	{authz.Names{"A"}, "comma dropped", `["A","X,ADMIN"]`},
	{authz.Names{"A"}, "control character dropped", `["A","ADMIN\n"]`},
	{authz.Names{"A"}, "space at an end dropped", `["A"," ADMIN","ADMIN "]`},
}

// otherShapes are JSON values that are not arrays of strings.
var otherShapes = []nameList{
	{nil, "string", `"ADMIN"`},
	{nil, "string that holds an array", `"[\"ADMIN\"]"`},
	{nil, "object", `{"ADMIN":true}`},
	{nil, "object with numbers", `{"0":"ADMIN"}`},
	{nil, "number", `1`},
	{nil, "true", `true`},
	{nil, "null", `null`},
	{nil, "nested array", `[["ADMIN"]]`},
	{nil, "array with a nested array", `["ADMIN",["X"]]`},
	{nil, "array with a number", `["ADMIN",1]`},
	{nil, "array with null", `["ADMIN",null]`},
	{nil, "array with an object", `["ADMIN",{"name":"X"}]`},
}

// brokenShapes are not JSON. Only a text column can contain them.
var brokenShapes = []nameList{
	{nil, "truncated", `["ADMIN"`},
	{nil, "more after the array", `["ADMIN"] ["ADMIN"]`},
	{nil, "bare word", `ADMIN`},
	{nil, "comma-separated", `ADMIN,CONTROL`},
	{nil, "single quotes", `['ADMIN']`},
	{nil, "array of another kind", `{ADMIN}`},
	{nil, "spaces", `  `},
}

func (d *directorySuite) names(t *testing.T)  { d.nameLists(t, "names", nameLists) }
func (d *directorySuite) shapes(t *testing.T) { d.nameLists(t, "shapes", otherShapes) }
func (d *directorySuite) broken(t *testing.T) { d.nameLists(t, "broken", brokenShapes) }

func (d *directorySuite) nameLists(t *testing.T, group string, lists []nameList) {
	for _, tt := range lists {
		d.run(t, group, tt.name, func(t *testing.T, f DirectoryFixture) {
			want, _ := authz.NewNames(tt.want)
			f.PutUser(t, UserRow{ID: f.id(1), Active: Yes, Roles: tt.text})
			wantUser(t, f, f.id(1), authz.User{Active: true, Roles: want})
			hash := authz.HashAPIKey("wk_names_1234")
			f.PutAPIKey(t, APIKeyRow{Hash: hash, Prefix: "wk_names", Active: Yes, Scopes: tt.text})
			wantAPIKey(t, f, hash, authz.APIKey{Prefix: "wk_names", Active: true, Scopes: want})
		})
	}
}

// otherSpellings are ids that a lenient store would take for that of the first user.
func otherSpellings(kind IDKind, id string) []string {
	common := []string{
		"", " " + id, id + " ", id + "\x00", id + "\n", "\t" + id, id + "'", id + "' OR '1'='1", id + ";", "%", "_", "*", "NULL", "null",
		"\xff", "é", strings.Repeat("9", 41), strings.Repeat("x", 129),
	}
	switch kind {
	case IntegerIDs:
		return append(common, "0"+id, "+"+id, "-"+id, id+".0", id+"e0", "0x2a", "0b101010", "0o52", "4_2", "٤٢", id+"::int",
			"9223372036854775808", "-9223372036854775809", "18446744073709551658", "4294967338", "65578", "-0", "-", "NaN", "Infinity", "1e1")
	case UUIDs:
		bare := strings.ReplaceAll(id, "-", "")
		return append(common, strings.ToUpper(id), "{"+id+"}", bare, "{"+bare+"}", "urn:uuid:"+id, id+"0", id[:35], "42",
			bare[:4]+"-"+bare[4:8]+"-"+bare[8:12]+"-"+bare[12:16]+"-"+bare[16:20]+"-"+bare[20:24]+"-"+bare[24:28]+"-"+bare[28:])
	default:
		return append(common, strings.ToUpper(id), strings.ToUpper(id[:1])+id[1:], id+".", id[:len(id)-1])
	}
}

// attributeRows are values of attributes and how they are read.
var attributeRows = []struct {
	want  string // the value; "absent" or "unreadable"
	name  string
	value string
}{
	{"acme", "a text", "acme"},
	{"Acme", "capitals", "Acme"},
	{"two words", "a space inside", "two words"},
	{"a,b", "a comma", "a,b"},
	{"Größe", "letters beyond ASCII", "Größe"},
	{`'"\;--`, "what SQL quotes", `'"\;--`},
	{"NULL", "the word NULL", "NULL"},
	{"042", "a number", "042"},
	{strings.Repeat("a", 1024), "1024 bytes", strings.Repeat("a", 1024)},
	{"absent", "NULL", ""},
	{"unreadable", "1025 bytes", strings.Repeat("a", 1025)},
	{"unreadable", "a line end", "acme\n"},
	{"unreadable", "a header", "acme\r\nx-warder-user: 1"},
	{"unreadable", "a control character", "a\u0001b"},
	{"unreadable", "another control character", "a\u0085b"},
	{"unreadable", "a line separator", "a\u2028b"},
	{"unreadable", "a space before", " acme"},
	{"unreadable", "a wide space after", "acme\u3000"},
}

func (d *directorySuite) attributes(t *testing.T) {
	hash := authz.HashAPIKey("wk_attributes_0123456789")
	for _, tt := range attributeRows {
		d.run(t, "attributes", tt.name, func(t *testing.T, f DirectoryFixture) {
			f.PutUser(t, UserRow{ID: f.id(1), Active: Yes, Attributes: []string{tt.value, "gold"}})
			f.PutAPIKey(t, APIKeyRow{Hash: hash, Prefix: "wk", Active: Yes, Attributes: []string{tt.value, "silver"}, OwnerID: f.id(1)})
			user, err := f.Users.User(t.Context(), f.id(1))
			if err != nil {
				t.Fatal(err)
			}
			key, err := f.APIKeys.APIKey(t.Context(), hash)
			if err != nil {
				t.Fatal(err)
			}
			wantAttribute(t, user.Attributes, "tenant", tt.want)
			wantAttribute(t, user.Attributes, "plan", "gold")
			wantAttribute(t, key.Attributes, "tenant", tt.want)
			wantAttribute(t, key.Attributes, "plan", "silver")
			for _, name := range []string{"id", "is_active", "roles", "prefix", "scopes", "expires_at", "user_id"} {
				wantAttribute(t, user.Attributes, name, "absent")
				wantAttribute(t, key.Attributes, name, "absent")
			}
		})
	}
	d.run(t, "attributes", "NULL hides a claim", func(t *testing.T, f DirectoryFixture) {
		f.PutUser(t, UserRow{ID: f.id(1), Active: Yes})
		user, err := f.Users.User(t.Context(), f.id(1))
		if err != nil {
			t.Fatal(err)
		}
		both := user.Attributes.Over(attribute.Of(map[string]string{"tenant": "evil", "team": "red"}))
		wantAttribute(t, both, "tenant", "absent")
		wantAttribute(t, both, "team", "red")
	})
	d.run(t, "attributes", "changed at once", func(t *testing.T, f DirectoryFixture) {
		for _, value := range []string{"acme", "", "other", "acme"} {
			f.PutUser(t, UserRow{ID: f.id(1), Active: Yes, Attributes: []string{value}})
			user, err := f.Users.User(t.Context(), f.id(1))
			if err != nil || user.Attributes.Get("tenant") != value {
				t.Errorf("tenant is %q, %v; want %q", user.Attributes.Get("tenant"), err, value)
			}
		}
	})
}

// wantAttribute checks an attribute. want is the value, "absent" or "unreadable".
func wantAttribute(t testing.TB, of attribute.Set, name, want string) {
	t.Helper()
	got, found, err := of.Find(name)
	switch {
	case err != nil:
		got = "unreadable"
	case !found:
		got = "absent"
	}
	if got != want {
		t.Errorf("the attribute %s is %q, want %q", name, got, want)
	}
}

func (d *directorySuite) ids(t *testing.T) {
	d.run(t, "ids", "other spellings", func(t *testing.T, f DirectoryFixture) {
		f.PutUser(t, UserRow{ID: f.id(1), Active: Yes, Roles: `["ADMIN"]`})
		for _, id := range otherSpellings(f.IDs, f.id(1)) {
			wantNoUser(t, f, id)
		}
		wantUser(t, f, f.id(1), authz.User{Active: true, Roles: authz.Names{"ADMIN"}})
	})
	d.run(t, "ids", "at the edges of the grammar", func(t *testing.T, f DirectoryFixture) {
		edge := map[IDKind][]string{
			TextIDs:    {"0", "042", "a", "A", strings.Repeat("u", 128), "._@|+=~-", "-", "=", "auth0|5f7c", "9007199254740993", "NULL"},
			IntegerIDs: {"0", "1", "2147483647", "2147483648", "9007199254740993", "9223372036854775807"},
			UUIDs:      {"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"},
		}[f.IDs]
		for _, id := range edge {
			wantNoUser(t, f, id)
			f.PutUser(t, UserRow{ID: id, Active: Yes, Roles: `["R"]`})
		}
		for _, id := range edge {
			wantUser(t, f, id, authz.User{Active: true, Roles: authz.Names{"R"}})
		}
		if f.IDs == IntegerIDs {
			wantNoUser(t, f, "9007199254740992") // …993 rounded to a float64
		}
	})
}

func (d *directorySuite) keys(t *testing.T) {
	hash := authz.HashAPIKey("wk_live_0123456789")
	for _, tt := range []struct {
		name string
		row  APIKeyRow
		want authz.APIKey
	}{
		{"active", APIKeyRow{Prefix: "wk_live", Scopes: `["b","a"]`, Active: Yes}, authz.APIKey{Prefix: "wk_live", Scopes: authz.Names{"a", "b"}, Active: true}},
		{"inactive", APIKeyRow{Prefix: "wk_live", Scopes: `["a"]`, Active: No}, authz.APIKey{Prefix: "wk_live", Scopes: authz.Names{"a"}}},
		{"NULL is inactive", APIKeyRow{Prefix: "wk_live", Scopes: `["a"]`}, authz.APIKey{Prefix: "wk_live", Scopes: authz.Names{"a"}}},
		{"NULL scopes", APIKeyRow{Prefix: "wk_live", Active: Yes}, authz.APIKey{Prefix: "wk_live", Active: true}},
	} {
		d.run(t, "keys", tt.name, func(t *testing.T, f DirectoryFixture) {
			tt.row.Hash = hash
			f.PutAPIKey(t, tt.row)
			wantAPIKey(t, f, hash, tt.want)
		})
	}

	d.run(t, "keys", "owned", func(t *testing.T, f DirectoryFixture) {
		f.PutUser(t, UserRow{ID: f.id(1), Active: No, Roles: `["ADMIN"]`})
		f.PutAPIKey(t, APIKeyRow{Hash: hash, Prefix: "wk_live", Active: Yes, OwnerID: f.id(1)})
		// The store returns the key whatever its owner's state, which the engine checks.
		wantAPIKey(t, f, hash, authz.APIKey{Prefix: "wk_live", Active: true, OwnerID: f.id(1)})
	})

	d.run(t, "keys", "unknown", func(t *testing.T, f DirectoryFixture) {
		wantNoAPIKey(t, f, hash)
		f.PutAPIKey(t, APIKeyRow{Hash: hash, Prefix: "wk_live", Active: Yes})
		near := hash
		near[31] ^= 1
		wantNoAPIKey(t, f, near)
		wantNoAPIKey(t, f, authz.HashAPIKey("wk_live"))
		wantNoAPIKey(t, f, authz.KeyHash{})
	})

	d.run(t, "keys", "two with one prefix", func(t *testing.T, f DirectoryFixture) {
		other := authz.HashAPIKey("wk_live_9876543210")
		f.PutAPIKey(t, APIKeyRow{Hash: hash, Prefix: "wk_live", Scopes: `["a"]`, Active: Yes})
		f.PutAPIKey(t, APIKeyRow{Hash: other, Prefix: "wk_live", Scopes: `["b"]`, Active: No})
		wantAPIKey(t, f, hash, authz.APIKey{Prefix: "wk_live", Scopes: authz.Names{"a"}, Active: true})
		wantAPIKey(t, f, other, authz.APIKey{Prefix: "wk_live", Scopes: authz.Names{"b"}})
	})

	d.run(t, "keys", "changed and deleted at once", func(t *testing.T, f DirectoryFixture) {
		f.PutAPIKey(t, APIKeyRow{Hash: hash, Prefix: "wk_live", Scopes: `["a"]`, Active: Yes})
		wantAPIKey(t, f, hash, authz.APIKey{Prefix: "wk_live", Scopes: authz.Names{"a"}, Active: true})
		f.PutAPIKey(t, APIKeyRow{Hash: hash, Prefix: "wk_live", Active: No})
		wantAPIKey(t, f, hash, authz.APIKey{Prefix: "wk_live"})
		f.DeleteAPIKey(t, hash)
		wantNoAPIKey(t, f, hash)
	})
}

func (d *directorySuite) expiry(t *testing.T) {
	hash := authz.HashAPIKey("wk_expiry_0123456789")
	at := time.Date(2031, 2, 3, 4, 5, 6, 789_000_000, time.UTC)
	for _, tt := range []struct {
		name    string
		expires string
		want    time.Time
	}{
		{"NULL is never", "", time.Time{}},
		{"infinity is never", "infinity", time.Time{}},
		{"in the future", at.Format(time.RFC3339Nano), at},
		{"with an offset", "2031-02-03T06:35:06.789+02:30", at},
		{"in the past", "2001-02-03T04:05:06Z", time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)},
		{"before 1970", "1901-01-01T00:00:00Z", time.Date(1901, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"far in the future", "9999-12-31T23:59:59Z", time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
	} {
		d.run(t, "expiry", tt.name, func(t *testing.T, f DirectoryFixture) {
			f.PutAPIKey(t, APIKeyRow{Hash: hash, Prefix: "wk", Active: Yes, Expires: tt.expires})
			wantAPIKey(t, f, hash, authz.APIKey{Prefix: "wk", Active: true, ExpiresAt: tt.want})
		})
	}
	// These must not become the zero Time, which means never.
	for _, expires := range []string{"-infinity", "0001-01-01T00:00:00Z"} {
		d.run(t, "expiry", expires+" is expired", func(t *testing.T, f DirectoryFixture) {
			f.PutAPIKey(t, APIKeyRow{Hash: hash, Prefix: "wk", Active: Yes, Expires: expires})
			key, err := f.APIKeys.APIKey(t.Context(), hash)
			if err != nil {
				t.Fatal(err)
			}
			if key.ExpiresAt.IsZero() || key.ExpiresAt.After(time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC)) {
				t.Errorf("ExpiresAt = %v, want a time in the past that is not the zero Time", key.ExpiresAt)
			}
		})
	}
}

func (d *directorySuite) contexts(t *testing.T) {
	d.run(t, "contexts", "an ended context is an error", func(t *testing.T, f DirectoryFixture) {
		hash := authz.HashAPIKey("wk_context_0123456789")
		f.PutUser(t, UserRow{ID: f.id(1), Active: Yes, Roles: `["R"]`})
		f.PutAPIKey(t, APIKeyRow{Hash: hash, Prefix: "wk", Active: Yes})
		for name, ctx := range endedContexts(t) {
			user, err := f.Users.User(ctx, f.id(1))
			if err == nil || errors.Is(err, authz.ErrNotFound) || user.Active {
				t.Errorf("%s: User = %+v, %v; want an error that is not ErrNotFound", name, user, err)
			}
			key, err := f.APIKeys.APIKey(ctx, hash)
			if err == nil || errors.Is(err, authz.ErrNotFound) || key.Active {
				t.Errorf("%s: APIKey = %+v, %v; want an error that is not ErrNotFound", name, key, err)
			}
		}
		wantUser(t, f, f.id(1), authz.User{Active: true, Roles: authz.Names{"R"}})
		wantAPIKey(t, f, hash, authz.APIKey{Prefix: "wk", Active: true})
	})
}

func wantUser(t testing.TB, f DirectoryFixture, id string, want authz.User) {
	t.Helper()
	got, err := f.Users.User(t.Context(), id)
	if err != nil {
		t.Errorf("User(%q): %v", id, err)
		return
	}
	if got.Active != want.Active || !slices.Equal(got.Roles, want.Roles) {
		t.Errorf("User(%q) = %+v, want %+v", id, got, want)
	}
}

func wantNoUser(t testing.TB, f DirectoryFixture, id string) {
	t.Helper()
	got, err := f.Users.User(t.Context(), id)
	if !errors.Is(err, authz.ErrNotFound) || got.Active || got.Roles != nil {
		t.Errorf("User(%q) = %+v, %v; want authz.ErrNotFound", id, got, err)
	}
}

func wantAPIKey(t testing.TB, f DirectoryFixture, hash authz.KeyHash, want authz.APIKey) {
	t.Helper()
	got, err := f.APIKeys.APIKey(t.Context(), hash)
	if err != nil {
		t.Errorf("APIKey: %v", err)
		return
	}
	if len(got.Scopes) == 0 {
		got.Scopes = nil // nil and empty are equivalent
	}
	got.Attributes = attribute.Set{} // see the group attributes
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("APIKey (-want +got):\n%s", diff)
	}
}

func wantNoAPIKey(t testing.TB, f DirectoryFixture, hash authz.KeyHash) {
	t.Helper()
	got, err := f.APIKeys.APIKey(t.Context(), hash)
	if !errors.Is(err, authz.ErrNotFound) || got.Active || got.Scopes != nil {
		t.Errorf("APIKey = %+v, %v; want authz.ErrNotFound", got, err)
	}
}
