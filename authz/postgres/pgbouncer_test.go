package postgres_test

import (
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/postgres"
)

// TestPgBouncer asks through a pooler in transaction mode.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, `CREATE SCHEMA app; CREATE TABLE app.users (id bigint PRIMARY KEY, is_active boolean, roles jsonb);
		CREATE TABLE app.api_keys (prefix text, key_hash text, scopes jsonb, is_active boolean, expires_at timestamptz, user_id bigint);
		INSERT INTO app.users SELECT n, true, jsonb_build_array('R' || n) FROM generate_series(1, 50) n`)
	pooler := db.StartPgBouncer(t, "pool_mode = transaction", "default_pool_size = 3")
	other := strings.Replace(pooler.URL(), "postgres://", "jdbc:postgresql://", 1)
	for name, address := range map[string]string{
		"Prisma":       pooler.URL() + "&pgbouncer=true&connection_limit=1&schema=app",
		"SQLAlchemy":   strings.Replace(pooler.URL(), "postgres://", "postgresql+asyncpg://", 1) + "&statement_cache_size=0&options=-c%20search_path%3Dapp",
		"JDBC":         other + "&prepareThreshold=0&currentSchema=app,public&ApplicationName=x",
		"search_path":  pooler.URL() + "&pgbouncer=true&search_path=app&statement_timeout=30s",
		"lower limits": pooler.URL() + "&pgbouncer=true&options=-c%20search_path%3Dapp%20-c%20lock_timeout%3D10s",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t, postgres.Config{DatabaseURL: address, MaxConns: 8})
			if warnings, err := d.Check(t.Context()); err != nil || len(warnings) > 0 {
				t.Fatalf("Check = %q, %v", warnings, err)
			}
			done := make(chan error)
			for n := range 50 {
				go func() {
					id := []string{"1", "2", "3", "4", "5"}[n%5]
					user, err := d.User(t.Context(), id)
					if err == nil && (!user.Active || !slices.Equal(user.Roles, authz.Names{"R" + id})) {
						err = errors.New("another user's row")
					}
					done <- err
				}()
			}
			for range 50 {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			if _, err := d.User(t.Context(), "404"); !errors.Is(err, authz.ErrNotFound) {
				t.Errorf("nobody: %v", err)
			}
		})
	}
}

// TestPgBouncerRefuses shows the pooler's own reasons.
func TestPgBouncerRefuses(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema)
	pooler := db.StartPgBouncer(t, "pool_mode = transaction")
	pooled := func(change func(*url.URL)) string {
		u, err := url.Parse(pooler.URL() + "&pgbouncer=true")
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		return u.String()
	}
	for _, tt := range []struct{ name, url, want string }{
		{"prepared", pooler.URL(), "directory.database_url: a pooler in front of the database rejects the startup parameter default_transaction_"},
		{"a parameter", pooled(func(u *url.URL) { u.RawQuery += "&options=-c%20work_mem%3D1MB" }), "rejects the startup parameter "},
		{"a password", pooled(func(u *url.URL) { u.User = url.UserPassword(db.User, "canary") }), "directory.database_url: a pooler in front of the database refuses the connection: "},
		{"a user", pooled(func(u *url.URL) { u.User = url.UserPassword("nobody", "canary") }), "directory.database_url: a pooler in front of the database refuses the connection: "},
		{"a database", pooled(func(u *url.URL) { u.Path = "/nothing" }), "no such database: nothing (SQLSTATE 08P01)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := open(t, postgres.Config{DatabaseURL: tt.url})
			_, err := d.Check(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, postgres.ErrUnreachable) {
				t.Errorf("Check = %v, want %q", err, tt.want)
			}
			noSecret(t, db, err)
		})
	}
}

// TestListenThroughPgBouncer calls changes announced only where they are.
func TestListenThroughPgBouncer(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema)
	for mode, want := range map[string]string{
		"transaction": "a notification of warder's own did not arrive, as through a pooler in transaction mode",
		"session":     heard,
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			// One connection to the database: it is the one of LISTEN, and of every other client.
			pooler := db.StartPgBouncer(t, "pool_mode = "+mode, "default_pool_size = "+map[string]string{"transaction": "1", "session": "20"}[mode])
			log := newRecorder()
			d := open(t, postgres.Config{DatabaseURL: pooler.URL() + "&pgbouncer=true", Log: slog.New(log)})
			t.Cleanup(d.Listen(postgres.Changes{User: func(string) {}, Users: func() {}, APIKeys: func() {}}))
			log.await(t, want, 1)
			if lines, _ := log.with(heard); mode == "transaction" && len(lines) > 0 {
				t.Errorf("changes are called announced: %q", lines)
			}
		})
	}
}
