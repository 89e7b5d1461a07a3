package memory_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/memory"
)

var (
	_ authz.Sessions = (*memory.Store)(nil)
	_ authz.Users    = (*memory.Store)(nil)
	_ authz.APIKeys  = (*memory.Store)(nil)
)

func TestSessionsConformance(t *testing.T) {
	authztest.RunSessions(t, func(testing.TB) authztest.SessionsFixture {
		s := memory.New(nil)
		return authztest.SessionsFixture{
			Sessions: s,
			Put:      func(_ testing.TB, userID, sessionID string) { s.PutSession(userID, sessionID, time.Hour) },
			Delete:   func(_ testing.TB, userID, sessionID string) { s.DeleteSession(userID, sessionID) },
		}
	})
}

func TestDirectoryConformance(t *testing.T) {
	authztest.RunDirectory(t, func(testing.TB) authztest.DirectoryFixture {
		s := memory.New(nil)
		return authztest.DirectoryFixture{
			Users: s, APIKeys: s, IDs: authztest.TextIDs,
			PutUser: func(t testing.TB, row authztest.UserRow) {
				s.PutUser(row.ID, authz.User{Active: row.Active != nil && *row.Active, Roles: names(t, row.Roles), Attributes: authztest.AttributeSet(row.Attributes)})
			},
			DeleteUser: func(_ testing.TB, id string) { s.DeleteUser(id) },
			PutAPIKey: func(t testing.TB, row authztest.APIKeyRow) {
				key := authz.APIKey{
					Prefix: row.Prefix, Scopes: names(t, row.Scopes), Active: row.Active != nil && *row.Active, OwnerID: row.OwnerID,
					Attributes: authztest.AttributeSet(row.Attributes),
				}
				if row.Expires != "" {
					at, err := time.Parse(time.RFC3339, row.Expires)
					if err != nil {
						t.Fatal(err)
					}
					key.ExpiresAt = at
				}
				s.PutAPIKey(row.Hash, key)
			},
			DeleteAPIKey: func(_ testing.TB, hash authz.KeyHash) { s.DeleteAPIKey(hash) },
			Exceptions: map[string]string{
				"shapes/":                                "names are a Go slice of strings",
				"broken/":                                "names are a Go slice of strings",
				"expiry/infinity is never":               "the zero Time means never",
				"expiry/-infinity is expired":            "time.Time has no such value",
				"expiry/0001-01-01T00:00:00Z is expired": "it is the zero Time, which means never",
			},
		}
	})
}

func names(t testing.TB, text string) authz.Names {
	t.Helper()
	if text == "" {
		return nil
	}
	var n authz.Names
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSessionEndsWithItsTTL(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := memory.New(func() time.Time { return now })
	s.PutSession("42", "short", time.Minute)
	s.PutSession("42", "ever", 0)
	s.PutSession("42", "past", -time.Second)
	for _, tt := range []struct {
		want  bool
		id    string
		after time.Duration
	}{
		{true, "short", time.Minute - 1},
		{false, "short", time.Minute},
		{false, "past", 0},
		{true, "ever", 100 * 365 * 24 * time.Hour},
	} {
		start := now
		now = now.Add(tt.after)
		if alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: tt.id}); err != nil || alive != tt.want {
			t.Errorf("%s after %v: Alive = %v, %v; want %v", tt.id, tt.after, alive, err, tt.want)
		}
		now = start
	}
}

func TestExpiredSessionsAreRemoved(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := memory.New(func() time.Time { return now })
	s.PutSession("42", "ever", 0)
	for i := range 100_000 {
		s.PutSession("42", fmt.Sprint(i), time.Minute)
		now = now.Add(time.Second)
	}
	if n, _, _ := s.Len(); n > 2048 {
		t.Errorf("%d sessions are stored, of which 61 are alive", n)
	}
	if alive, _ := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "ever"}); !alive {
		t.Error("a live session was removed")
	}
}

func TestAnswersAreCopies(t *testing.T) {
	t.Parallel()
	s := memory.New(nil)
	s.PutUser("42", authz.User{Active: true, Roles: authz.Names{"USER"}})
	user, _ := s.User(t.Context(), "42")
	user.Roles[0] = "ADMIN"
	if again, _ := s.User(t.Context(), "42"); again.Roles.Has("ADMIN") {
		t.Error("a change to a returned user changed the store")
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	s := memory.New(nil)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := range 200 {
				id := fmt.Sprint(n, "-", i)
				s.PutSession(id, id, time.Hour)
				s.PutUser(id, authz.User{Active: true})
				s.PutAPIKey(authz.HashAPIKey(id), authz.APIKey{Prefix: id})
				if alive, err := s.Alive(t.Context(), authz.Session{UserID: id, ID: id}); err != nil || !alive {
					t.Errorf("%s: Alive = %v, %v", id, alive, err)
				}
				if user, err := s.User(t.Context(), id); err != nil || !user.Active {
					t.Errorf("%s: User = %v, %v", id, user, err)
				}
				if key, err := s.APIKey(t.Context(), authz.HashAPIKey(id)); err != nil || key.Prefix != id {
					t.Errorf("%s: APIKey = %v, %v", id, key, err)
				}
				s.DeleteSession(id, id)
				s.DeleteUser(id)
				s.DeleteAPIKey(authz.HashAPIKey(id))
			}
		})
	}
	wg.Wait()
	if sessions, users, keys := s.Len(); sessions+users+keys != 0 {
		t.Errorf("%d sessions, %d users, %d keys are left", sessions, users, keys)
	}
}
