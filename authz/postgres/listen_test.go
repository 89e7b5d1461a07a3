package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/postgres"
)

const (
	// staleness is the lifetime of facts: longer than any of these tests takes, so that
	// changes are seen only through notifications.
	staleness = time.Hour
	// soon bounds how late a change is seen: milliseconds by contract, and the rest for a
	// busy machine.
	soon = 10 * time.Second

	liveKey = "wk_live_0123456789"
)

// A kept directory has a cache in front of it, which a listener invalidates, as in the
// program.
type kept struct {
	users *authz.StaleUsers
	keys  *authz.StaleAPIKeys
	// asked counts what went to the database.
	asked *authztest.Counting
	log   *recorder
	clock *clock
	stop  func()

	db      *authztest.Postgres
	barrier chan string // ids in notifications that begin with "barrier"
}

// keep opens a directory with a cache and returns when it listens.
func keep(t testing.TB, db *authztest.Postgres, c postgres.Config, between func(authztest.Stores) authztest.Stores) *kept {
	t.Helper()
	k := &kept{log: newRecorder(), clock: &clock{}, db: db, barrier: make(chan string, 1000)}
	c.Log = slog.New(k.log)
	if c.DatabaseURL == "" {
		c.DatabaseURL = db.URL()
	}
	d := open(t, c)
	var stores authztest.Stores = directory{d}
	if between != nil {
		stores = between(stores)
	}
	k.asked = &authztest.Counting{Next: stores}
	config := authz.StaleConfig{MaxAge: staleness, Timeout: patience, Size: 1000, Now: k.clock.now}
	k.users, k.keys = authz.NewStaleUsers(k.asked, config), authz.NewStaleAPIKeys(k.asked, config)
	k.stop = d.Listen(postgres.Changes{
		User: func(id string) {
			k.users.Forget(id)
			if strings.HasPrefix(id, "barrier") {
				k.barrier <- id
			}
		},
		Users: k.users.ForgetAll, APIKeys: k.keys.ForgetAll,
	})
	t.Cleanup(k.stop)
	k.log.await(t, "seen as they are announced", 1)
	return k
}

// directory implements authztest.Stores.
type directory struct{ *postgres.Directory }

func (directory) Alive(context.Context, authz.Session) (bool, error) { panic("not used") }

// settle waits until all earlier notifications have been handled. Notifications arrive in
// the order of their transactions.
func (k *kept) settle(t testing.TB, name string) {
	t.Helper()
	name = "barrier-" + name
	k.db.Exec(t, "SELECT pg_notify('warder_directory', 'users "+name+"')")
	patient := time.After(patience)
	for {
		select {
		case got := <-k.barrier:
			if got == name {
				return
			}
		case <-patient:
			t.Fatal("a notification was not received")
		}
	}
}

// A clock is the real one, and can be set forward.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// A recorder is a slog.Handler that stores what is logged.
type recorder struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed and replaced with each line
}

func newRecorder() *recorder { return &recorder{more: make(chan struct{})} }

func (*recorder) Enabled(context.Context, slog.Level) bool { return true }
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler     { return r }
func (r *recorder) WithGroup(string) slog.Handler          { return r }

func (r *recorder) Handle(_ context.Context, record slog.Record) error {
	line := record.Level.String() + " " + record.Message
	record.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	close(r.more)
	r.more = make(chan struct{})
	return nil
}

func (r *recorder) with(text string) (lines []string, more <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.lines {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines, r.more
}

// await waits for the n-th line with the text.
func (r *recorder) await(t testing.TB, text string, n int) {
	t.Helper()
	patient := time.After(patience)
	for {
		lines, more := r.with(text)
		if len(lines) >= n {
			return
		}
		select {
		case <-more:
		case <-patient:
			all, _ := r.with("")
			t.Fatalf("%q was not logged %d times: %q", text, n, all)
		}
	}
}

// await calls holds until it returns true, for at most the time soon.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not seen after %v", what, soon)
		case <-again.C:
		}
	}
}

func (k *kept) user(t testing.TB) (authz.User, error) { return k.users.User(t.Context(), "42") }

func (k *kept) key(t testing.TB) (authz.APIKey, error) {
	return k.keys.APIKey(t.Context(), authz.HashAPIKey(liveKey))
}

const insertKey = `INSERT INTO api_keys (prefix, key_hash, scopes, user_id) VALUES ('wk_live', encode(sha256('wk_live_0123456789'), 'hex'), '["a"]', 42)`

// changes are an administrator's changes and how each must be seen. They are made in this
// order.
var changes = []struct {
	name, sql string
	seen      func(testing.TB, *kept) bool
}{
	{"deactivation", "UPDATE users SET is_active = false WHERE id = 42", func(t testing.TB, k *kept) bool {
		user, err := k.user(t)
		return err == nil && !user.Active
	}},
	{"activation", "UPDATE users SET is_active = true WHERE id = 42", func(t testing.TB, k *kept) bool {
		user, err := k.user(t)
		return err == nil && user.Active
	}},
	{"role change", `UPDATE users SET roles = '["ADMIN"]' WHERE id = 42`, func(t testing.TB, k *kept) bool {
		user, err := k.user(t)
		return err == nil && slices.Equal(user.Roles, authz.Names{"ADMIN"})
	}},
	{"key revocation", "UPDATE api_keys SET is_active = false", func(t testing.TB, k *kept) bool {
		key, err := k.key(t)
		return err == nil && !key.Active
	}},
	{"key activation, with an expiry", "UPDATE api_keys SET is_active = true, expires_at = '2031-02-03T04:05:06Z'", func(t testing.TB, k *kept) bool {
		key, err := k.key(t)
		return err == nil && key.Active && key.ExpiresAt.Year() == 2031
	}},
	{"scope change", `UPDATE api_keys SET scopes = '["b"]'`, func(t testing.TB, k *kept) bool {
		key, err := k.key(t)
		return err == nil && slices.Equal(key.Scopes, authz.Names{"b"})
	}},
	{"hash change", "UPDATE api_keys SET key_hash = repeat('0a', 32)", func(t testing.TB, k *kept) bool {
		_, err := k.key(t)
		return errors.Is(err, authz.ErrNotFound)
	}},
	{"key after it was unknown", insertKey, func(t testing.TB, k *kept) bool {
		key, err := k.key(t)
		return err == nil && key.Active
	}},
	{"key deletion", "DELETE FROM api_keys", func(t testing.TB, k *kept) bool {
		_, err := k.key(t)
		return errors.Is(err, authz.ErrNotFound)
	}},
	{"key after it was deleted", insertKey, func(t testing.TB, k *kept) bool {
		key, err := k.key(t)
		return err == nil && key.Active
	}},
	{"user deletion with its key", "DELETE FROM users WHERE id = 42", func(t testing.TB, k *kept) bool {
		_, userErr := k.user(t)
		_, keyErr := k.key(t)
		return errors.Is(userErr, authz.ErrNotFound) && errors.Is(keyErr, authz.ErrNotFound)
	}},
	{"user after it was unknown", "INSERT INTO users (id) VALUES (42); " + insertKey, func(t testing.TB, k *kept) bool {
		user, userErr := k.user(t)
		key, keyErr := k.key(t)
		return userErr == nil && keyErr == nil && user.Active && key.Active
	}},
	{"truncation", "TRUNCATE users CASCADE", func(t testing.TB, k *kept) bool {
		_, userErr := k.user(t)
		_, keyErr := k.key(t)
		return errors.Is(userErr, authz.ErrNotFound) && errors.Is(keyErr, authz.ErrNotFound)
	}},
}

// Each change is seen long before max_staleness, under a load of questions and of changes
// to other users.
func TestChangesAreSeen(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema+oneOfEach+`INSERT INTO users (id, roles) SELECT n, jsonb_build_array('R' || n) FROM generate_series(1000, 1049) n`)
	k := keep(t, db, postgres.Config{MaxConns: 4}, nil)

	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for n := range 4 {
		load.Go(func() {
			for i := n; ctx.Err() == nil; i++ {
				id := fmt.Sprint(1000 + i%50)
				user, err := k.users.User(ctx, id)
				if err == nil && !slices.Equal(user.Roles, authz.Names{"R" + id}) {
					t.Errorf("User(%s) = %+v", id, user)
				}
				_, _ = k.user(t)
				_, _ = k.key(t)
			}
		})
	}
	load.Go(func() {
		other, err := pgx.Connect(ctx, db.URL())
		if err != nil {
			t.Error(err)
			return
		}
		defer other.Close(context.Background()) //nolint:usetesting // the test's own context may have ended
		for ctx.Err() == nil {                  // changes nothing after the truncation
			_, _ = other.Exec(ctx, "UPDATE users SET is_active = NOT is_active WHERE id BETWEEN 1000 AND 1009")
			_, _ = other.Exec(ctx, "UPDATE users SET created_at = now()")
		}
	})
	for _, change := range changes {
		db.Exec(t, change.sql)
		await(t, change.name, func() bool { return change.seen(t, k) })
	}
	cancel()
	load.Wait()
}

// Facts are cached until a notification, so that the tests of changes test notifications.
// A change of one user does not drop the fact about another.
func TestFactsAreCachedUntilNotified(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema+oneOfEach+"INSERT INTO users (id) VALUES (43)")
	k := keep(t, db, postgres.Config{}, nil)
	asked := func(want int64) {
		t.Helper()
		for range 20 {
			if _, err := k.user(t); err != nil {
				t.Error(err)
			}
			if _, err := k.key(t); err != nil {
				t.Error(err)
			}
		}
		if got := k.asked.Total(); got != want {
			t.Errorf("the database was asked %d times, want %d", got, want)
		}
	}
	asked(2)
	db.Exec(t, "UPDATE users SET is_active = false WHERE id = 43; UPDATE users SET created_at = now(); UPDATE api_keys SET created_at = now()")
	k.settle(t, "nothing")
	asked(2)
	db.Exec(t, "UPDATE users SET is_active = false WHERE id = 42")
	k.settle(t, "user")
	asked(3)
	db.Exec(t, "UPDATE api_keys SET prefix = 'wk'")
	k.settle(t, "key")
	asked(4)
	db.Exec(t, "NOTIFY warder_directory, 'what is this'")
	k.settle(t, "unknown")
	asked(6)

	// Facts expire without a notification too.
	k.clock.forward(staleness + time.Minute)
	asked(8)
}

// Without triggers a change is seen when max_staleness is over.
func TestChangesWithoutTriggers(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema+oneOfEach+`
		DROP TRIGGER warder_announce ON users; DROP TRIGGER warder_announce_truncate ON users`)
	k := keep(t, db, postgres.Config{}, nil)
	if user, err := k.user(t); err != nil || !user.Active {
		t.Fatal(user, err)
	}
	db.Exec(t, "UPDATE users SET is_active = false")
	k.settle(t, "change")
	if user, err := k.user(t); err != nil || !user.Active {
		t.Errorf("User = %+v, %v; want the cached fact", user, err)
	}
	k.clock.forward(staleness + time.Second)
	if user, err := k.user(t); err != nil || user.Active {
		t.Errorf("after max_staleness: User = %+v, %v", user, err)
	}
}

// The answer to a question asked before a change is not cached if it arrives after the
// notification of the change.
func TestChangeDuringQuestion(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema+oneOfEach)
	held := &holding{answered: make(chan struct{}, 2), release: make(chan struct{})}
	k := keep(t, db, postgres.Config{}, func(next authztest.Stores) authztest.Stores {
		held.Stores = next
		return held
	})
	var before sync.WaitGroup
	before.Go(func() {
		if user, err := k.user(t); err != nil || !user.Active {
			t.Errorf("asked before the change: %+v, %v", user, err)
		}
	})
	before.Go(func() {
		if key, err := k.key(t); err != nil || !key.Active {
			t.Errorf("asked before the change: %+v, %v", key, err)
		}
	})
	<-held.answered
	<-held.answered
	db.Exec(t, "UPDATE users SET is_active = false; UPDATE api_keys SET is_active = false")
	k.settle(t, "change")
	close(held.release)
	before.Wait()
	if user, err := k.user(t); err != nil || user.Active {
		t.Errorf("User = %+v, %v: the answer from before the change was cached", user, err)
	}
	if key, err := k.key(t); err != nil || key.Active {
		t.Errorf("APIKey = %+v, %v: the answer from before the change was cached", key, err)
	}
}

// holding holds answers back until release.
type holding struct {
	authztest.Stores
	answered, release chan struct{}
}

func (h *holding) User(ctx context.Context, id string) (authz.User, error) {
	user, err := h.Stores.User(ctx, id)
	h.answered <- struct{}{}
	<-h.release
	return user, err
}

func (h *holding) APIKey(ctx context.Context, hash authz.KeyHash) (authz.APIKey, error) {
	key, err := h.Stores.APIKey(ctx, hash)
	h.answered <- struct{}{}
	<-h.release
	return key, err
}

func newLogger(r *recorder) *slog.Logger { return slog.New(r) }

// count counts rows.
func count(t testing.TB, db *authztest.Postgres, from string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), db.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM "+from).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// session runs SQL on a new connection and returns a function that closes it.
func session(t testing.TB, db *authztest.Postgres, sql string) (end func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), db.URL())
	if err != nil {
		t.Fatal(err)
	}
	end = func() { _ = conn.Close(context.Background()) } //nolint:usetesting // it also runs when the test has ended
	t.Cleanup(end)
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	return end
}
