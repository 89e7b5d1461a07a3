package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/mask"
	"warder/authz/postgres"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/server/metrics"
)

// TestOpenStores opens what the configuration names, against real servers.
func TestOpenStores(t *testing.T) {
	t.Parallel()
	redis := authztest.StartRedis(t, "a-password")
	db := authztest.StartPostgresServer(t)
	db.Exec(t, postgres.Schema)
	db.Exec(t, `INSERT INTO users (id, is_active, roles) VALUES (42, true, '["CONTROL"]')`)
	redis.Do(t, "SET", "session:42:s1", "1")

	s := testSettings(t)
	s.Sessions.RedisURL, s.Directory.DatabaseURL = mask.New(redis.URL()), mask.New(db.URL())
	s.Sessions.Timeout, s.Directory.Timeout = 5*time.Second, 5*time.Second // not what is tested here
	opened := open(t, s)
	if got := opened.names(); len(got) != 2 || got[0] != "sessions (Redis)" || got[1] != "directory (Postgres)" {
		t.Errorf("waits for %v", got)
	}
	for _, c := range opened.Checks {
		if _, err := c.Check(t.Context()); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
	if alive, err := opened.Sessions.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); !alive || err != nil {
		t.Errorf("Alive: %v, %v", alive, err)
	}
	user := func(on *Stores) bool {
		t.Helper()
		u, err := on.Users.User(t.Context(), "42")
		if err != nil {
			t.Errorf("User: %v", err)
		}
		return u.Active
	}
	if !user(opened) {
		t.Error("user 42 is not active")
	}
	db.Exec(t, "UPDATE users SET is_active = false")
	if user(opened) {
		t.Error("with max_staleness 0s a change is not seen at once")
	}
	listening := "DO $$ BEGIN ASSERT %d = (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'warder listener'); END $$"
	db.Exec(t, fmt.Sprintf(listening, 0)) // nothing listens because nothing is cached

	// With a max_staleness, facts are cached until a change is announced.
	kept := *s
	kept.Directory.MaxStaleness = time.Hour
	log := make(lines, 100)
	counted := metrics.New(nil)
	stale, err := openStores(&kept, slog.New(slog.NewTextHandler(log, nil)), counted)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stale.Close)
	log.await(t, "seen as they are announced")
	db.Exec(t, fmt.Sprintf(listening, 1))
	if user(stale) {
		t.Error("user 42 is active")
	}
	db.Exec(t, "ALTER TABLE users DISABLE TRIGGER ALL; UPDATE users SET is_active = true; ALTER TABLE users ENABLE TRIGGER ALL")
	if user(stale) {
		t.Error("with max_staleness 1h the fact was not kept")
	}
	// Answers from the cache do not count as store requests.
	counted.CountCaches(stale.Caches...)
	w := httptest.NewRecorder()
	counted.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	shown := clitest.ScrapeOf(t, w.Body.String())
	if got, want := shown.Of("warder_store_requests_total"), `{result="ok",store="users"} 1`; got != want {
		t.Errorf("questions to the store: %s, want %s", got, want)
	}
	if got, want := shown.Of("warder_cache_requests_total"), "{cache=\"users\",result=\"hit\"} 1\n{cache=\"users\",result=\"miss\"} 1"; got != want {
		t.Errorf("questions to what is kept: %s, want %s", got, want)
	}
	hash := authz.HashAPIKey("wk_new_12345678")
	if _, err := stale.APIKeys.APIKey(t.Context(), hash); !errors.Is(err, authz.ErrNotFound) {
		t.Errorf("APIKey: %v", err)
	}
	db.Exec(t, "UPDATE users SET is_active = false; UPDATE users SET is_active = true")
	db.Exec(t, "INSERT INTO api_keys (prefix, key_hash) VALUES ('wk_new', '"+hash.Hex()+"')")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		key, err := stale.APIKeys.APIKey(t.Context(), hash)
		if user(stale) && err == nil && key.Active {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("announced changes are not seen: %+v, %v", key, err)
		}
	}
	stale.Close()
	if _, err := stale.Users.User(t.Context(), "7"); err == nil || errors.Is(err, authz.ErrNotFound) {
		t.Errorf("User after close: %v", err)
	}

	// A query that does not fit prevents the start. A server that cannot be reached does not.
	unfit := *s
	unfit.Directory.UsersQuery = "SELECT nothing FROM users WHERE id = $1"
	directory := open(t, &unfit).Checks[1]
	if _, err := directory.Check(t.Context()); err == nil || !directory.Permanent(err) {
		t.Errorf("a query that does not fit: %v, not permanent", err)
	}
	db.Stop(t)
	if _, err := directory.Check(t.Context()); err == nil || directory.Permanent(err) {
		t.Errorf("a database that is away: %v, permanent", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := directory.Check(ended); err == nil || directory.Permanent(err) {
		t.Errorf("a check that was given up: %v, permanent", err)
	}
}

// TestOpenTracked: where Redis refuses to announce changes, warder says so and asks it.
func TestOpenTracked(t *testing.T) {
	t.Parallel()
	redis := authztest.StartRedis(t, "")
	redis.Do(t, "ACL", "SETUSER", "reader", "on", ">secret", "~session:*", "+exists", "+role")
	redis.Do(t, "SET", "session:42:s1", "1")
	for _, tt := range []struct {
		user string
		want string // the warning
	}{
		{"", ""},
		{"reader:secret@", "sessions.consistency is tracked, but Redis is asked on each check as in strict: redis answers NOPERM; for tracked the user needs +pttl"},
	} {
		s := testSettings(t)
		s.Sessions.RedisURL, s.Directory.DatabaseURL = mask.New("redis://"+tt.user+redis.Addr), mask.New("postgres://127.0.0.1:1/none")
		s.Sessions.Timeout, s.Sessions.Tracked = 5*time.Second, true
		opened := open(t, s)
		warnings, err := opened.Checks[0].Check(t.Context())
		if err != nil || (len(warnings) == 0) != (tt.want == "") || len(warnings) > 0 && !strings.HasPrefix(warnings[0], tt.want) {
			t.Errorf("Check: %q, %v; want %q", warnings, err, tt.want)
		}
		if alive, err := opened.Sessions.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); !alive || err != nil {
			t.Errorf("Alive: %v, %v", alive, err)
		}
	}
}

// lines are what was logged, one by one.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	select {
	case l <- string(b):
	default: // the channel is full
	}
	return len(b), nil
}

func (l lines) await(t *testing.T, text string) {
	t.Helper()
	patient := time.After(20 * time.Second)
	for {
		select {
		case line := <-l:
			if strings.Contains(line, text) {
				return
			}
		case <-patient:
			t.Fatalf("%q was not logged", text)
		}
	}
}

func open(t *testing.T, s *config.Settings) *Stores {
	t.Helper()
	opened, err := openStores(s, clitest.Discard(), metrics.New(nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opened.Close)
	return opened
}

// TestOpenStoresInMemory opens the stores of a small installation: a file, and no database.
func TestOpenStoresInMemory(t *testing.T) {
	t.Parallel()
	const directory = `users: [{id: "42", is_active: true}]
sessions: [{user_id: "42", session_id: s1}]
api_keys: [{prefix: wk, key_hash: 3e1dd0d0d5b58cd4aabb16d2ab2c4c4f3c1bd3c4d8b9ffb06f5a6d40b1ef8a7c, scopes: [a], is_active: true}]
`
	var hash authz.KeyHash
	if _, err := hex.Decode(hash[:], []byte("3e1dd0d0d5b58cd4aabb16d2ab2c4c4f3c1bd3c4d8b9ffb06f5a6d40b1ef8a7c")); err != nil {
		t.Fatal(err)
	}
	s := testSettings(t)
	s.Sessions.RedisURL = mask.New("memory://")
	s.Directory.File = clitest.WriteFile(t, t.TempDir(), "directory.yaml", directory)
	opened := open(t, s)
	if len(opened.Checks) != 0 {
		t.Errorf("waits for %v", opened.names())
	}
	if alive, err := opened.Sessions.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); !alive || err != nil {
		t.Errorf("Alive: %v, %v", alive, err)
	}
	if _, err := opened.Users.User(t.Context(), "7"); err == nil {
		t.Error("an unknown user was found")
	}
	if key, err := opened.APIKeys.APIKey(t.Context(), hash); err != nil || !key.Active {
		t.Errorf("APIKey: %+v, %v", key, err)
	}
	s.Directory.NoAPIKeys = true
	if key, err := open(t, s).APIKeys.APIKey(t.Context(), hash); !errors.Is(err, authz.ErrNotFound) || key.Active {
		t.Errorf("with API keys off: %+v, %v", key, err)
	}

	// Without a file there are no sessions.
	s.Directory = config.Directory{DatabaseURL: mask.New("postgres://127.0.0.1:1/none"), Timeout: time.Second}
	empty := open(t, s)
	if got := empty.names(); len(got) != 1 || got[0] != "directory (Postgres)" {
		t.Errorf("waits for %v, want no Redis", got)
	}
	if alive, err := empty.Sessions.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); alive || err != nil {
		t.Errorf("Alive: %v, %v; want no session", alive, err)
	}
}
