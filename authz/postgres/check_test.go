package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/postgres"
)

// Tables that an application may have, with names other than those of the reference schema.
const foreignTables = `
	CREATE SCHEMA app;
	CREATE TYPE app.mood AS ENUM ('active', 'gone');
	CREATE TABLE app.accounts (account_id integer PRIMARY KEY, enabled boolean, flag integer, state text, role_names jsonb, role_list integer[], one_role text, seen timestamptz, mood app.mood);
	INSERT INTO app.accounts VALUES (42, true, 1, 'on', '["CONTROL"]', '{1}', 'CONTROL', now());
	CREATE TABLE app.tokens (digest bytea UNIQUE, hex text UNIQUE, head text, grants jsonb, enabled boolean, until timestamptz, epoch bigint, until_local timestamp, until_day date, until_text text, account_id integer);
	INSERT INTO app.tokens VALUES ('\x00', repeat('0a', 32), 'tk', '["a"]', true, NULL, NULL, NULL, NULL, NULL, 42);
	CREATE EXTENSION citext;
	CREATE COLLATION app.loose (locale = 'C');
	CREATE TABLE app.loose (id citext PRIMARY KEY, amount numeric UNIQUE, label text COLLATE app.loose UNIQUE, short name UNIQUE, is_active boolean, roles jsonb);
	UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'loose'; -- not every build has the ICU that such collations need
`

const (
	foreignUsers   = "SELECT enabled AS is_active, role_names AS roles FROM app.accounts WHERE account_id = $1"
	foreignAPIKeys = "SELECT head AS prefix, grants AS scopes, enabled AS is_active, until AS expires_at, account_id AS user_id FROM app.tokens WHERE hex = $1"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, foreignTables)
	keys := func(columns string) string { return "SELECT " + columns + " FROM app.tokens WHERE hex = $1" }
	for _, tt := range []struct {
		name    string
		users   string   // "" means foreignUsers
		apiKeys string   // "" means foreignAPIKeys
		want    []string // parts of the error's lines, in order; empty for no error
		warning string
	}{
		{name: "fits by alias"},
		{name: "fits with a join", users: "SELECT a.enabled AS is_active, role_names AS roles FROM app.accounts a JOIN app.tokens USING (account_id) WHERE account_id = $1"},

		{"no table", postgres.DefaultUsersQuery, postgres.DefaultAPIKeysQuery, []string{
			`directory.users_query: relation "users" does not exist (SQLSTATE 42P01); create it (warder schema sql`,
			`directory.api_keys_query: relation "api_keys" does not exist`,
		}, ""},
		{"no column", "SELECT is_active, roles FROM app.accounts WHERE account_id = $1", "", []string{
			`directory.users_query: column "is_active" does not exist (SQLSTATE 42703); app.accounts has account_id, enabled, flag, state, role_names, role_list, one_role, seen, mood; ` +
				"write the query as SELECT enabled AS is_active, role_names AS roles FROM app.accounts WHERE account_id = $1",
		}, ""},
		{"no alias", "SELECT enabled, role_names FROM app.accounts WHERE account_id = $1", "", []string{
			"directory.users_query: the result has no column is_active; it has enabled, role_names; write enabled AS is_active: is_active is a boolean",
			"directory.users_query: the result has no column roles; it has enabled, role_names; write role_names AS roles: it is jsonb or json",
		}, ""},
		{"no such columns at all", "", keys("head AS prefix, grants AS scopes, enabled AS is_active"), []string{
			"no column expires_at; it has prefix, scopes, is_active; write NULL::timestamptz AS expires_at",
			"no column user_id; it has prefix, scopes, is_active; write NULL::text AS user_id",
		}, ""},
		{"two columns with one name", "SELECT enabled AS is_active, flag <> 0 AS is_active, role_names AS roles FROM app.accounts WHERE account_id = $1", "", []string{"the result has 2 columns is_active"}, ""},
		{"an integer flag", "SELECT flag AS is_active, role_names AS roles FROM app.accounts WHERE account_id = $1", "", []string{"the column is_active is integer; write flag <> 0 AS is_active: is_active is a boolean"}, ""},
		{"a text flag", "SELECT state AS is_active, role_names AS roles FROM app.accounts WHERE account_id = $1", "", []string{"the column is_active is text; write state::boolean AS is_active"}, ""},
		{"another id than the one asked for", "SELECT account_id AS id, enabled AS is_active, role_names AS roles FROM app.accounts WHERE state = $1", "", nil, "in a row of app.accounts the column id differs from the parameter, so the user counts as unknown; leave id out"},
		{"an id of another type", "SELECT account_id::numeric AS id, enabled AS is_active, role_names AS roles FROM app.accounts WHERE account_id = $1", "", nil, "the column id differs from the parameter"},
		{"the id asked for", "SELECT account_id AS id, enabled AS is_active, role_names AS roles FROM app.accounts WHERE account_id = $1", "", nil, ""},
		{"a number as a flag", "SELECT flag::numeric AS is_active, role_names AS roles FROM app.accounts WHERE account_id = $1", "", []string{"the column is_active is numeric; write (flag::numeric) <> 0 AS is_active: is_active is a boolean"}, ""},
		{"a bit as a flag", "SELECT flag::bit AS is_active, role_names AS roles FROM app.accounts WHERE account_id = $1", "", []string{"the column is_active is bit; write (flag::bit) = B'1' AS is_active"}, ""},
		{"a day as a flag", "SELECT seen::date AS is_active, role_names AS roles FROM app.accounts WHERE account_id = $1", "", []string{"the column is_active is date: is_active is a boolean"}, ""},
		{"a state as a flag", "SELECT mood AS is_active, role_names AS roles FROM app.accounts WHERE account_id = $1", "", []string{"the column is_active is app.mood; write mood = 'active' AS is_active"}, ""},
		{"a time as a flag", "SELECT seen AS is_active, role_names AS roles FROM app.accounts WHERE account_id = $1", "", []string{"is timestamp with time zone: is_active is a boolean"}, ""},
		{"roles of integers", "SELECT enabled AS is_active, role_list AS roles FROM app.accounts WHERE account_id = $1", "", []string{"the column roles is integer[]; write role_list::text[] AS roles"}, ""},
		{"one role as an integer", "SELECT enabled AS is_active, flag AS roles FROM app.accounts WHERE account_id = $1", "", []string{"the column roles is integer; write ARRAY[flag::text] AS roles"}, ""},
		{"one role as a text", "SELECT enabled AS is_active, one_role AS roles FROM app.accounts WHERE account_id = $1", "", nil, "in a row of app.accounts the column roles is not an array of strings and counts as empty; write ARRAY[one_role] AS roles"},
		{"no parameter", "SELECT enabled AS is_active, role_names AS roles FROM app.accounts", "", []string{"it has no parameter; write WHERE … = $1"}, ""},
		{"two parameters", "SELECT enabled AS is_active, role_names AS roles FROM app.accounts WHERE account_id = $1 AND state = $2", "", []string{"it has 2 parameters; only $1 gets a value"}, ""},
		{"a parameter of no type", "SELECT enabled AS is_active, role_names AS roles FROM app.accounts WHERE $1 IS NOT NULL", "", []string{"cast the parameter, as in $1::text"}, ""},
		{"citext", "SELECT is_active, roles FROM app.loose WHERE id = $1", "", []string{"its parameter $1 is citext, which may treat two different ids as equal; write WHERE id::text = $1"}, ""},
		{"numeric", "SELECT is_active, roles FROM app.loose WHERE amount = $1", "", []string{"its parameter $1 is numeric, in which a number has several spellings; write WHERE amount = $1::bigint"}, ""},
		{"name, which truncates ids", "SELECT is_active, roles FROM app.loose WHERE short = $1", "", []string{"its parameter $1 is name, which may treat two different ids as equal"}, ""},
		{"a loose collation", "SELECT is_active, roles FROM app.loose WHERE label = $1", "", nil, `app.loose.label has a collation that treats different texts as equal; write WHERE label COLLATE "C" = $1`},
		{"several statements", foreignUsers + "; SELECT 1", "", []string{"directory.users_query: the database refuses the query: cannot insert multiple commands"}, ""},
		{"no SQL", "SELEC canary", "", []string{`directory.users_query: the database refuses the query: syntax error at or near "SELEC" (SQLSTATE 42601)`}, ""},
		{"it writes", "UPDATE app.accounts SET enabled = true WHERE account_id = $1 RETURNING enabled AS is_active, role_names AS roles", "", []string{"it writes; write a SELECT"}, ""},

		{"a hash as bytea", "", "SELECT head AS prefix, grants AS scopes, enabled AS is_active, until AS expires_at, account_id AS user_id FROM app.tokens WHERE digest = $1", []string{"its parameter $1 is bytea, but gets 64 lower-case hex digits; write WHERE digest = decode($1, 'hex')"}, ""},
		{"a hash as bytea, decoded", "", "SELECT head AS prefix, grants AS scopes, enabled AS is_active, until AS expires_at, account_id AS user_id FROM app.tokens WHERE digest = decode($1, 'hex')", nil, "app.tokens.digest contains a value that is not a lower-case hex SHA-256"},
		{"seconds since 1970", "", keys("head AS prefix, grants AS scopes, enabled AS is_active, epoch AS expires_at, account_id AS user_id"), []string{"the column expires_at is bigint; write to_timestamp(epoch) AS expires_at: it is a timestamptz"}, ""},
		{"a time as text", "", keys("head AS prefix, grants AS scopes, enabled AS is_active, until_text AS expires_at, account_id AS user_id"), []string{"the column expires_at is text; write until_text::timestamptz AS expires_at"}, ""},
		{"a time without zone", "", keys("head AS prefix, grants AS scopes, enabled AS is_active, until_local AS expires_at, account_id AS user_id"), nil, "expires_at is a timestamp without time zone and is read as UTC"},
		{"a day", "", keys("head AS prefix, grants AS scopes, enabled AS is_active, until_day AS expires_at, account_id AS user_id"), nil, "expires_at is a date"},
		{"an owner of another type", "", keys("head AS prefix, grants AS scopes, enabled AS is_active, until AS expires_at, account_id::numeric AS user_id"), []string{"the column user_id is numeric; write (account_id::numeric)::text AS user_id"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.users == "" {
				tt.users = foreignUsers
			}
			if tt.apiKeys == "" {
				tt.apiKeys = foreignAPIKeys
			}
			d := open(t, postgres.Config{DatabaseURL: db.URL(), UsersQuery: tt.users, APIKeysQuery: tt.apiKeys})
			warnings, err := d.Check(t.Context())
			wantLines(t, err, tt.want)
			if got := strings.Join(warnings, "\n"); !strings.Contains(got, tt.warning) || (got == "") != (tt.warning == "") {
				t.Errorf("warnings %q, want %q", got, tt.warning)
			}
			if errors.Is(err, postgres.ErrUnreachable) {
				t.Errorf("%v is ErrUnreachable, though the database answered", err)
			}
			noSecret(t, db, err)
		})
	}
}

func wantLines(t *testing.T, err error, want []string) {
	t.Helper()
	var lines []string
	if err != nil {
		lines = strings.Split(err.Error(), "\n")
	}
	ok := len(lines) == len(want)
	for i := 0; ok && i < len(lines); i++ {
		ok = strings.Contains(lines[i], want[i])
	}
	if !ok {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(lines, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func noSecret(t testing.TB, db *authztest.Postgres, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, secret := range []string{db.Password, "canary", db.Addr, "SELECT is_active"} {
		if secret != "" && strings.Contains(err.Error(), secret) {
			t.Errorf("the error contains %q: %v", secret, err)
		}
	}
}

// A query that Check rejects returns an error for every user.
func TestRejectedQueriesFindNobody(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, foreignTables)
	db.Exec(t, `INSERT INTO app.loose VALUES ('alice', 42, 'alice', 'alice', true, '["ADMIN"]')`)
	for _, query := range []string{
		"SELECT is_active, roles FROM app.loose WHERE id = $1",
		"SELECT is_active, roles FROM app.loose WHERE amount = $1",
		"SELECT is_active, roles FROM app.loose WHERE short = $1",
		"SELECT is_active, roles, amount AS id FROM app.loose WHERE id::text = $1",
		"SELECT flag AS is_active, role_names AS roles FROM app.accounts WHERE account_id::text = $1 OR true",
		"SELECT is_active FROM app.loose WHERE id::text = $1 OR true",
		"SELECT false AS is_active, is_active, roles FROM app.loose WHERE id::text = $1 OR true",
		"SELECT is_active, '[]'::jsonb AS roles, roles FROM app.loose WHERE id::text = $1 OR true",
		"SELECT is_active, is_active AS roles FROM app.loose WHERE id::text = $1 OR true",
	} {
		d := open(t, postgres.Config{DatabaseURL: db.URL(), UsersQuery: query})
		for _, id := range []string{"alice", "ALICE", "42", "42.0"} {
			if user, err := d.User(t.Context(), id); err == nil || user.Active {
				t.Errorf("%s\nUser(%q) = %+v, %v; want an error", query, id, user, err)
			}
		}
	}
	// If the query returns the id, it must equal the parameter.
	d := open(t, postgres.Config{DatabaseURL: db.URL(), UsersQuery: "SELECT is_active, roles, id::text AS id FROM app.loose WHERE id = $1::text::citext"})
	if user, err := d.User(t.Context(), "alice"); err != nil || !user.Active {
		t.Errorf("User = %+v, %v", user, err)
	}
	if user, err := d.User(t.Context(), "ALICE"); !errors.Is(err, authz.ErrNotFound) {
		t.Errorf("User = %+v, %v for another spelling of the id", user, err)
	}
}

func TestCheckOfRights(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	role := "reader_" + db.Database
	db.Exec(t, postgres.Schema)
	db.Exec(t, fmt.Sprintf("CREATE ROLE %[1]s LOGIN PASSWORD 'canary'; CREATE SCHEMA closed; CREATE TABLE closed.users (id int, is_active boolean, roles jsonb)", role))
	url := strings.Replace(strings.Replace(db.URL(), db.Password, "canary", 1), db.User, role, 1)

	d := open(t, postgres.Config{DatabaseURL: url})
	_, err := d.Check(t.Context())
	wantLines(t, err, []string{
		"directory.users_query: permission denied for table users (SQLSTATE 42501); run GRANT SELECT ON users TO " + role,
		"directory.api_keys_query: permission denied for table api_keys (SQLSTATE 42501); run GRANT SELECT ON api_keys TO " + role,
	})
	noSecret(t, db, err)

	closed := open(t, postgres.Config{DatabaseURL: url, UsersQuery: "SELECT is_active, roles FROM closed.users WHERE id = $1"})
	_, err = closed.Check(t.Context())
	if err == nil || !strings.Contains(err.Error(), "permission denied for schema closed (SQLSTATE 42501); run GRANT USAGE ON SCHEMA closed TO "+role) {
		t.Errorf("Check = %v", err)
	}

	// The reference schema's role has what the reference queries need.
	db.Exec(t, "GRANT warder_reader TO "+role)
	if _, err := d.Check(t.Context()); err != nil {
		t.Errorf("Check with the rights of warder_reader: %v", err)
	}
	db.Exec(t, "REVOKE warder_reader FROM "+role+"; DROP ROLE "+role)
}

func TestCheckOfConnections(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	for _, tt := range []struct {
		away bool
		want string
		url  string
	}{
		{true, "the database cannot be reached: connection refused", "postgres://u:canary@127.0.0.1:1/d"},
		{true, "the database cannot be reached: no such socket", "postgres://u:canary@/d?host=/nonexistent"},
		{false, "directory.database_url: the database refuses the connection: password authentication failed", strings.Replace(db.URL(), db.Password, "canary", 1)},
		{false, `directory.database_url: the database refuses the connection: database "none" does not exist`, strings.Replace(db.URL(), db.Database, "none", 1)},
		{true, "the database cannot be reached: the server does not speak TLS; turn it on there, or write sslmode=disable", strings.Replace(db.URL(), "sslmode=disable", "sslmode=require", 1)},
	} {
		d := open(t, postgres.Config{DatabaseURL: tt.url})
		_, err := d.Check(t.Context())
		if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, postgres.ErrUnreachable) != tt.away {
			t.Errorf("Check = %v (ErrUnreachable: %v), want %q", err, errors.Is(err, postgres.ErrUnreachable), tt.want)
		}
		noSecret(t, db, err)
		_, err = d.User(t.Context(), "42")
		if err == nil || errors.Is(err, postgres.ErrUnreachable) != tt.away {
			t.Errorf("User = %v, want the error of Check", err)
		}
		noSecret(t, db, err)
	}
}

func TestCheckOfRows(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		want string
		rows string
	}{
		{"", ""},
		{"", `INSERT INTO users VALUES ('42', true, '["CONTROL"]'); INSERT INTO api_keys VALUES ('wk', repeat('0a', 32), '["a"]', true, NULL, '42')`},
		{"in a row of users the column roles is not an array of strings", `INSERT INTO users VALUES ('42', true, '{"ADMIN": true}')`},
		{"in a row of users the column roles has invalid names", `INSERT INTO users VALUES ('42', true, '["A,B"]')`},
		{"in a row of users the query finds more than one row", `INSERT INTO users VALUES ('42', true, '[]'), ('42', false, '[]')`},
		{"users.id contains ids that a token cannot contain", `INSERT INTO users VALUES ('a:b', true, '[]')`},
		{"write WHERE lower(key_hash) = $1", `INSERT INTO api_keys VALUES ('wk', repeat('0A', 32), '[]', true, NULL, NULL)`},
		{"write WHERE key_hash = encode(decode($1, 'hex'), 'base64')", `INSERT INTO api_keys VALUES ('wk', encode(sha256('x'), 'base64'), '[]', true, NULL, NULL)`},
		{"store the hash of the whole key", `INSERT INTO api_keys VALUES ('wk', 'wk_canary', '[]', true, NULL, NULL)`},
		{"in a row of api_keys the column scopes is not an array", `INSERT INTO api_keys VALUES ('wk', repeat('0a', 32), '"a"', true, NULL, NULL)`},
	} {
		t.Run(tt.want, func(t *testing.T) {
			t.Parallel()
			db := authztest.StartPostgres(t)
			db.Exec(t, `CREATE TABLE users (id text, is_active boolean, roles jsonb);
				CREATE TABLE api_keys (prefix text, key_hash text, scopes jsonb, is_active boolean, expires_at timestamptz, user_id text);`+tt.rows)
			d := open(t, postgres.Config{DatabaseURL: db.URL()})
			warnings, err := d.Check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(warnings, "\n")
			if !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") || strings.Contains(got, "canary") {
				t.Errorf("warnings %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSchemaAnnouncesChanges(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema)
	conn, err := pgx.Connect(t.Context(), db.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "LISTEN warder_directory"); err != nil {
		t.Fatal(err)
	}
	// A change of a column that warder does not read is not announced. That shows in that the
	// next notification is the one of the next change.
	for _, tt := range []struct{ want, change string }{
		{"users 42", "INSERT INTO users (id) VALUES (42)"},
		{"", "UPDATE users SET created_at = now()"},
		{"", "UPDATE users SET is_active = is_active, roles = roles, id = id"},
		{"users 42", "UPDATE users SET is_active = false"},
		{"users 42", `UPDATE users SET roles = '["A"]'`},
		{"users 42, users 43", "UPDATE users SET id = 43"},
		{"", "CREATE FUNCTION locks() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.is_active := NOT OLD.is_active; RETURN NEW; END'; " +
			"CREATE TRIGGER locks BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION locks()"},
		{"users 43", "UPDATE users SET created_at = now()"}, // the trigger changes is_active too
		{"", "DROP TRIGGER locks ON users"},
		{"", "ALTER TABLE users RENAME roles TO role_names"}, // as with an alias in the query
		{"users 43", `UPDATE users SET role_names = '["B"]'`},
		{"", "ALTER TABLE users RENAME role_names TO roles"},
		{"api_keys 1", "INSERT INTO api_keys (prefix, key_hash) VALUES ('wk', repeat('0a', 32))"},
		{"", "ALTER TABLE api_keys ADD last_used_at timestamptz"},
		{"", "UPDATE api_keys SET last_used_at = now(), created_at = now()"},
		{"api_keys 1", "UPDATE api_keys SET prefix = 'wk2'"},
		{"api_keys 1", "UPDATE api_keys SET key_hash = repeat('0b', 32)"},
		{"api_keys 1", `UPDATE api_keys SET scopes = '["a"]'`},
		{"api_keys 1", "UPDATE api_keys SET is_active = false"},
		{"api_keys 1", "UPDATE api_keys SET expires_at = now()"},
		{"api_keys 1", "UPDATE api_keys SET expires_at = NULL"},
		{"api_keys 1", "UPDATE api_keys SET user_id = 43"},
		{"users 43, api_keys 1", "DELETE FROM users"}, // cascades to api_keys
		{"users 7", "INSERT INTO users (id) VALUES (7)"},
		{"api_keys", "TRUNCATE api_keys"},
		{"users, api_keys", "TRUNCATE users CASCADE"},
	} {
		db.Exec(t, tt.change)
		for want := range strings.SplitSeq(tt.want, ", ") {
			if want == "" {
				continue
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			n, err := conn.WaitForNotification(ctx)
			cancel()
			if err != nil || n.Payload != want {
				t.Fatalf("%s: announced %+v, %v; want %q", tt.change, n, err, want)
			}
		}
	}
}

// A text id may be longer than a payload may be. The INSERT must still succeed.
func TestSchemaAnnouncesLongIDs(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, "CREATE TABLE users (id text, is_active boolean, roles jsonb)")
	db.Exec(t, "CREATE TABLE api_keys (id text, prefix text, key_hash text, scopes jsonb, is_active boolean, expires_at timestamptz, user_id text)")
	db.Exec(t, postgres.Schema)
	db.Exec(t, "INSERT INTO users (id) VALUES (repeat('x', 9000)), (NULL)")
}

func TestSchema(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema)
	db.Exec(t, `INSERT INTO users (id, roles) VALUES (42, '["CONTROL"]')`)
	db.Exec(t, postgres.Schema) // applying it again keeps the data
	d := open(t, postgres.Config{DatabaseURL: db.URL()})
	if warnings, err := d.Check(t.Context()); err != nil || len(warnings) > 0 {
		t.Errorf("Check = %v, %v", warnings, err)
	}
	if user, err := d.User(t.Context(), "42"); err != nil || !user.Active || !user.Roles.Has("CONTROL") {
		t.Errorf("User = %+v, %v", user, err)
	}
}
