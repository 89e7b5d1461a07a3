package postgres_test

import (
	"fmt"
	"strings"
	"testing"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/postgres"
)

// TestCachedConformance runs the suite with a cache whose facts last longer than the test.
// Changes are seen only because the triggers of the reference schema announce them. The
// triggers are applied to other tables than those of the schema.
func TestCachedConformance(t *testing.T) {
	t.Parallel()
	for _, s := range []shape{
		{
			name: "bigint ids, jsonb", ids: authztest.IntegerIDs, idType: "bigint", namesType: "jsonb", timeType: "timestamptz",
			exceptions: map[string]string{"broken/": jsonHolds},
		},
		{
			name: "uuid ids, text[]", ids: authztest.UUIDs, idType: "uuid", namesType: "text[]", timeType: "timestamptz",
			exceptions: map[string]string{"shapes/": arrayHolds, "broken/": arrayHolds},
		},
		{name: "char ids, text with JSON", ids: authztest.TextIDs, idType: "char(128)", namesType: "text", timeType: "timestamptz"},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			db := authztest.StartPostgres(t)
			db.Exec(t, fmt.Sprintf(`
				CREATE TABLE users (id %[1]s PRIMARY KEY, is_active boolean, roles %[2]s, tenant text, plan text);
				CREATE TABLE api_keys (prefix text, key_hash text UNIQUE, scopes %[2]s, is_active boolean, expires_at %[3]s, user_id %[1]s, tenant text, plan text)`, s.idType, s.namesType, s.timeType))
			// As the documentation says, the triggers have to name the columns of attributes.
			triggers := strings.NewReplacer("'roles')", "'roles', 'tenant', 'plan')", "'user_id')", "'user_id', 'tenant', 'plan')").Replace(triggersOnly(t))
			db.Exec(t, triggers)
			k := keep(t, db, postgres.Config{UsersQuery: usersQuery, APIKeysQuery: apiKeysQuery}, nil)
			n := 0
			settled := func(t testing.TB) {
				n++
				k.settle(t, fmt.Sprint(n))
			}
			authztest.RunDirectory(t, func(t testing.TB) authztest.DirectoryFixture {
				db.Exec(t, "TRUNCATE users, api_keys")
				settled(t)
				f := s.fixture(db, nil)
				f.Users, f.APIKeys = k.users, k.keys
				putUser, deleteUser, putKey, deleteKey := f.PutUser, f.DeleteUser, f.PutAPIKey, f.DeleteAPIKey
				f.PutUser = func(t testing.TB, row authztest.UserRow) { putUser(t, row); settled(t) }
				f.DeleteUser = func(t testing.TB, id string) { deleteUser(t, id); settled(t) }
				f.PutAPIKey = func(t testing.TB, row authztest.APIKeyRow) { putKey(t, row); settled(t) }
				f.DeleteAPIKey = func(t testing.TB, hash authz.KeyHash) { deleteKey(t, hash); settled(t) }
				return f
			})
		})
	}
}

// triggersOnly returns the part of the reference schema with the triggers. The other parts
// need columns that these tables do not have.
func triggersOnly(t testing.TB) string {
	t.Helper()
	_, triggers, found := strings.Cut(postgres.Schema, "-- Announces on")
	if !found {
		t.Fatal("the triggers were not found in the schema")
	}
	return "BEGIN; -- " + triggers
}
