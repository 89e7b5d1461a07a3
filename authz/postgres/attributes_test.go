package postgres_test

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/postgres"
)

// attributeTables have columns of many types. One row has values, the other has NULL.
const attributeTables = `
	CREATE EXTENSION IF NOT EXISTS citext;
	CREATE TYPE plan AS ENUM ('gold');
	CREATE DOMAIN short AS varchar(10);
	CREATE TABLE orgs (id bigint PRIMARY KEY, name text);
	INSERT INTO orgs VALUES (7, 'acme');
	CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, roles jsonb, "Tenant" text, tenant text, org_id bigint,
		uid uuid, small smallint, number integer, flag boolean, padded char(10), short short, plan plan, mail citext, created timestamptz, amount numeric, settings jsonb, tags text[]);
	INSERT INTO users VALUES (42, true, '["R"]', 'x', 'acme', 7, 'd94b6a2e-1f0c-4a3b-9a55-0e7f1c2b3a4d', -1, 0, true, 'abc', 'short', 'gold', 'A@b.test', now(), 1.50, '{}', '{a}');
	INSERT INTO users (id, is_active, roles) VALUES (43, true, '[]');
	CREATE TABLE api_keys (prefix text, key_hash text UNIQUE, scopes jsonb, is_active boolean, expires_at timestamptz, user_id bigint, tenant text);`

// queryOf returns a query for users with further columns.
func queryOf(columns string) string {
	return "SELECT u.is_active, u.roles, " + columns + " FROM users u JOIN orgs o ON true WHERE u.id = $1"
}

// TestAttributes: a text, an integer, a uuid and a boolean are attributes, in one spelling. Values
// of other types are unreadable, and NULL is absent.
func TestAttributes(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, attributeTables)
	for _, tt := range []struct {
		want    string // the value of the attribute a; "unreadable", "absent" or part of an error
		columns string
	}{
		{"acme", "tenant AS a"},
		{"acme", "o.name AS a"},
		{"x", `"Tenant" AS a`},
		{"7", "org_id AS a"},
		{"-1", "small AS a"},
		{"0", "number AS a"},
		{"9223372036854775807", "9223372036854775807::bigint AS a"},
		{"d94b6a2e-1f0c-4a3b-9a55-0e7f1c2b3a4d", "uid AS a"},
		{"true", "flag AS a"},
		{"false", "NOT flag AS a"},
		{"abc", "padded AS a"},
		{"short", "short AS a"},
		{"x", "'x' AS a"},
		{"gold", "plan::text AS a"},
		{"A@b.test", "mail::text AS a"},
		{"absent", "'' AS a"},
		{"absent", "NULL::text AS a"},
		{"absent", "NULL::jsonb AS a"},
		{"absent", "'x' AS b"},
		{"absent", `'x' AS "A"`},
		{"unreadable", "plan AS a"},
		{"unreadable", "mail AS a"},
		{"unreadable", "created AS a"},
		{"unreadable", "amount AS a"},
		{"unreadable", "settings AS a"},
		{"unreadable", "tags AS a"},
		{"unreadable", "'x' AS a, 'x' AS a"},
		{"unreadable", "' x' AS a"},
		{"unreadable", "chr(10) || 'x' AS a"},
		{"unreadable", "repeat('x', 1025) AS a"},
		{"x", "'x' AS a, " + manyColumns(31)},
		{"x", "'x' AS a, " + manyColumns(100)},
		{"unreadable", manyColumns(32) + ", 'x' AS a"},
		{"unreadable", manyColumns(100) + ", NULL::text AS a"},
	} {
		d := open(t, postgres.Config{DatabaseURL: db.URL(), UsersQuery: queryOf(tt.columns)})
		user, err := d.User(t.Context(), "42")
		got, found, findErr := user.Attributes.Find("a")
		switch {
		case err != nil:
			got = err.Error()
		case findErr != nil:
			got = "unreadable"
		case !found:
			got = "absent"
		}
		if got != tt.want && (err == nil || !strings.Contains(got, tt.want)) || err != nil && user.Active {
			t.Errorf("%s: %q, want %q", tt.columns, got, tt.want)
		}
	}
}

// firstColumns returns the names of manyColumns, sorted.
func firstColumns(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint("c", i))
	}
	slices.Sort(names)
	return names
}

func manyColumns(n int) string {
	columns := make([]string, n)
	for i := range columns {
		columns[i] = fmt.Sprintf("'x' AS c%d", i)
	}
	return strings.Join(columns, ", ")
}

// TestAttributesWarn: a value that cannot be used is reported without it.
func TestAttributesWarn(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, attributeTables)
	var log strings.Builder
	d := open(t, postgres.Config{DatabaseURL: db.URL(), UsersQuery: queryOf("'c4n4ry' || chr(10) AS tenant, 'acme' AS plan"), Log: slog.New(slog.NewTextHandler(&log, nil))})
	if _, err := d.User(t.Context(), "42"); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); !strings.Contains(got, "columns have values that no attribute can have") || !strings.Contains(got, "user=42 columns=tenant") || strings.Contains(got, "c4n4ry") {
		t.Errorf("logged %q", got)
	}
}

// TestCheckAttributes: the columns of a query that are attributes, and what keeps others from it.
func TestCheckAttributes(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, attributeTables)
	for _, tt := range []struct {
		name     string
		users    string
		want     []string // the attributes
		problem  string
		warnings []string
	}{
		{"none", postgres.DefaultUsersQuery, nil, "", nil},
		{"the id is none", "SELECT id, is_active, roles FROM users WHERE id = $1", nil, "", nil},
		{"by alias, of another table", "SELECT is_active, roles, o.name AS tenant, uid FROM users u LEFT JOIN orgs o ON o.id = u.org_id WHERE u.id = $1", []string{"tenant", "uid"}, "", nil},
		{"types", "SELECT is_active, roles, tenant, plan, created AS since FROM users WHERE id = $1", []string{"tenant"}, "", []string{
			"directory.users_query: the columns plan (plan), since (timestamp with time zone) are of types that attributes cannot have, so that they are unreadable; write plan::text AS plan, created::text AS since for those",
		}},
		{"names", `SELECT is_active, roles, "Tenant", tenant || 'x', tenant AS "e-mail" FROM users WHERE id = $1`, nil, "", []string{
			`no attribute can have the name of the columns "Tenant", "?column?", "e-mail", which are not used`,
		}},
		{"twice", `SELECT is_active, roles, tenant, 'x' AS tenant FROM users WHERE id = $1`, nil, "", []string{"two columns have the name tenant, so that the attribute is unreadable"}},
		{"a star", `SELECT * FROM users WHERE id = $1`, []string{"flag", "number", "org_id", "padded", "short", "small", "tenant", "uid"}, "", []string{
			`the name of the columns "Tenant"`, "the columns plan (plan), mail (citext), created (timestamp with time zone), amount (numeric), settings (jsonb), tags (text[]) are of types",
		}},
		{"too many", "SELECT is_active, roles, " + manyColumns(33) + " FROM users WHERE id = $1", firstColumns(32), "", []string{
			"the result has 33 further columns, each of which is an attribute, and those after the first 32 are unreadable",
		}},
		{"a value", "SELECT is_active, roles, ' ' || tenant AS tenant FROM users WHERE id = $1", []string{"tenant"}, "", []string{
			"in a row of users the column tenant has a value that no attribute can have, so that it is unreadable: a value is at most 1024 bytes",
		}},
	} {
		d := open(t, postgres.Config{DatabaseURL: db.URL(), UsersQuery: tt.users, APIKeysQuery: "SELECT prefix, scopes, is_active, expires_at, user_id, tenant AS k FROM api_keys WHERE key_hash = $1"})
		if _, known := d.AttributeColumns(); known {
			t.Errorf("%s: known before the check", tt.name)
		}
		warnings, err := d.Check(t.Context())
		found, known := d.AttributeColumns()
		if (err != nil) != (tt.problem != "") || err != nil && !strings.Contains(err.Error(), tt.problem) || known != (err == nil) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.problem)
			continue
		}
		if err == nil && (!slices.Equal(found.Users, tt.want) || !slices.Equal(found.APIKeys, []string{"k"})) {
			t.Errorf("%s: attributes %v, want %v", tt.name, found, tt.want)
		}
		if len(warnings) != len(tt.warnings) {
			t.Errorf("%s: warnings %q, want %q", tt.name, warnings, tt.warnings)
			continue
		}
		for i, want := range tt.warnings {
			if !strings.Contains(warnings[i], want) {
				t.Errorf("%s: warning %q, want %q", tt.name, warnings[i], want)
			}
		}
	}
}

// TestExamineAttributes: triggers that do not know a column of an attribute do not announce it.
func TestExamineAttributes(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, attributeTables+triggersOnly(t))
	const query = "SELECT is_active, roles, tenant, org_id AS org FROM users AS u WHERE u.id = $1"
	examine := func() postgres.Examination {
		t.Helper()
		d := open(t, postgres.Config{DatabaseURL: db.URL(), UsersQuery: query, APIKeysQuery: postgres.DefaultAPIKeysQuery})
		if _, err := d.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		e, err := d.Examine(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	if got := examine(); !slices.Equal(got.UnannouncedColumns, []string{"users.org_id", "users.tenant"}) || len(got.Announced) != 2 {
		t.Errorf("%+v", got)
	}
	for _, with := range []string{"'id', 'roles', 'is_active', 'tenant', 'org_id'", ""} {
		db.Exec(t, "DROP TRIGGER warder_announce ON users; CREATE TRIGGER warder_announce AFTER INSERT OR UPDATE OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION warder_announce("+with+")")
		if got := examine(); len(got.UnannouncedColumns) > 0 {
			t.Errorf("with (%s): %v", with, got.UnannouncedColumns)
		}
	}
}

// TestAttributesOfAdmin: the further columns of the statements for operators are attributes too.
func TestAttributesOfAdmin(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, attributeTables)
	db.Exec(t, "INSERT INTO api_keys VALUES ('wk', '"+authz.HashAPIKey("wk_admin_0123456789").Hex()+"', '[]', true, NULL, 42, 'acme')")
	admin, err := postgres.OpenAdmin(t.Context(), postgres.Config{DatabaseURL: db.URL(), Timeout: patience}, postgres.Commands{
		ShowKey: "SELECT 1 AS id, prefix, scopes, is_active, expires_at, user_id, now() AS created_at, tenant FROM api_keys WHERE prefix = $1",
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	keys, err := admin.Find(t.Context(), "wk")
	if err != nil || len(keys) != 1 || !maps.Equal(maps.Collect(keys[0].Attributes.All()), map[string]string{"tenant": "acme"}) {
		t.Errorf("%v, %v", keys, err)
	}
}
