package postgres_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/postgres"
)

var (
	_ authz.Users   = (*postgres.Directory)(nil)
	_ authz.APIKeys = (*postgres.Directory)(nil)
)

// patience is the timeout of questions that must not time out on a busy machine.
const patience = 20 * time.Second

func open(t testing.TB, c postgres.Config) *postgres.Directory {
	t.Helper()
	if c.Timeout == 0 {
		c.Timeout = patience
	}
	if c.MaxConns == 0 {
		c.MaxConns = 2
	}
	d, err := postgres.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// A shape is one way in which an application may have defined its tables.
type shape struct {
	name       string
	ids        authztest.IDKind
	idType     string
	namesType  string // of roles and scopes
	timeType   string
	users      string // queries
	apiKeys    string
	url        string // appended to the database's URL
	attributes string // the type of the columns of attributes; "" means text
	exceptions map[string]string
}

const (
	jsonHolds  = "the column can contain only JSON"
	arrayHolds = "the column can contain only arrays of text"
	intHolds   = "the column has at most 4 bytes"
)

var shapes = []shape{
	{
		name: "bigint ids, jsonb", ids: authztest.IntegerIDs, idType: "bigint", namesType: "jsonb", timeType: "timestamptz",
		exceptions: map[string]string{"broken/": jsonHolds},
	},
	{
		name: "integer ids, json", ids: authztest.IntegerIDs, idType: "integer", namesType: "json", timeType: "timestamptz",
		exceptions: map[string]string{"broken/": jsonHolds, "ids/at the edges of the grammar": intHolds},
	},
	{
		name: "smallint ids, no prepared statements", ids: authztest.IntegerIDs, idType: "smallint", namesType: "jsonb", timeType: "timestamptz",
		url:        "&prepared_statement_cache_size=0",
		exceptions: map[string]string{"broken/": jsonHolds, "ids/at the edges of the grammar": intHolds},
		attributes: "varchar",
	},
	{
		name: "uuid ids, text[], timestamps without zone", ids: authztest.UUIDs, idType: "uuid", namesType: "text[]", timeType: "timestamp",
		exceptions: map[string]string{"shapes/": arrayHolds, "broken/": arrayHolds},
	},
	{
		name: "text ids, text with JSON", ids: authztest.TextIDs, idType: "text", namesType: "text", timeType: "timestamptz",
	},
	{
		name: "varchar ids, varchar[]", ids: authztest.TextIDs, idType: "varchar(128)", namesType: "varchar(64)[]", timeType: "timestamptz",
		exceptions: map[string]string{"shapes/": arrayHolds, "broken/": arrayHolds},
	},
	{
		name: "char ids, varchar with JSON", ids: authztest.TextIDs, idType: "char(128)", namesType: "varchar", timeType: "timestamptz",
		attributes: "char(1100)",
	},
	{
		name: "ids compared as text, hash as bytea, names by alias", ids: authztest.IntegerIDs, idType: "bigint", namesType: "jsonb", timeType: "timestamptz",
		users:      `SELECT roles AS "roles", id, NOT NOT is_active AS is_active, 'x' AS more, tenant, plan FROM users WHERE id::text = $1`,
		apiKeys:    `SELECT user_id::text, scopes, expires_at, 'x'::varchar AS more, plan, is_active, tenant, prefix::char(64) FROM api_keys WHERE decode(key_hash, 'hex') = decode($1, 'hex')`,
		exceptions: map[string]string{"broken/": jsonHolds},
	},
}

// The default queries with the attributes of the suite.
const (
	usersQuery   = "SELECT is_active, roles, tenant, plan FROM users WHERE id = $1"
	apiKeysQuery = "SELECT prefix, scopes, is_active, expires_at, user_id, tenant, plan FROM api_keys WHERE key_hash = $1"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			db := authztest.StartPostgres(t)
			// The tables have no constraints on their contents, so that they can hold invalid
			// values.
			db.Exec(t, fmt.Sprintf(`
				CREATE TABLE users (id %[1]s PRIMARY KEY, is_active boolean, roles %[2]s, tenant %[4]s, plan %[4]s);
				CREATE TABLE api_keys (prefix text, key_hash text UNIQUE, scopes %[2]s, is_active boolean, expires_at %[3]s, user_id %[1]s, tenant %[4]s, plan %[4]s)`,
				s.idType, s.namesType, s.timeType, cmp.Or(s.attributes, "text")))
			d := open(t, postgres.Config{DatabaseURL: db.URL() + s.url, UsersQuery: cmp.Or(s.users, usersQuery), APIKeysQuery: cmp.Or(s.apiKeys, apiKeysQuery)})
			if _, err := d.Check(t.Context()); err != nil {
				t.Fatalf("Check: %v", err)
			}
			authztest.RunDirectory(t, func(t testing.TB) authztest.DirectoryFixture {
				db.Exec(t, "TRUNCATE users, api_keys")
				return s.fixture(db, d)
			})
		})
	}
}

func (s shape) fixture(db *authztest.Postgres, d *postgres.Directory) authztest.DirectoryFixture {
	return authztest.DirectoryFixture{
		Users: d, APIKeys: d, IDs: s.ids, Exceptions: s.exceptions,
		PutUser: func(t testing.TB, row authztest.UserRow) {
			db.Exec(t, fmt.Sprintf("INSERT INTO users VALUES (%[1]s, %[2]s, %[3]s, %[4]s, %[5]s) ON CONFLICT (id) DO UPDATE SET is_active = %[2]s, roles = %[3]s, tenant = %[4]s, plan = %[5]s",
				literal(row.ID), boolean(row.Active), s.names(t, row.Roles), orNull(authztest.Attribute(row.Attributes, 0)), orNull(authztest.Attribute(row.Attributes, 1))))
		},
		DeleteUser: func(t testing.TB, id string) { db.Exec(t, "DELETE FROM users WHERE id = "+literal(id)) },
		PutAPIKey: func(t testing.TB, row authztest.APIKeyRow) {
			hash := literal(row.Hash.Hex())
			expires := orNull(row.Expires)
			if s.timeType == "timestamp" && strings.ContainsAny(row.Expires, "0123456789") {
				expires = literal(row.Expires) + "::timestamptz AT TIME ZONE 'UTC'"
			}
			db.Exec(t, fmt.Sprintf("DELETE FROM api_keys WHERE key_hash = %[1]s; INSERT INTO api_keys VALUES (%[2]s, %[1]s, %[3]s, %[4]s, %[5]s, %[6]s, %[7]s, %[8]s)",
				hash, literal(row.Prefix), s.names(t, row.Scopes), boolean(row.Active), expires, orNull(row.OwnerID),
				orNull(authztest.Attribute(row.Attributes, 0)), orNull(authztest.Attribute(row.Attributes, 1))))
		},
		DeleteAPIKey: func(t testing.TB, hash authz.KeyHash) {
			db.Exec(t, "DELETE FROM api_keys WHERE key_hash = "+literal(hash.Hex()))
		},
	}
}

func (s shape) names(t testing.TB, text string) string {
	t.Helper()
	if text == "" {
		return "NULL"
	}
	if !strings.HasSuffix(s.namesType, "[]") {
		return literal(text)
	}
	var list []string
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	for i := range list {
		list[i] = literal(list[i])
	}
	return "ARRAY[" + strings.Join(list, ",") + "]::" + s.namesType
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func orNull(s string) string {
	if s == "" {
		return "NULL"
	}
	return literal(s)
}

func boolean(b *bool) string {
	if b == nil {
		return "NULL"
	}
	return fmt.Sprint(*b)
}
