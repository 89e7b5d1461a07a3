package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/postgres"
)

const (
	// limit is the configured timeout in tests in which the database does not answer.
	limit = 150 * time.Millisecond
	// recovery is how soon everything must work again after the database is back: 2s by
	// contract, doubled for a busy machine.
	recovery = 4 * time.Second
)

const oneOfEach = `
	INSERT INTO users (id, roles) VALUES (42, '["CONTROL"]');
	INSERT INTO api_keys (prefix, key_hash, scopes, user_id) VALUES ('wk_live', encode(sha256('wk_live_0123456789'), 'hex'), '["a"]', 42);
`

// each asks for a user if n is even, and else for a key.
func each(ctx context.Context, d *postgres.Directory, n int) error {
	if n%2 == 0 {
		user, err := d.User(ctx, "42")
		if err == nil && (!user.Active || !user.Roles.Has("CONTROL")) {
			return fmt.Errorf("User = %+v", user)
		}
		return err
	}
	key, err := d.APIKey(ctx, authz.HashAPIKey("wk_live_0123456789"))
	if err == nil && (!key.Active || key.OwnerID != "42") {
		return fmt.Errorf("APIKey = %+v", key)
	}
	return err
}

// wantUnavailable asks several questions at once, more than there are connections. Each
// must get an error at the store's own timeout, long before the caller's deadline.
func wantUnavailable(t *testing.T, db *authztest.Postgres, d *postgres.Directory, questions int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for n := range questions {
		wg.Go(func() {
			err := each(ctx, d, n)
			if err == nil || errors.Is(err, authz.ErrNotFound) {
				t.Errorf("error %v, want one that is not ErrNotFound", err)
			}
			noSecret(t, db, err)
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		t.Error("the questions ended only at the caller's deadline")
	}
}

// wantWell waits until several concurrent questions, more than there are connections, are
// all answered correctly.
func wantWell(t *testing.T, d *postgres.Directory) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), recovery)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		errs := make([]error, 12)
		var wg sync.WaitGroup
		for n := range errs {
			wg.Go(func() { errs[n] = each(t.Context(), d, n) })
		}
		wg.Wait()
		err := errors.Join(errs...)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("after %v: %v", recovery, err)
		case <-again.C:
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgresServer(t)
	db.Exec(t, postgres.Schema+oneOfEach)
	d := open(t, postgres.Config{DatabaseURL: db.URL(), Timeout: limit, MaxConns: 4})
	wantWell(t, d)

	t.Log("paused: connections are open and the server does not answer")
	db.Pause(t)
	for range 3 {
		wantUnavailable(t, db, d, 16)
	}
	if _, err := d.Check(t.Context()); !errors.Is(err, postgres.ErrUnreachable) {
		t.Errorf("Check = %v, want ErrUnreachable", err)
	}
	db.Resume(t)
	wantWell(t, d)

	t.Log("down: connections are refused")
	db.Stop(t)
	for range 3 {
		wantUnavailable(t, db, d, 16)
	}
	if _, err := d.Check(t.Context()); !errors.Is(err, postgres.ErrUnreachable) {
		t.Errorf("Check = %v, want ErrUnreachable", err)
	}
	db.Start(t)
	wantWell(t, d)

	t.Log("a table is locked")
	done := make(chan struct{})
	go func() {
		defer close(done)
		db.Exec(t, "BEGIN; LOCK TABLE users, api_keys; SELECT pg_sleep(1); COMMIT")
	}()
	for each(t.Context(), d, 0) == nil { // until the table is locked
	}
	wantUnavailable(t, db, d, 8)
	<-done
	wantWell(t, d)
}

// A network that drops every packet leaves connections that are neither answered nor
// closed. They must not occupy the pool when the network is back.
func TestNetworkIsCut(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema+oneOfEach)
	proxy := authztest.StartProxy(t, db.Addr)
	d := open(t, postgres.Config{DatabaseURL: strings.Replace(db.URL(), db.Addr, proxy.Addr, 1), Timeout: limit, MaxConns: 4})
	wantWell(t, d)
	proxy.Cut()
	for range 3 {
		wantUnavailable(t, db, d, 16)
	}
	proxy.Mend()
	wantWell(t, d)
}

// A table changes under prepared statements. While it does not fit the query there is an
// error. When it fits again, the answer is correct at once.
func TestTablesChange(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change string
		works  bool // with the change in place
		back   string
	}{
		{"renamed", "ALTER TABLE users RENAME TO u; ALTER TABLE api_keys RENAME TO k", false, "ALTER TABLE u RENAME TO users; ALTER TABLE k RENAME TO api_keys"},
		{
			"a column renamed", "ALTER TABLE users RENAME roles TO r; ALTER TABLE api_keys RENAME scopes TO s", false,
			"ALTER TABLE users RENAME r TO roles; ALTER TABLE api_keys RENAME s TO scopes",
		},
		{
			"a column dropped", "ALTER TABLE users DROP roles; ALTER TABLE api_keys DROP prefix", false,
			`ALTER TABLE users ADD roles jsonb DEFAULT '["CONTROL"]'; ALTER TABLE api_keys ADD prefix text DEFAULT 'wk'`,
		},
		{
			"columns of another type", "ALTER TABLE users DROP CONSTRAINT users_roles_are_an_array; ALTER TABLE users ALTER roles DROP DEFAULT; ALTER TABLE users ALTER roles TYPE text[] USING '{CONTROL}'; ALTER TABLE api_keys ALTER expires_at TYPE timestamp", true,
			"ALTER TABLE users ALTER roles TYPE json USING '[\"CONTROL\"]'; ALTER TABLE api_keys ALTER expires_at TYPE timestamptz",
		},
		{
			"ids of another type", "ALTER TABLE api_keys DROP CONSTRAINT api_keys_user_id_fkey; ALTER TABLE users ALTER id DROP IDENTITY; ALTER TABLE users ALTER id TYPE text; ALTER TABLE api_keys ALTER user_id TYPE text", true,
			"ALTER TABLE users ALTER id TYPE integer USING id::integer; ALTER TABLE api_keys ALTER user_id TYPE integer USING user_id::integer",
		},
		{
			"a flag of another type", "ALTER TABLE users ALTER is_active DROP DEFAULT; ALTER TABLE users ALTER is_active TYPE integer USING is_active::integer; ALTER TABLE api_keys ALTER is_active DROP DEFAULT; ALTER TABLE api_keys ALTER is_active TYPE integer USING is_active::integer", false,
			"ALTER TABLE users ALTER is_active TYPE boolean USING is_active <> 0; ALTER TABLE api_keys ALTER is_active TYPE boolean USING is_active <> 0",
		},
		{"sessions ended", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'warder' AND datname = current_database()", true, "SELECT 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			db := authztest.StartPostgres(t)
			db.Exec(t, postgres.Schema+oneOfEach)
			for _, url := range []string{db.URL(), db.URL() + "&prepared_statement_cache_size=0"} {
				d := open(t, postgres.Config{DatabaseURL: url, MaxConns: 3})
				wantWell(t, d)
				db.Exec(t, tt.change)
				for n := range 6 {
					err := each(t.Context(), d, n)
					if (err == nil) != tt.works || errors.Is(err, authz.ErrNotFound) {
						t.Errorf("changed: %v", err)
					}
					noSecret(t, db, err)
				}
				db.Exec(t, tt.back)
				for n := range 6 { // without waiting
					if err := each(t.Context(), d, n); err != nil {
						t.Errorf("changed back: %v", err)
					}
				}
				if tt.name != "renamed" && tt.name != "sessions ended" && tt.name != "a column renamed" {
					return // the change cannot be applied twice
				}
			}
		})
	}
}

// After the id column changes its type, the spelling rule of the new type applies.
func TestSpellingFollowsTheColumn(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, `CREATE TABLE users (id text, is_active boolean, roles jsonb); INSERT INTO users VALUES ('42', true, '[]')`)
	d := open(t, postgres.Config{DatabaseURL: db.URL()})
	if _, err := d.User(t.Context(), "042"); !errors.Is(err, authz.ErrNotFound) {
		t.Fatalf("User = %v", err)
	}
	db.Exec(t, "ALTER TABLE users ALTER id TYPE integer USING id::integer")
	for range 3 {
		if user, err := d.User(t.Context(), "042"); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("User = %+v, %v; want ErrNotFound", user, err)
		}
	}
	if _, err := d.User(t.Context(), "42"); err != nil {
		t.Error(err)
	}
}

// A restart between two questions leaves dead connections in the pool. The next question
// must still be answered.
func TestRestartBetweenQuestions(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgresServer(t)
	db.Exec(t, postgres.Schema+oneOfEach)
	d := open(t, postgres.Config{DatabaseURL: db.URL(), MaxConns: 4})
	for range 3 {
		wantWell(t, d)
		db.Stop(t)
		db.Start(t)
		if err := each(t.Context(), d, 0); err != nil {
			t.Error(err)
		}
	}
}

func TestSilentServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepted sync.WaitGroup
	accepted.Go(func() {
		var open []net.Conn
		for {
			conn, err := l.Accept()
			if err != nil {
				for _, c := range open {
					c.Close()
				}
				return
			}
			open = append(open, conn)
		}
	})
	t.Cleanup(func() {
		l.Close()
		accepted.Wait()
	})
	for _, mode := range []string{"disable", "require"} {
		d := open(t, postgres.Config{DatabaseURL: "postgres://u:canary@" + l.Addr().String() + "/d?sslmode=" + mode, Timeout: limit, MaxConns: 2})
		wantUnavailable(t, &authztest.Postgres{Addr: l.Addr().String(), Password: "canary"}, d, 8)
	}
}

// A question cancelled at any moment must not leave its answer for another question.
func TestCancellationMixesNothingUp(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema+`INSERT INTO users (id, is_active, roles) SELECT n, true, jsonb_build_array('R' || n) FROM generate_series(1, 16) n`)
	var wg sync.WaitGroup
	for _, url := range []string{db.URL(), db.URL() + "&prepared_statement_cache_size=0"} {
		cancelAtAnyMoment(t, &wg, open(t, postgres.Config{DatabaseURL: url, MaxConns: 3}))
	}
	wg.Wait()
}

func cancelAtAnyMoment(t *testing.T, wg *sync.WaitGroup, d *postgres.Directory) {
	t.Helper()
	for i := range 16 {
		wg.Go(func() {
			id := fmt.Sprint(i + 1)
			for n := range 60 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*20*time.Microsecond)
				if n%2 == 0 {
					ctx = t.Context()
				}
				user, err := d.User(ctx, id)
				if err == nil && (len(user.Roles) != 1 || user.Roles[0] != "R"+id) {
					t.Errorf("User(%s) = %+v", id, user)
				}
				if errors.Is(err, authz.ErrNotFound) || err != nil && n%2 == 0 {
					t.Errorf("User(%s): %v", id, err)
				}
				cancel()
			}
		})
	}
}

// No valid id counts as an outage, whatever conversion the query applies to it.
func TestIDsCauseNoOutage(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema+oneOfEach)
	for _, query := range []string{
		"SELECT is_active, roles FROM users WHERE id = ($1::text)::bigint",
		"SELECT is_active, roles FROM users WHERE id = ($1::text)::smallint",
		"SELECT is_active, roles FROM users WHERE md5($1::text)::uuid = ($1::text)::uuid",
	} {
		d := open(t, postgres.Config{DatabaseURL: db.URL(), UsersQuery: query})
		for _, id := range []string{"alice", "9223372036854775808", "99999", "d94b6a2e", "-", strings.Repeat("9", 128)} {
			if _, err := d.User(t.Context(), id); !errors.Is(err, authz.ErrNotFound) {
				t.Errorf("%s\nUser(%q) = %v, want ErrNotFound", query, id, err)
			}
		}
	}
}

// A configured query cannot write, neither directly nor through a function that it calls,
// whatever the URL says.
func TestNothingIsWritten(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema+oneOfEach+`
		CREATE TABLE written (n integer);
		CREATE FUNCTION writes(bigint) RETURNS boolean LANGUAGE sql AS 'INSERT INTO written VALUES (1) RETURNING true'`)
	for _, url := range []string{
		"", "&prepared_statement_cache_size=0", "&default_transaction_read_only=off", "&options=-c%20default_transaction_read_only%3Doff",
		"&prepared_statement_cache_size=0&default_transaction_read_only=off",
	} {
		for _, query := range []string{
			"WITH gone AS (DELETE FROM api_keys RETURNING true) SELECT is_active, roles FROM users WHERE id = $1",
			"SELECT writes(id) AS is_active, roles FROM users WHERE id = $1",
			"UPDATE users SET is_active = true WHERE id = $1 RETURNING is_active, roles",
		} {
			d := open(t, postgres.Config{DatabaseURL: db.URL() + url, UsersQuery: query})
			warnings, err := d.Check(t.Context())
			if got := strings.Join(warnings, "\n"); err == nil && !strings.Contains(got, "25006") || err != nil && !strings.Contains(err.Error(), "it writes; write a SELECT") {
				t.Errorf("%s\n%s\nCheck = %q, %v", url, query, warnings, err)
			}
			for range 2 {
				if user, err := d.User(t.Context(), "42"); err == nil || errors.Is(err, authz.ErrNotFound) || user.Active {
					t.Errorf("%s\n%s\nUser = %+v, %v; want an error", url, query, user, err)
				}
			}
			if err := each(t.Context(), d, 1); err != nil { // the connection still works
				t.Error(err)
			}
		}
	}
	d := open(t, postgres.Config{DatabaseURL: db.URL(), UsersQuery: "SELECT NOT EXISTS (SELECT FROM written) AS is_active, NULL::jsonb AS roles WHERE $1::text IS NOT NULL"})
	if user, err := d.User(t.Context(), "42"); err != nil || !user.Active {
		t.Errorf("something was written: %+v, %v", user, err)
	}
}

func TestMoreThanOneRowIsAnError(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema+oneOfEach+`INSERT INTO users (id) VALUES (43)`)
	var log strings.Builder
	d := open(t, postgres.Config{
		DatabaseURL: db.URL(), Log: slog.New(slog.NewTextHandler(&log, nil)),
		UsersQuery:   "SELECT is_active, roles FROM users WHERE $1::bigint IS NOT NULL",
		APIKeysQuery: strings.Replace(postgres.DefaultAPIKeysQuery, "WHERE", "CROSS JOIN (VALUES (1), (2)) AS twice WHERE", 1),
	})
	user, err := d.User(t.Context(), "42")
	if err == nil || errors.Is(err, authz.ErrNotFound) || user.Active || !strings.Contains(err.Error(), "returned more than one row") {
		t.Errorf("User = %+v, %v", user, err)
	}
	key, err := d.APIKey(t.Context(), authz.HashAPIKey(liveKey))
	if err == nil || errors.Is(err, authz.ErrNotFound) || key.Active || !strings.Contains(err.Error(), "returned more than one row") {
		t.Errorf("APIKey = %+v, %v", key, err)
	}
	if !strings.Contains(log.String(), "returned more than one row") {
		t.Errorf("log %q", log.String())
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, `CREATE TABLE users (id text, is_active boolean, roles jsonb, list text[]);
		INSERT INTO users (id, is_active, roles) VALUES ('shape', true, '{"role-canary": 1}'), ('comma', true, '["role-canary,ADMIN"]'), ('fine', true, '["A"]'), ('none', true, NULL);
		INSERT INTO users (id, is_active, list) VALUES ('square', true, '{{"ADMIN", "role-canary"}, {"X", "Y"}}'), ('holes', true, '{"role-canary", NULL}')`)
	for _, tt := range []struct{ id, want string }{
		{"square", "the column roles is not an array of strings; it counts as empty"},
		{"holes", "the column roles has invalid names"},
		{"shape", "the column roles is not an array of strings; it counts as empty"},
		{"comma", "the column roles has invalid names"},
		{"fine", ""},
		{"none", ""},
	} {
		var log strings.Builder
		query := "SELECT is_active, roles FROM users WHERE id = $1"
		if tt.id == "square" || tt.id == "holes" {
			query = "SELECT is_active, list AS roles FROM users WHERE id = $1"
		}
		d := open(t, postgres.Config{DatabaseURL: db.URL(), UsersQuery: query, Log: slog.New(slog.NewTextHandler(&log, nil))})
		for range 20 {
			user, err := d.User(t.Context(), tt.id)
			if err != nil || user.Roles.Has("ADMIN") {
				t.Fatalf("User(%s) = %+v, %v", tt.id, user, err)
			}
		}
		got := log.String()
		if !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") || strings.Contains(got, "canary") {
			t.Errorf("%s: log %q, want %q", tt.id, got, tt.want)
		}
		if strings.Count(got, "\n") > 5 {
			t.Errorf("%s: %d warnings for 20 questions", tt.id, strings.Count(got, "\n"))
		}
	}
}
