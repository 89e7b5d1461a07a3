package postgres_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/postgres"
)

// TestDocumentedSQL: what README gives to add a key, to end one and to end a user does
// that in the reference tables, and its queries for other tables fit these.
func TestDocumentedSQL(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	find := func(pattern string) string {
		found := regexp.MustCompile(pattern).FindStringSubmatch(string(text))
		if found == nil {
			t.Fatalf("README has nothing like %s", pattern)
		}
		return found[1]
	}
	hash := authz.HashAPIKey("wk_partner_0123456789")

	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema)
	db.Exec(t, "INSERT INTO users (id) VALUES (42)")
	db.Exec(t, strings.Replace(find("(?s)```sql\n(INSERT INTO api_keys .*?)```"), "<the hash>", hash.Hex(), 1))
	d := open(t, postgres.Config{DatabaseURL: db.URL()})
	key, err := d.APIKey(t.Context(), hash)
	if err != nil || !key.Active || key.Prefix != "wk_partner" || !key.Scopes.Has("orders:read") {
		t.Errorf("the key is %+v, %v", key, err)
	}
	db.Exec(t, find("`(UPDATE api_keys [^`]+)`"))
	if key, err = d.APIKey(t.Context(), hash); err != nil || key.Active {
		t.Errorf("the key that was ended is %+v, %v", key, err)
	}
	db.Exec(t, find("`(UPDATE users [^`]+)`"))
	if user, err := d.User(t.Context(), "42"); err != nil || user.Active {
		t.Errorf("the user who was ended is %+v, %v", user, err)
	}

	var own struct {
		Directory struct {
			Users   string `yaml:"users_query"`
			APIKeys string `yaml:"api_keys_query"`
		}
	}
	if err := yaml.Unmarshal([]byte(find("(?s)```yaml\n# own-tables.yaml\n(.*?)```")), &own); err != nil {
		t.Fatal(err)
	}
	db.Exec(t, `
		CREATE TABLE accounts (account_id bigint PRIMARY KEY, enabled boolean, role_names text[]);
		CREATE TABLE service_keys (key_id text, permissions jsonb, revoked boolean, valid_until timestamptz, account_id bigint, sha256 text UNIQUE);
		INSERT INTO accounts VALUES (42, true, '{CONTROL}');
		INSERT INTO service_keys VALUES ('wk_partner_1', '["orders:read"]', false, NULL, 42, '`+hash.Hex()+`')`)
	d = open(t, postgres.Config{DatabaseURL: db.URL(), UsersQuery: own.Directory.Users, APIKeysQuery: own.Directory.APIKeys})
	if _, err := d.Check(t.Context()); err != nil {
		t.Error(err)
	}
	user, err := d.User(t.Context(), "42")
	if err != nil || !user.Active || !user.Roles.Has("CONTROL") {
		t.Errorf("the user of another table is %+v, %v", user, err)
	}
	key, err = d.APIKey(t.Context(), hash)
	if err != nil || !key.Active || key.OwnerID != "42" || !key.Scopes.Has("orders:read") {
		t.Errorf("the key of another table is %+v, %v", key, err)
	}
}
