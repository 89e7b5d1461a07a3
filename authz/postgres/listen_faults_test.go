package postgres_test

import (
	"strings"
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/postgres"
)

const (
	// listeners selects the listening connections of the database.
	listeners = "pg_stat_activity WHERE datname = current_database() AND application_name = 'warder listener'"

	deactivate = "UPDATE users SET is_active = false; UPDATE api_keys SET is_active = false"
	lost       = "WARN changes of users and API keys are not announced"
	heard      = "INFO changes of users and API keys are seen as they are announced"
)

// inactive reports whether the effect of deactivate is seen.
func inactive(t testing.TB, k *kept) func() bool {
	return func() bool {
		user, userErr := k.user(t)
		key, keyErr := k.key(t)
		return userErr == nil && keyErr == nil && !user.Active && !key.Active
	}
}

// wantHeld checks that the user and the key are still active.
func wantHeld(t testing.TB, k *kept) {
	t.Helper()
	if user, err := k.user(t); err != nil || !user.Active {
		t.Errorf("User = %+v, %v; want the fact", user, err)
	}
	if key, err := k.key(t); err != nil || !key.Active {
		t.Errorf("APIKey = %+v, %v; want the fact", key, err)
	}
}

// A change made while the listener is disconnected is seen when it has reconnected.
func TestListenerIsKilled(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema+oneOfEach)
	k := keep(t, db, postgres.Config{}, nil)
	for n := range 3 {
		wantHeld(t, k)
		// One transaction, so that the listener is gone when the change is made.
		db.Exec(t, "BEGIN; SELECT pg_terminate_backend(pid, 10000) FROM "+listeners+"; "+deactivate+"; COMMIT")
		await(t, "deactivation without a listener", inactive(t, k))
		k.log.await(t, lost, n+1)
		k.log.await(t, heard, n+2)
		// From here on, notifications are received again.
		db.Exec(t, "UPDATE users SET is_active = true; UPDATE api_keys SET is_active = true")
		await(t, "activation", func() bool {
			user, userErr := k.user(t)
			key, keyErr := k.key(t)
			return userErr == nil && keyErr == nil && user.Active && key.Active
		})
	}
}

// While the database is down, facts that are not too old are used and other questions fail.
// Changes are seen when the database is back.
func TestListenerAndRestart(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgresServer(t)
	db.Exec(t, postgres.Schema+oneOfEach)
	k := keep(t, db, postgres.Config{Timeout: time.Second}, nil)
	wantHeld(t, k)
	db.Stop(t)
	wantHeld(t, k)
	k.log.await(t, lost, 1)
	wantHeld(t, k)
	if user, err := k.users.User(t.Context(), "43"); err == nil || user.Active {
		t.Errorf("without a fact and a database: User = %+v, %v", user, err)
	}
	db.Start(t)
	db.Exec(t, deactivate)
	await(t, "deactivation after the restart", inactive(t, k))
	k.log.await(t, heard, 2) // a notification has proved it

	// A server that does not answer ends the listening too, and facts still expire.
	wantLogged(t, k, lost, 1)
	db.Pause(t)
	k.log.await(t, lost, 2)
	k.clock.forward(staleness + time.Second)
	if user, err := k.user(t); err == nil || user.Active {
		t.Errorf("beyond max_staleness and without a database: User = %+v, %v", user, err)
	}
	db.Resume(t)
	k.log.await(t, heard, 3)
	await(t, "the database is back", inactive(t, k))
	wantLogged(t, k, lost, 2)

	all, _ := k.log.with("")
	for _, line := range all {
		if strings.Contains(line, db.Password) || strings.Contains(line, db.Addr) {
			t.Errorf("the log contains a secret or an address: %s", line)
		}
	}
}

// wantLogged fails the test unless text was logged want times.
func wantLogged(t testing.TB, k *kept, text string, want int) {
	t.Helper()
	if lines, _ := k.log.with(text); len(lines) != want {
		t.Errorf("logged %d times, want %d: %q", len(lines), want, lines)
	}
}

// A dead connection that was not closed is noticed, because the listener pings the server.
func TestListenerIsCutOff(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema+oneOfEach)
	proxy := authztest.StartProxy(t, db.Addr)
	k := keep(t, db, postgres.Config{DatabaseURL: strings.Replace(db.URL(), db.Addr, proxy.Addr, 1), Timeout: time.Second}, nil)
	wantHeld(t, k)
	proxy.Cut()
	db.Exec(t, deactivate)
	wantHeld(t, k) // the fact may be used for max_staleness
	proxy.Mend()   // old connections stay dead
	await(t, "deactivation while cut off", inactive(t, k))
}

// The database may be down when the listener starts.
func TestListenerStartsLate(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgresServer(t)
	db.Exec(t, postgres.Schema+oneOfEach)
	db.Stop(t)
	log := newRecorder()
	d := open(t, postgres.Config{DatabaseURL: db.URL(), Log: newLogger(log)})
	dropped := make(chan string, 100)
	stop := d.Listen(postgres.Changes{
		User: func(id string) { dropped <- "user " + id }, Users: func() { dropped <- "users" }, APIKeys: func() { dropped <- "keys" },
	})
	defer stop()
	log.await(t, lost, 1)
	db.Start(t)
	log.await(t, heard, 1)
	next := func() string {
		select {
		case told := <-dropped:
			return told
		case <-time.After(soon):
			return "nothing"
		}
	}
	if first, second := next(), next(); first != "users" || second != "keys" {
		t.Errorf("callbacks %s and %s when it began to listen, want users and keys", first, second)
	}
	db.Exec(t, "UPDATE users SET is_active = false")
	if got := next(); got != "user 42" {
		t.Errorf("callback %s, want user 42", got)
	}

	// There are no calls after stop, and the connection is closed.
	stop()
	db.Exec(t, "UPDATE users SET is_active = true")
	if len(dropped) > 0 {
		t.Errorf("callback %s after stop", <-dropped)
	}
	await(t, "the end of the connection", func() bool { return count(t, db, listeners) == 0 })
}

// If the query's parameter is not the id in the table, a notification for one user counts as
// a change of every user.
func TestListenerKnowsWhichIDs(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema+oneOfEach+`
		ALTER TABLE users ADD email text; UPDATE users SET email = 'a@example.com';
		CREATE VIEW people AS SELECT * FROM users`)
	for _, tt := range []struct {
		each  bool
		query string
		id    string
	}{
		{true, "", "42"},
		{true, "SELECT is_active, roles FROM users WHERE id = $1", "42"},
		{true, `SELECT u.is_active, u.roles FROM users u WHERE u."id"::text = $1`, "42"},
		{true, "select is_active, roles from users where ID = $1::bigint", "42"},
		{false, "SELECT is_active, roles FROM users WHERE email = $1", "a@example.com"},
		{false, "SELECT u.is_active, u.roles FROM users u JOIN users v ON v.id = u.id WHERE u.id = $1", "42"},
	} {
		k := keep(t, db, postgres.Config{UsersQuery: tt.query}, nil)
		ask := func() authz.User {
			user, err := k.users.User(t.Context(), tt.id)
			if err != nil {
				t.Fatal(err)
			}
			return user
		}
		ask()
		db.Exec(t, "INSERT INTO users (id) VALUES (1000); DELETE FROM users WHERE id = 1000")
		if tt.each {
			k.settle(t, "other")
			if ask(); k.asked.Users.Load() > 1 {
				t.Errorf("%s\nasked again after another user changed", tt.query)
			}
		} else {
			await(t, tt.query, func() bool { ask(); return k.asked.Users.Load() > 1 })
		}
		was := ask().Active
		db.Exec(t, "UPDATE users SET is_active = NOT is_active")
		await(t, tt.query, func() bool { return ask().Active != was })
		k.stop()
	}
}

// A server that rejects the listener is logged once, with the SQLSTATE and without the
// address.
func TestListenerIsRefused(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema+oneOfEach+"CREATE ROLE refused_"+db.Database+" LOGIN PASSWORD 'x' CONNECTION LIMIT 1; GRANT warder_reader TO refused_"+db.Database)
	log := newRecorder()
	d := open(t, postgres.Config{
		DatabaseURL: "postgres://refused_" + db.Database + ":wrong@" + db.Addr + "/" + db.Database + "?sslmode=disable", Log: newLogger(log),
	})
	stop := d.Listen(postgres.Changes{User: func(string) {}, Users: func() {}, APIKeys: func() {}})
	log.await(t, lost, 1)
	stop()
	if lines, _ := log.with(lost); len(lines) != 1 || !strings.Contains(lines[0], "28P01") || strings.Contains(lines[0], db.Addr) {
		t.Errorf("%q", lines)
	}
}
