package memory

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"warder/authz"
	"warder/authz/attribute"
)

const goodFile = `
# a directory for a trial
users:
  - {id: "42", is_active: true, roles: [CONTROL, ADMIN]}
  - id: alice@example.com
    is_active: false
api_keys:
  - prefix: wk_demo
    key_hash: 88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589
    scopes: ["assets:audit"]
    is_active: true
    expires_at: 2027-01-01T00:00:00Z
    user_id: "42"
sessions:
  - {user_id: "42", session_id: s1}
`

func TestLoad(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "directory.yaml")
	if err := os.WriteFile(path, []byte(goodFile), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	user, err := s.User(t.Context(), "42")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(authz.User{Active: true, Roles: authz.Names{"ADMIN", "CONTROL"}}, user); diff != "" {
		t.Error(diff)
	}
	if user, err := s.User(t.Context(), "alice@example.com"); err != nil || user.Active {
		t.Errorf("User = %v, %v; want an inactive one", user, err)
	}
	key, err := s.APIKey(t.Context(), authz.HashAPIKey("abcd1234abcd1234"))
	if err == nil {
		t.Errorf("another key was found: %v", key)
	}
	key, err = s.APIKey(t.Context(), authz.HashAPIKey("abcd"))
	if err != nil {
		t.Fatal(err)
	}
	want := authz.APIKey{
		Prefix: "wk_demo", Scopes: authz.Names{"assets:audit"}, Active: true,
		ExpiresAt: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), OwnerID: "42",
	}
	if diff := cmp.Diff(want, key); diff != "" {
		t.Error(diff)
	}
	if alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); err != nil || !alive {
		t.Errorf("Alive = %v, %v", alive, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("0123456789abcdef", 4)
	for _, tt := range []struct {
		name string
		file string
		want []string // the lines of the error, each from its beginning
	}{
		{"empty", "", []string{"d.yaml: is empty; write users, api_keys or sessions"}},
		{"only a comment", "# nothing\n", []string{"d.yaml: is empty"}},
		{"a list", "- a\n", []string{"d.yaml:1:1: is a list; write a group of the keys users, api_keys, sessions"}},
		{"not YAML", "users: [\n", []string{"d.yaml:1: is not YAML: "}},
		{"not UTF-8", "users: [\"\xff\"]\n", []string{"d.yaml: is not UTF-8"}},
		{"two documents", "users: []\n---\nusers: []\n", []string{"d.yaml:2:1: begins a second YAML document"}},
		{"unknown list", "user: []\n", []string{`d.yaml:1:1: user: is unknown; did you mean users?`}},
		{"a list twice", "users: []\nusers: []\n", []string{"d.yaml:2:1: users is repeated; it is already at line 1"}},
		{"users is not a list", "users: {}\n", []string{"d.yaml:1:8: users: is a group of keys; write a list"}},
		{"users is null", "users:\n", []string{"d.yaml:1:7: users: has no value; write a list"}},
		{"a user is not a group", "users: [a]\n", []string{"d.yaml:1:9: users[0]: is a text; write a group of the keys id, is_active, roles"}},
		{"unknown field", "users:\n  - {id: a, is_active: true, role: [A]}\n", []string{`d.yaml:2:30: users[0].role: is unknown; did you mean roles?`}},
		{"a field twice", "users:\n  - {id: a, is_active: true, is_active: false}\n", []string{"d.yaml:2:30: is_active is repeated; it is already at line 2"}},
		{"id missing", "users:\n  - is_active: true\n", []string{"d.yaml:2:5: users[0].id: is missing"}},
		{"id is a number", "users:\n  - {id: 42, is_active: true}\n", []string{"d.yaml:2:10: users[0].id: is a number; write a text, in quotes if need be"}},
		{"id is empty", "users:\n  - {id: \"\", is_active: true}\n", []string{"d.yaml:2:10: users[0].id: is empty"}},
		{"id with a colon", "users:\n  - {id: \"a:b\", is_active: true}\n", []string{"d.yaml:2:10: users[0].id: is not a valid id; use 1 to 128 of"}},
		{"is_active missing", "users:\n  - {id: a}\n", []string{"d.yaml:2:5: users[0].is_active: is missing; write true or false"}},
		{"is_active is a text", "users:\n  - {id: a, is_active: \"true\"}\n", []string{"d.yaml:2:24: users[0].is_active: is a text; write true or false"}},
		{"is_active is yes", "users:\n  - {id: a, is_active: yes}\n", []string{"d.yaml:2:24: users[0].is_active: is a text; write true or false"}},
		{"is_active is null", "users:\n  - {id: a, is_active: null}\n", []string{"d.yaml:2:24: users[0].is_active: has no value; write true or false"}},
		{"roles is a text", "users:\n  - {id: a, is_active: true, roles: ADMIN}\n", []string{"d.yaml:2:37: users[0].roles: is a text; write a list"}},
		{"roles in a list in a list", "users:\n  - {id: a, is_active: true, roles: [[ADMIN]]}\n", []string{"d.yaml:2:38: users[0].roles[0]: is a list; write a text"}},
		{"an invalid role", "users:\n  - {id: a, is_active: true, roles: [A, \"B,ADMIN\"]}\n", []string{"d.yaml:2:41: users[0].roles[1]: is not a valid name"}},
		{"a user twice", "users:\n  - {id: a, is_active: true}\n  - {id: a, is_active: false}\n", []string{"d.yaml:3:10: users[1].id: is repeated; it is already at line 2"}},
		{"an alias", "users:\n  - &u {id: a, is_active: true}\n  - *u\n", []string{"d.yaml:2:5: anchors and aliases", "d.yaml:3:5: anchors and aliases"}},
		{"a merge key", "users:\n  - {<<: {id: a}, is_active: true}\n", []string{"d.yaml:2:6: merge keys (<<) are not supported"}},
		{"a plain key", "api_keys:\n  - {prefix: p, is_active: true, key: plain-canary}\n", []string{"d.yaml:2:5: api_keys[0].key_hash: is missing", `d.yaml:2:34: api_keys[0].key: is unknown`}},
		{"a plain key as a hash", "api_keys:\n  - {prefix: p, is_active: true, key_hash: plain-canary}\n", []string{"d.yaml:2:44: api_keys[0].key_hash: is not 64 lower-case hexadecimal digits"}},
		{"an upper-case hash", "api_keys:\n  - {prefix: p, is_active: true, key_hash: " + strings.ToUpper(hash) + "}\n", []string{"d.yaml:2:44: api_keys[0].key_hash: is not 64 lower-case"}},
		{"a short hash", "api_keys:\n  - {prefix: p, is_active: true, key_hash: " + hash[1:] + "}\n", []string{"d.yaml:2:44: api_keys[0].key_hash: is not 64 lower-case"}},
		{"a hash twice", "api_keys:\n  - {prefix: p, is_active: true, key_hash: " + hash + "}\n  - {prefix: q, is_active: false, key_hash: " + hash + "}\n", []string{"d.yaml:3:45: api_keys[1].key_hash: is repeated; it is already at line 2"}},
		{"no prefix", "api_keys:\n  - {is_active: true, key_hash: " + hash + "}\n", []string{"d.yaml:2:5: api_keys[0].prefix: is missing"}},
		{"a prefix with a comma", "api_keys:\n  - {prefix: \"a,b\", is_active: true, key_hash: " + hash + "}\n", []string{"d.yaml:2:14: api_keys[0].prefix: is not a valid prefix; it must have no comma"}},
		{"not a time", "api_keys:\n  - {prefix: p, is_active: true, key_hash: " + hash + ", expires_at: tomorrow}\n", []string{"d.yaml:2:122: api_keys[0].expires_at: is not a time; write one such as 2027-01-01T00:00:00Z"}},
		{"a date", "api_keys:\n  - {prefix: p, is_active: true, key_hash: " + hash + ", expires_at: 2027-01-01}\n", []string{"d.yaml:2:122: api_keys[0].expires_at: is not a time"}},
		{"not a time before which tokens were issued", "revocations:\n  - {user_id: \"42\", issued_before: tomorrow}\n", []string{"d.yaml:2:36: revocations[0].issued_before: is not a time; write one such as 2027-01-01T00:00:00Z"}},
		{"a time that would mean never", "api_keys:\n  - {prefix: p, is_active: true, key_hash: " + hash + ", expires_at: 0001-01-01T00:00:00Z}\n", []string{"d.yaml:2:122: api_keys[0].expires_at: is the zero time"}},
		{"a session twice", "sessions:\n  - {user_id: a, session_id: s}\n  - {user_id: a, session_id: s}\n", []string{"d.yaml:3:30: sessions[1].session_id: is repeated"}},
		{"a session without a user", "sessions:\n  - {session_id: s}\n", []string{"d.yaml:2:5: sessions[0].user_id: is missing"}},
		{"attributes is a list", "users:\n  - {id: a, is_active: true, attributes: [acme]}\n", []string{"d.yaml:2:42: users[0].attributes: is a list; write a mapping such as {tenant: acme}"}},
		{"the name of an attribute", "users:\n  - {id: a, is_active: true, attributes: {x-tenant: acme}}\n", []string{"d.yaml:2:43: users[0].attributes.x-tenant: is not the name of an attribute; a name is 1 to 64"}},
		{"an attribute twice", "users:\n  - {id: a, is_active: true, attributes: {tenant: a, tenant: b}}\n", []string{"d.yaml:2:54: tenant is repeated"}},
		{"an attribute that is empty", "users:\n  - {id: a, is_active: true, attributes: {tenant: \"\"}}\n", []string{"d.yaml:2:51: users[0].attributes.tenant: is empty"}},
		{"an attribute that is null", "users:\n  - {id: a, is_active: true, attributes: {tenant: null}}\n", []string{"d.yaml:2:51: users[0].attributes.tenant: has no value"}},
		{"an attribute that is a number", "users:\n  - {id: a, is_active: true, attributes: {org: 7}}\n", []string{"d.yaml:2:48: users[0].attributes.org: is a number; write a text"}},
		{"the value of an attribute", "users:\n  - {id: a, is_active: true, attributes: {tenant: \"canary\\n\"}}\n", []string{"d.yaml:2:51: users[0].attributes.tenant: is not the value of an attribute; a value is at most 1024 bytes"}},
		{"an attribute of a key", "api_keys:\n  - {prefix: p, is_active: true, key_hash: " + hash + ", attributes: {tenant: \" canary\"}}\n", []string{"d.yaml:2:131: api_keys[0].attributes.tenant: is not the value of an attribute"}},
		{
			"all at once, in the order of the file", "sessions:\n  - {}\nusers:\n  - {id: 1}\n",
			[]string{
				"d.yaml:2:5: sessions[0].session_id: is missing", "d.yaml:2:5: sessions[0].user_id: is missing",
				"d.yaml:4:5: users[0].is_active: is missing", "d.yaml:4:10: users[0].id: is a number",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := parse("d.yaml", []byte(tt.file), nil)
			if err == nil || s != nil {
				t.Fatalf("parse = %v, %v; want an error and no store", s, err)
			}
			got := strings.Split(err.Error(), "\n")
			ok := len(got) == len(tt.want)
			for i := 0; ok && i < len(got); i++ {
				ok = strings.HasPrefix(got[i], tt.want[i])
			}
			if !ok {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(tt.want, "\n\t"))
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("the error contains a key: %v", err)
			}
		})
	}
}

// TestLoadAttributes: a name that one user has is an attribute of all, so that a claim does not take
// the place of one that is left out. Users and keys have their own.
func TestLoadAttributes(t *testing.T) {
	t.Parallel()
	s, err := parse("d.yaml", []byte(`
users:
  - {id: a, is_active: true, attributes: {tenant: acme, email: a@example.com}}
  - {id: b, is_active: true}
api_keys:
  - {prefix: p, is_active: true, key_hash: 88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589, user_id: a, attributes: {plan: gold}}
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := s.User(t.Context(), "a")
	b, _ := s.User(t.Context(), "b")
	key, _ := s.APIKey(t.Context(), authz.HashAPIKey("abcd"))
	claims := attribute.Of(map[string]string{"tenant": "evil", "plan": "claimed"})
	for _, tt := range []struct {
		want string
		of   attribute.Set
		name string
	}{
		{"acme", a.Attributes, "tenant"},
		{"a@example.com", a.Attributes.Over(claims), "email"},
		{"acme", a.Attributes.Over(claims), "tenant"},
		{"claimed", a.Attributes.Over(claims), "plan"},
		{"", b.Attributes.Over(claims), "tenant"},
		{"gold", key.Attributes, "plan"},
		{"", key.Attributes, "tenant"},
	} {
		if got := tt.of.Get(tt.name); got != tt.want {
			t.Errorf("%s of %v is %q, want %q", tt.name, tt.of, got, tt.want)
		}
	}
	if users, keys := s.Attributes(); !slices.Equal(users, []string{"email", "tenant"}) || !slices.Equal(keys, []string{"plan"}) {
		t.Errorf("Attributes: %v, %v", users, keys)
	}
}

func TestLoadWithoutAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "none.yaml"), nil); err == nil {
		t.Error("a missing file was loaded")
	}
	if _, err := Load(dir, nil); err == nil || !strings.Contains(err.Error(), "is a folder") {
		t.Errorf("Load of a folder: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(goodFile)                                // all fields
	f.Add("users: [{id: a, is_active: true}]")     // flow style
	f.Add("a: &a [*a]")                            // an alias to itself
	f.Add("users:\n- ? {a: b}\n  : c\n")           // a key that is a group
	f.Add("users: !!binary YQ==\n")                // a tag
	f.Add("%YAML 1.2\n---\nusers: |\n  text\n...") // directive, literal, end
	f.Fuzz(func(t *testing.T, data string) {
		s, err := parse("d.yaml", []byte(data), time.Now)
		if (s == nil) == (err == nil) {
			t.Errorf("parse = %v, %v; want one of the two", s, err)
		}
	})
}
