package postgres_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/postgres"
)

var (
	wholeHint = regexp.MustCompile(`(?m)write the query as (.+?)(?:: (?:it is|is_active is) .*)?$`)
	itemHint  = regexp.MustCompile(`(?m)write (.+ AS (\w+))(?:: (?:it is|is_active is) .*|, with .*| if .*)?$`)
	whereHint = regexp.MustCompile(`(?m)write WHERE (.+)$`)
)

// hinted returns the query with what the messages of Check propose. items are the items of the
// query by the name of their column.
func hinted(t *testing.T, said, query string, items map[string]string) string {
	t.Helper()
	if m := wholeHint.FindStringSubmatch(said); m != nil {
		return m[1]
	}
	changed := query
	for _, m := range itemHint.FindAllStringSubmatch(said, -1) {
		changed = strings.Replace(changed, items[m[2]], m[1], 1)
	}
	if m := whereHint.FindStringSubmatch(said); m != nil {
		before, _, _ := strings.Cut(changed, " WHERE ")
		changed = before + " WHERE " + m[1]
	}
	if changed == query {
		t.Fatalf("no hint: %s", said)
	}
	return changed
}

const noKeys = `CREATE TABLE api_keys (prefix text, key_hash text, scopes jsonb, is_active boolean, expires_at timestamptz, user_id bigint);`

// TestHintsForUsers uses what a message proposes as the query. User 1 is active with the roles A
// and B, or only A; user 2 is not active, where the table can say that.
func TestHintsForUsers(t *testing.T) {
	t.Parallel()
	one, two := []string{"A"}, []string{"A", "B"}
	for _, tt := range []struct {
		name   string
		schema string
		query  string // %s stands for the item of the column that does not fit
		item   string
		roles  []string
		hint   string // a part
		id     string // "" is 1
		active bool   // of user 2
	}{
		{name: "an enum", schema: `CREATE TYPE role AS ENUM ('A', 'B'); CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, role role); INSERT INTO users VALUES (1, true, 'A'), (2, false, 'B')`,
			query: "SELECT is_active, %s FROM users WHERE id = $1", item: "role AS roles", roles: one, hint: "write ARRAY[role::text] AS roles"},
		{name: "an enum, with an alias and NULL", schema: `CREATE TYPE role AS ENUM ('A', 'B'); CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, role role); INSERT INTO users VALUES (1, true, 'A'), (2, false, NULL)`,
			query: "SELECT u.is_active, %s FROM users u WHERE u.id = $1", item: "u.role roles", roles: one, hint: "write array_remove(ARRAY[u.role::text], NULL) AS roles"},
		{name: "an enum without an alias", schema: `CREATE TYPE role AS ENUM ('A', 'B'); CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, role role); INSERT INTO users VALUES (1, true, 'A'), (2, false, 'B')`,
			query: "SELECT is_active, %s FROM users WHERE id = $1", item: "role", roles: one, hint: "write ARRAY[role::text] AS roles"},
		{name: "an array of an enum", schema: `CREATE TYPE role AS ENUM ('A', 'B'); CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, held role[]); INSERT INTO users VALUES (1, true, '{A,B}'), (2, false, '{}')`,
			query: "SELECT is_active, %s FROM users WHERE id = $1", item: "held AS roles", roles: two, hint: "write held::text[] AS roles"},
		{name: "one role in a text", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, role text); INSERT INTO users VALUES (1, true, 'A'), (2, false, 'B')`,
			query: "SELECT is_active, %s FROM users WHERE id = $1", item: "role AS roles", roles: one, hint: "write ARRAY[role] AS roles"},
		{name: "one role in a varchar", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, role varchar(20)); INSERT INTO users VALUES (1, true, 'A'), (2, false, NULL)`,
			query: "SELECT is_active, %s FROM users WHERE id = $1", item: "role AS roles", roles: one, hint: "ARRAY[role]"},
		{name: "one role in a char", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, role char(10)); INSERT INTO users VALUES (1, true, 'A'), (2, false, 'B')`,
			query: "SELECT is_active, %s FROM users WHERE id = $1", item: "role AS roles", roles: one, hint: "write ARRAY[role::text] AS roles"},
		{name: "one role in a citext", schema: `CREATE EXTENSION citext; CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, role citext); INSERT INTO users VALUES (1, true, 'A'), (2, false, 'B')`,
			query: "SELECT is_active, %s FROM users WHERE id = $1", item: "role AS roles", roles: one, hint: "write ARRAY[role::text] AS roles"},
		{name: "an expression", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, admin int); INSERT INTO users VALUES (1, true, 7), (2, false, 0)`,
			query: "SELECT is_active, %s FROM users WHERE id = $1", item: "CASE WHEN admin > 1 THEN 'A' ELSE 'B' END AS roles", roles: one, hint: "write ARRAY[(CASE WHEN admin > 1 THEN 'A' ELSE 'B' END)] AS roles"},
		{name: "commas", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, roles text); INSERT INTO users VALUES (1, true, 'A,B'), (2, false, 'B')`,
			query: "SELECT is_active, %s FROM users WHERE id = $1", item: "roles", roles: two, hint: "write string_to_array(roles, ',') AS roles"},
		{name: "commas at the end", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, roles text); INSERT INTO users VALUES (1, true, 'A,B,'), (2, false, '')`,
			query: "SELECT is_active, %s FROM users WHERE id = $1", item: "roles", roles: two, hint: "write array_remove(string_to_array(roles, ','), '') AS roles"},
		{name: "commas and spaces", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, roles text); INSERT INTO users VALUES (1, true, 'A, B'), (2, false, 'B')`,
			query: "SELECT is_active, %s FROM users WHERE id = $1", item: "roles", roles: two, hint: "regexp_split_to_array"},
		{name: "an array as a text", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, roles text); INSERT INTO users VALUES (1, true, '{A,B}'), (2, false, '{}')`,
			query: "SELECT is_active, %s FROM users WHERE id = $1", item: "roles", roles: two, hint: "write roles::text[] AS roles"},
		{name: "a Python list", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, roles text); INSERT INTO users VALUES (1, true, '[''A'', ''B'']')`,
			query: "SELECT is_active, %s FROM users WHERE id = $1", item: "roles", roles: two, hint: "write replace(roles, '''', '\"')::jsonb AS roles", active: true},
		{name: "one role in jsonb", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, role jsonb); INSERT INTO users VALUES (1, true, '"A"'), (2, false, '"B"')`,
			query: "SELECT is_active, %s FROM users WHERE id = $1", item: "role AS roles", roles: one, hint: "write jsonb_build_array(role) AS roles"},
		{name: "one role in json", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, role json); INSERT INTO users VALUES (1, true, '"A"'), (2, false, '"B"')`,
			query: "SELECT is_active, %s FROM users WHERE id = $1", item: "role AS roles", roles: one, hint: "write jsonb_build_array(role::jsonb) AS roles"},
		{name: "objects in jsonb", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, roles jsonb); INSERT INTO users VALUES (1, true, '[{"id": 1, "role": "A"}, {"role": "B"}]'), (2, false, '[]')`,
			query: "SELECT is_active, %s FROM users WHERE id = $1", item: "roles", roles: two, hint: "jsonb_path_query_array(roles, '$[*].role')"},
		{name: "flags in jsonb", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, roles jsonb); INSERT INTO users VALUES (1, true, '{"A": true, "C": false}'), (2, false, '{}')`,
			query: "SELECT is_active, %s FROM users WHERE id = $1", item: "roles", roles: one, hint: "keyvalue"},
		{name: "integers", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, role int); INSERT INTO users VALUES (1, true, 7), (2, false, 8)`,
			query: "SELECT is_active, %s FROM users WHERE id = $1", item: "role AS roles", roles: []string{"7"}, hint: "write ARRAY[role::text] AS roles"},

		{name: "a row a role", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean); CREATE TABLE roles (id int PRIMARY KEY, name text); CREATE TABLE user_roles (user_id bigint, role_id int);
			INSERT INTO users VALUES (1, true), (2, false); INSERT INTO roles VALUES (1, 'A'), (2, 'B'); INSERT INTO user_roles VALUES (1, 1), (1, 2), (2, 1)`,
			query: "SELECT u.is_active, %s FROM users u JOIN user_roles ur ON ur.user_id = u.id JOIN roles r ON r.id = ur.role_id WHERE u.id = $1 ORDER BY r.name", item: "r.name AS roles", roles: two,
			hint: "write the query as SELECT u.is_active, array_agg(r.name) AS roles FROM users u JOIN user_roles ur ON ur.user_id = u.id JOIN roles r ON r.id = ur.role_id WHERE u.id = $1 GROUP BY u.id, u.is_active"},
		{name: "a row a role, with users without one", schema: `CREATE TYPE role AS ENUM ('A', 'B'); CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean); CREATE TABLE user_roles (user_id bigint, role role);
			INSERT INTO users VALUES (1, true), (2, false); INSERT INTO user_roles VALUES (1, 'A'), (1, 'B')`,
			query: "SELECT is_active, %s FROM users LEFT JOIN user_roles ON user_id = id WHERE id = $1", item: "role AS roles", roles: two, hint: "array_remove(array_agg(role::text), NULL) AS roles"},
		{name: "a row a role in a table of its own", schema: `CREATE TABLE user_roles (user_id bigint, role text); INSERT INTO user_roles VALUES (1, 'A'), (1, 'B'), (2, 'A')`,
			query: "SELECT true AS is_active, %s FROM user_roles WHERE user_id = $1;", item: "role AS roles", roles: two, hint: "SELECT true AS is_active, array_agg(role) AS roles FROM user_roles WHERE user_id = $1 GROUP BY user_id", active: true},
		{name: "tables with a comma", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean); CREATE TABLE held ("user" bigint, "Role" varchar(9)); INSERT INTO users VALUES (1, true), (2, false); INSERT INTO held VALUES (1, 'B'), (1, 'A'), (2, 'A')`,
			query: `select distinct users.is_active as is_active, %s from users, held where held."user" = users.id and users.id = $1::bigint limit 5`, item: `held."Role" as roles`, roles: two, hint: `array_agg(held."Role") AS roles`},
		{name: "one role of another table", schema: `CREATE TABLE roles (id int PRIMARY KEY, name varchar); CREATE TABLE users (id uuid PRIMARY KEY, is_active boolean, role_id int);
			INSERT INTO roles VALUES (1, 'A'); INSERT INTO users VALUES ('00000000-0000-0000-0000-000000000001', true, 1), ('00000000-0000-0000-0000-000000000002', false, 1)`,
			query: "SELECT is_active, %s FROM users JOIN roles ON roles.id = role_id WHERE users.id = $1", item: "name AS roles", roles: one, hint: "array_agg(name)", id: "00000000-0000-0000-0000-00000000000"},
		{name: "all columns", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, roles text); INSERT INTO users VALUES (1, true, 'A'), (2, false, 'B')`,
			query: "SELECT %s FROM users WHERE id = $1", item: "*", roles: one, hint: "write the query as SELECT q.id, q.is_active, ARRAY[q.roles] AS roles FROM (SELECT * FROM users WHERE id = $1) AS q"},
		{name: "a union", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, roles int); INSERT INTO users VALUES (1, true, 7), (2, false, 8)`,
			query: "SELECT is_active, %s FROM users WHERE id = $1 UNION SELECT false, 1 WHERE false", item: "roles", roles: []string{"7"}, hint: "write the query as SELECT q.is_active, ARRAY[q.roles::text] AS roles FROM ("},
		{name: "WITH", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, roles int); INSERT INTO users VALUES (1, true, 7), (2, false, 8)`,
			query: "WITH u AS (SELECT * FROM users) SELECT is_active, %s FROM u WHERE id = $1", item: "roles", roles: []string{"7"}, hint: "FROM (WITH u"},
		{name: "parentheses and quotes", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, "Role, from" int); INSERT INTO users VALUES (1, true, 7), (2, false, 8)`,
			query: `SELECT coalesce(is_active, ', FROM x' = '') AS is_active, %s FROM users WHERE id = $1`, item: `"Role, from" AS roles`, roles: []string{"7"}, hint: `write ARRAY["Role, from"::text] AS roles`},

		{name: "an e-mail as citext", schema: `CREATE EXTENSION citext; CREATE TABLE users (email citext PRIMARY KEY, is_active boolean, roles text[]); INSERT INTO users VALUES ('u1', true, '{A}'), ('u2', false, '{B}')`,
			query: "SELECT is_active, roles FROM users WHERE email = $1", roles: one, hint: "write WHERE email::text = $1", id: "u"},
		{name: "a number", schema: `CREATE TABLE users (uid numeric PRIMARY KEY, is_active boolean, roles text[]); INSERT INTO users VALUES (1, true, '{A}'), (2, false, '{B}')`,
			query: "SELECT is_active, roles FROM users u WHERE u.uid = $1", roles: one, hint: "write WHERE u.uid = $1::bigint"},
		{name: "a text compared with a number", schema: `CREATE TABLE users (uid bigint PRIMARY KEY, is_active boolean, roles text[]); INSERT INTO users VALUES (1, true, '{A}'), (2, false, '{B}')`,
			query: "SELECT is_active, roles FROM users WHERE uid = $1::text", roles: one, hint: "write WHERE uid = $1::bigint"},
		{name: "a text compared with a uuid", schema: `CREATE TABLE users (uid uuid PRIMARY KEY, is_active boolean, roles text[]); INSERT INTO users VALUES ('00000000-0000-0000-0000-000000000001', true, '{A}'), ('00000000-0000-0000-0000-000000000002', false, '{B}')`,
			query: "SELECT is_active, roles FROM users WHERE uid = $1::text", roles: one, hint: "write WHERE uid = $1::uuid", id: "00000000-0000-0000-0000-00000000000"},

		{name: "an integer flag", schema: `CREATE TABLE users (id bigint PRIMARY KEY, flag int, roles text[]); INSERT INTO users VALUES (1, 1, '{A}'), (2, 0, '{B}')`,
			query: "SELECT %s, roles FROM users WHERE id = $1", item: "flag AS is_active", roles: one, hint: "write flag <> 0 AS is_active"},
		{name: "an integer that says the opposite", schema: `CREATE TABLE users (id bigint PRIMARY KEY, disabled int, roles text[]); INSERT INTO users VALUES (1, 0, '{A}'), (2, 1, '{B}')`,
			query: "SELECT %s, roles FROM users WHERE id = $1", item: "disabled AS is_active", roles: one, hint: "write disabled = 0 AS is_active"},
		{name: "an enum of states", schema: `CREATE TYPE state AS ENUM ('new', 'Active', 'gone'); CREATE TABLE users (id bigint PRIMARY KEY, state state, roles text[]); INSERT INTO users VALUES (1, 'Active', '{A}'), (2, 'gone', '{B}')`,
			query: "SELECT %s, roles FROM users WHERE id = $1", item: "state AS is_active", roles: one, hint: "write state = 'Active' AS is_active"},
		{name: "a text of states", schema: `CREATE TABLE users (id bigint PRIMARY KEY, state text, roles text[]); INSERT INTO users VALUES (1, 'active', '{A}'), (2, 'gone', '{B}')`,
			query: "SELECT %s, roles FROM users WHERE id = $1", item: "state AS is_active", roles: one, hint: "write state = 'active' AS is_active"},
		{name: "a boolean as a text", schema: `CREATE TABLE users (id bigint PRIMARY KEY, state text, roles text[]); INSERT INTO users VALUES (1, 'on', '{A}'), (2, 'off', '{B}')`,
			query: "SELECT %s, roles FROM users WHERE id = $1", item: "state AS is_active", roles: one, hint: "write state::boolean AS is_active"},
		{name: "the time of a deletion", schema: `CREATE TABLE users (id bigint PRIMARY KEY, deleted_at timestamptz, roles text[]); INSERT INTO users VALUES (1, NULL, '{A}'), (2, now(), '{B}')`,
			query: "SELECT %s, roles FROM users WHERE id = $1", item: "deleted_at AS is_active", roles: one, hint: "write deleted_at IS NULL AS is_active"},
		{name: "the time of an activation", schema: `CREATE TABLE users (id bigint PRIMARY KEY, activated_at date, roles text[]); INSERT INTO users VALUES (1, now(), '{A}'), (2, NULL, '{B}')`,
			query: "SELECT %s, roles FROM users WHERE id = $1", item: "activated_at AS is_active", roles: one, hint: "write activated_at IS NOT NULL AS is_active"},
		{name: "no alias for the opposite", schema: `CREATE TABLE users (id bigint PRIMARY KEY, is_deleted boolean, roles text[]); INSERT INTO users VALUES (1, false, '{A}'), (2, true, '{B}')`,
			query: "SELECT %s, roles FROM users WHERE id = $1", item: "is_deleted", roles: one, hint: "write NOT is_deleted AS is_active"},
		{name: "other names", schema: `CREATE TYPE role AS ENUM ('A', 'B'); CREATE TABLE accounts (account_id bigint PRIMARY KEY, enabled boolean, role role); INSERT INTO accounts VALUES (1, true, 'A'), (2, false, 'B')`,
			query: "SELECT is_active, roles FROM accounts WHERE account_id = $1", roles: one, hint: "write the query as SELECT enabled AS is_active, ARRAY[role::text] AS roles FROM accounts WHERE account_id = $1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			db := authztest.StartPostgres(t)
			db.Exec(t, noKeys+tt.schema)
			query, column := tt.query, "roles"
			if strings.Contains(query, "%s") {
				query = fmt.Sprintf(query, tt.item)
			}
			if !strings.Contains(query, "is_active") || strings.Contains(tt.item, "is_active") {
				column = "is_active"
			}
			warnings, err := open(t, postgres.Config{DatabaseURL: db.URL(), UsersQuery: query}).Check(t.Context())
			said := fmt.Sprint(strings.Join(warnings, "\n"))
			if err != nil {
				said += "\n" + err.Error()
			}
			if !strings.Contains(said, tt.hint) {
				t.Errorf("Check says %s, want %s", said, tt.hint)
			}
			good := hinted(t, said, query, map[string]string{column: tt.item})
			d := open(t, postgres.Config{DatabaseURL: db.URL(), UsersQuery: good})
			if warnings, err := d.Check(t.Context()); err != nil || strings.Contains(strings.Join(warnings, "\n"), "write") {
				t.Errorf("Check of %s\n%q, %v", good, warnings, err)
			}
			id := tt.id
			first, err := d.User(t.Context(), id+"1")
			if err != nil || !first.Active || !slices.Equal(first.Roles, authz.Names(tt.roles)) {
				t.Errorf("%s\nuser 1 = %+v, %v; want active with %q", good, first, err, tt.roles)
			}
			if second, err := d.User(t.Context(), id+"2"); err != nil && !errors.Is(err, authz.ErrNotFound) || err == nil && second.Active != tt.active {
				t.Errorf("%s\nuser 2 = %+v, %v", good, second, err)
			}
			if _, err := d.User(t.Context(), id+"3"); !errors.Is(err, authz.ErrNotFound) {
				t.Errorf("%s\nnobody: %v", good, err)
			}
		})
	}
}

// TestNoHint shows none where nothing runs, or where a guess could let the wrong users in.
func TestNoHint(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, noKeys+`CREATE TYPE mood AS ENUM ('fine', 'gone');
		CREATE TABLE users (id bigint PRIMARY KEY, seen timestamptz, mood mood, blob bytea, state text, roles text[], is_active boolean);
		INSERT INTO users VALUES (1, now(), 'fine', '\x00', 'perhaps', '{A}', true)`)
	for _, tt := range []struct{ name, query, want string }{
		{"a time that says nothing", "SELECT seen AS is_active, roles FROM users WHERE id = $1", "the column is_active is timestamp with time zone: is_active is a boolean"},
		{"an enum without the word", "SELECT mood AS is_active, roles FROM users WHERE id = $1", "the column is_active is mood; compare it with the value of an active user, of fine, gone: is_active"},
		{"a text that is no boolean", "SELECT state AS is_active, roles FROM users WHERE id = $1", "the column is_active is text: is_active is a boolean"},
		{"bytes as roles", "SELECT is_active, blob AS roles FROM users WHERE id = $1", "the column roles is bytea: it is jsonb"},
		{"comments", "SELECT is_active, blob AS roles FROM users WHERE id = $1 -- the id", "the column roles is bytea: it is jsonb"},
		{"no column at all", "SELECT is_active FROM users WHERE id = $1", "the result has no column roles; it has is_active: it is jsonb"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := open(t, postgres.Config{DatabaseURL: db.URL(), UsersQuery: tt.query}).Check(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "write") {
				t.Errorf("Check = %v, want %q", err, tt.want)
			}
		})
	}
}

// TestHintsOfSlowQueries reports the problem of a query whose rows take too long to sample.
func TestHintsOfSlowQueries(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, noKeys+`CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, role int); INSERT INTO users SELECT n, true, n FROM generate_series(1, 60) n`)
	_, err := open(t, postgres.Config{DatabaseURL: db.URL(), UsersQuery: "SELECT is_active, role AS roles FROM users, LATERAL (SELECT pg_sleep(0.2 + 0 * id)) AS slow WHERE id = $1"}).Check(t.Context())
	if err == nil || errors.Is(err, postgres.ErrUnreachable) || !strings.Contains(err.Error(), "the column roles is integer") {
		t.Errorf("Check = %v, want the problem", err)
	}
}

// TestHintsForAPIKeys uses what a message proposes as the query of API keys.
func TestHintsForAPIKeys(t *testing.T) {
	t.Parallel()
	hash := authz.HashAPIKey(liveKey)
	for _, tt := range []struct{ name, column, value, item, name2, hint string }{
		{"scopes with spaces", "granted text", "'a b'", "granted AS scopes", "scopes", "write string_to_array(granted, ' ') AS scopes"},
		{"one scope", "granted varchar", "'a'", "granted AS scopes", "scopes", "write ARRAY[granted] AS scopes"},
		{"seconds", "until bigint", "4102444800", "until AS expires_at", "expires_at", "write to_timestamp(until) AS expires_at"},
		{"milliseconds", "until bigint", "4102444800000", "until AS expires_at", "expires_at", "write to_timestamp(until / 1000.0) AS expires_at"},
		{"a time as a text", "until text", "'2100-01-01 00:00:00Z'", "until AS expires_at", "expires_at", "write until::timestamptz AS expires_at"},
		{"a time without zone", "until timestamp", "'2100-01-01'", "until AS expires_at", "expires_at", "write until AT TIME ZONE 'UTC' AS expires_at"},
		{"a day", "until date", "'2099-12-31'", "until AS expires_at", "expires_at", "write (until + 1)::timestamptz AS expires_at"},
		{"no end", "more int", "1", "", "expires_at", "write NULL::timestamptz AS expires_at"},
		{"an owner as a number", "owner numeric", "42", "owner AS user_id", "user_id", "write owner::text AS user_id"},
		{"a prefix of another type", "pre citext", "'wk'", "pre AS prefix", "prefix", "write pre::text AS prefix"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			db := authztest.StartPostgres(t)
			db.Exec(t, "CREATE EXTENSION citext; CREATE TABLE users (id bigint, is_active boolean, roles jsonb); CREATE TABLE tokens (hash text, "+tt.column+"); INSERT INTO tokens VALUES ('"+hash.Hex()+"', "+tt.value+")")
			items := map[string]string{"prefix": "'wk'::text AS prefix", "scopes": "ARRAY['a'] AS scopes", "is_active": "true AS is_active", "expires_at": "'2100-01-01'::timestamptz AS expires_at", "user_id": "'42'::text AS user_id"}
			items[tt.name2] = tt.item
			query := func(items map[string]string) string {
				var list []string
				for _, name := range []string{"prefix", "scopes", "is_active", "expires_at", "user_id"} {
					if items[name] != "" {
						list = append(list, items[name])
					}
				}
				return "SELECT " + strings.Join(list, ", ") + " FROM tokens WHERE hash = $1"
			}
			warnings, err := open(t, postgres.Config{DatabaseURL: db.URL(), APIKeysQuery: query(items)}).Check(t.Context())
			said := strings.Join(warnings, "\n")
			if err != nil {
				said += "\n" + err.Error()
			}
			m := itemHint.FindStringSubmatch(said)
			if !strings.Contains(said, tt.hint) || m == nil {
				t.Fatalf("Check says %s, want %s", said, tt.hint)
			}
			items[tt.name2] = m[1]
			d := open(t, postgres.Config{DatabaseURL: db.URL(), APIKeysQuery: query(items)})
			if warnings, err := d.Check(t.Context()); err != nil || len(warnings) > 0 {
				t.Errorf("%s: %q, %v", query(items), warnings, err)
			}
			key, err := d.APIKey(t.Context(), hash)
			endless := tt.name == "no end"
			if err != nil || !key.Active || key.Prefix != "wk" || key.OwnerID != "42" || !key.Scopes.Has("a") || key.ExpiresAt.IsZero() != endless || !endless && key.ExpiresAt.Year() != 2100 {
				t.Errorf("%s: %+v, %v", query(items), key, err)
			}
		})
	}
}

// TestNoUsers needs no table of users, finds nobody and asks nothing about users. Keys are found.
func TestNoUsers(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, "CREATE TABLE api_keys (prefix text, key_hash text, scopes jsonb, is_active boolean, expires_at timestamptz, user_id bigint)")
	db.Exec(t, "INSERT INTO api_keys VALUES ('wk', '"+authz.HashAPIKey(liveKey).Hex()+"', '[\"a\"]', true, NULL, 42)")
	d := open(t, postgres.Config{DatabaseURL: db.URL(), NoUsers: true})
	if warnings, err := d.Check(t.Context()); err != nil || len(warnings) > 0 {
		t.Errorf("Check = %q, %v", warnings, err)
	}
	if e, err := d.Examine(t.Context()); err != nil || slices.ContainsFunc(e.Excess, func(s string) bool { return strings.Contains(s, "users") }) {
		t.Errorf("Examine = %+v, %v", e, err)
	}
	if user, err := d.User(t.Context(), "42"); !errors.Is(err, authz.ErrNotFound) || user.Active {
		t.Errorf("User = %+v, %v", user, err)
	}
	if key, err := d.APIKey(t.Context(), authz.HashAPIKey(liveKey)); err != nil || !key.Active || key.OwnerID != "42" {
		t.Errorf("APIKey = %+v, %v", key, err)
	}
}

// TestNoAPIKeys needs no table and knows no key.
func TestNoAPIKeys(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, "CREATE TABLE users (id bigint, is_active boolean, roles jsonb)")
	d := open(t, postgres.Config{DatabaseURL: db.URL(), NoAPIKeys: true})
	if warnings, err := d.Check(t.Context()); err != nil || len(warnings) > 0 {
		t.Errorf("Check = %q, %v", warnings, err)
	}
	if key, err := d.APIKey(t.Context(), authz.HashAPIKey(liveKey)); !errors.Is(err, authz.ErrNotFound) || key.Active {
		t.Errorf("APIKey = %+v, %v", key, err)
	}
}
