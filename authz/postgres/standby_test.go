package postgres_test

import (
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/postgres"
)

const standbyTables = `
	CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, roles jsonb);
	CREATE TABLE api_keys (prefix text, key_hash text UNIQUE, scopes jsonb, is_active boolean, expires_at timestamptz, user_id bigint);
	INSERT INTO users VALUES (1, true, '["admin"]'), (2, true, '[]')`

// waitFor polls until ask returns nil.
func waitFor(t *testing.T, limit time.Duration, ask func() error) {
	t.Helper()
	until := time.Now().Add(limit)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func replayed(t *testing.T, d *postgres.Directory, id string) {
	t.Helper()
	waitFor(t, patience, func() error { _, err := d.User(t.Context(), id); return err })
}

// received waits until the standby has received everything that the primary has written.
// What it has not received is lost when it is promoted.
func received(t *testing.T, primary *authztest.Postgres) {
	t.Helper()
	waitFor(t, patience, func() error {
		return primary.Try(t, "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_stat_replication WHERE flush_lsn >= pg_current_wal_flush_lsn()) THEN RAISE 'the standby has not received all'; END IF; END $$")
	})
}

// wantStandby checks that every question fails as in an outage: about a user, an unknown
// user and an unknown key.
func wantStandby(t *testing.T, d *postgres.Directory, message string) {
	t.Helper()
	ask := map[string]func() error{
		"a user":    func() error { _, err := d.User(t.Context(), "1"); return err },
		"no user":   func() error { _, err := d.User(t.Context(), "404"); return err },
		"no key":    func() error { _, err := d.APIKey(t.Context(), authz.KeyHash{}); return err },
		"the check": func() error { _, err := d.Check(t.Context()); return err },
	}
	for name, do := range ask {
		err := do()
		if !errors.Is(err, postgres.ErrUnreachable) || errors.Is(err, authz.ErrNotFound) {
			t.Errorf("%s: %v, want an outage", name, err)
			continue
		}
		if !strings.Contains(err.Error(), message) {
			t.Errorf("%s: %q does not contain %q", name, err, message)
		}
	}
}

func TestStandby(t *testing.T) {
	t.Parallel()
	primary := authztest.StartPostgresServer(t)
	primary.Exec(t, standbyTables)
	standby := primary.StartStandby(t)

	host, port, _ := net.SplitHostPort(primary.Addr)
	standbyHost, standbyPort, _ := net.SplitHostPort(standby.Addr)
	both := strings.Replace(standby.URL(), standby.Addr, standbyHost+":"+standbyPort+","+host+":"+port, 1)
	log := new(authztest.Buffer)
	strict := map[string]*postgres.Directory{
		"prepared":   open(t, postgres.Config{DatabaseURL: standby.URL(), Log: slog.New(slog.NewTextHandler(log, nil))}),
		"unprepared": open(t, postgres.Config{DatabaseURL: standby.URL() + "&prepared_statement_cache_size=0"}),
	}
	for name, d := range strict {
		t.Run("refused, "+name, func(t *testing.T) {
			for range 3 {
				wantStandby(t, d, "is a standby")
			}
		})
	}
	if n := strings.Count(log.String(), "directory.standby: true"); n != 1 {
		t.Errorf("%d messages about the standby, want 1:\n%s", n, log)
	}
	for _, query := range []string{
		"SELECT is_active, roles FROM users WHERE id = $1;", "SELECT is_active, roles FROM users WHERE id = $1 -- the id",
		"WITH u AS (SELECT * FROM users) SELECT is_active, roles, true AS pg_is_in_recovery FROM u WHERE id = $1",
	} {
		wantStandby(t, open(t, postgres.Config{DatabaseURL: standby.URL(), UsersQuery: query}), "is a standby")
		if _, err := open(t, postgres.Config{DatabaseURL: primary.URL(), UsersQuery: query}).User(t.Context(), "1"); err != nil {
			t.Errorf("%s: %v", query, err)
		}
	}
	for _, target := range []string{
		"", "&target_session_attrs=any", "&target_session_attrs=primary", "&target_session_attrs=read-write", "&target_session_attrs=prefer-standby",
		"&targetServerType=master", "&target_session_attrs=read-write&pgbouncer=true",
	} {
		if _, err := open(t, postgres.Config{DatabaseURL: both + target}).User(t.Context(), "1"); err != nil {
			t.Errorf("of two servers, with %q: %v", target, err)
		}
	}
	for _, target := range []string{
		"&target_session_attrs=primary", "&target_session_attrs=read-write", "&target_session_attrs=prefer-standby", "&target_session_attrs=read-write&pgbouncer=true",
	} {
		wantStandby(t, open(t, postgres.Config{DatabaseURL: standby.URL() + target}), "is a standby")
	}

	// The lag of a standby that has replayed no transaction since its start is unknown.
	accepted := open(t, postgres.Config{DatabaseURL: standby.URL(), Standby: true, MaxStandbyLag: time.Hour})
	wantStandby(t, accepted, "no transaction")
	primary.Exec(t, "INSERT INTO users VALUES (3, true, '[]')")
	replayed(t, accepted, "3")
	if _, err := accepted.Check(t.Context()); err != nil {
		t.Errorf("Check: %v", err)
	}

	// Which of the two servers answers shows in that only the standby has a lag, which may be too
	// great for it.
	for target, fromStandby := range map[string]bool{
		"primary": false, "read-write": false, "standby": true, "read-only": true, "prefer-standby": true,
	} {
		for _, pooled := range []string{"", "&pgbouncer=true"} {
			url := both + "&target_session_attrs=" + target + pooled
			lagging := open(t, postgres.Config{DatabaseURL: url, Standby: true, MaxStandbyLag: time.Nanosecond})
			if _, err := lagging.User(t.Context(), "1"); (err != nil) != fromStandby {
				t.Errorf("%s%s, of two servers: %v", target, pooled, err)
			}
			if _, err := open(t, postgres.Config{DatabaseURL: url, Standby: true, MaxStandbyLag: time.Hour}).User(t.Context(), "1"); err != nil {
				t.Errorf("%s%s, with any lag: %v", target, pooled, err)
			}
		}
	}

	// With replay paused, the standby does not see a deactivation, and its lag grows.
	standby.Exec(t, "SELECT pg_wal_replay_pause()")
	waitFor(t, patience, func() error {
		return standby.Try(t, "DO $$ BEGIN IF pg_get_wal_replay_pause_state() <> 'paused' THEN RAISE 'not paused'; END IF; END $$")
	})
	primary.Exec(t, "UPDATE users SET is_active = false WHERE id = 1")
	received(t, primary)
	for _, d := range strict {
		wantStandby(t, d, "is a standby")
	}
	late := open(t, postgres.Config{DatabaseURL: standby.URL(), Standby: true, MaxStandbyLag: time.Millisecond})
	wantStandby(t, late, "directory.max_standby_lag is 1ms")
	if user, err := accepted.User(t.Context(), "1"); err != nil || !user.Active {
		t.Errorf("a lag within the bound: %v, %v", user, err)
	}

	standby.Exec(t, "SELECT pg_promote(true)")
	for name, d := range strict {
		waitFor(t, patience, func() error {
			user, err := d.User(t.Context(), "1")
			if err == nil && user.Active {
				return errors.New(name + ": the promoted server answers without the last changes")
			}
			return err
		})
		if _, err := d.User(t.Context(), "404"); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("%s: no user on the promoted server: %v", name, err)
		}
	}
}
