package authztest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"warder/authz"
)

// A SessionsFixture is an empty store under test and the functions to fill it.
type SessionsFixture struct {
	Sessions authz.Sessions
	// Put adds a session, and Delete removes it.
	Put    func(t testing.TB, userID, sessionID string)
	Delete func(t testing.TB, userID, sessionID string)
	// PutAs has functions that add a session with a value of another type, by the name of
	// the type. It is nil if the store has no such types.
	PutAs map[string]func(t testing.TB, userID, sessionID string)
}

// RunSessions runs the conformance suite for a store of sessions. open must return an empty
// store each time.
func RunSessions(t *testing.T, open func(testing.TB) SessionsFixture) {
	t.Helper()
	type session struct{ user, id string }
	edge := []string{
		"0", "42", "9007199254740993", "a", strings.Repeat("u", 128), "._@|+=~-", "-", "=", "a@example.com",
		"auth0|5f7c8ec7c33c6c004bbafe82", "d94b6a2e-1f0c-4a3b-9a55-0e7f1c2b3a4d", "*", "?", "[a]",
	}
	for _, tt := range []struct {
		want bool
		name string
		put  []session
		ask  session
	}{
		{false, "an empty store", nil, session{"42", "s1"}},
		{true, "alive", []session{{"42", "s1"}}, session{"42", "s1"}},
		{true, "one of several of a user", []session{{"42", "s1"}, {"42", "s2"}}, session{"42", "s2"}},
		{false, "another session of the user", []session{{"42", "s1"}}, session{"42", "s2"}},
		{false, "another user's session", []session{{"42", "s1"}}, session{"43", "s1"}},
		{false, "user and session swapped", []session{{"42", "s1"}}, session{"s1", "42"}},
		{false, "another case of the session", []session{{"42", "abc"}}, session{"42", "ABC"}},
		{false, "another case of the user", []session{{"alice", "s1"}}, session{"Alice", "s1"}},
		{false, "a beginning of the session", []session{{"42", "s1x"}}, session{"42", "s1"}},
		{false, "more than the session", []session{{"42", "s1"}}, session{"42", "s1x"}},
		{false, "a beginning of the user", []session{{"421", "s1"}}, session{"42", "s1"}},
		{false, "a leading zero", []session{{"42", "s1"}}, session{"042", "s1"}},
		{false, "the next number that a float cannot tell apart", []session{{"9007199254740992", "s1"}}, session{"9007199254740993", "s1"}},
		{false, "a glob for the session", []session{{"42", "s1"}}, session{"42", "*"}},
		{false, "a glob for the user", []session{{"42", "s1"}}, session{"*", "s1"}},
		// Ids with a colon are rejected before. If a store got one, it must still
		// distinguish the two sessions.
		{false, "a colon moved from the session to the user", []session{{"42", "a:b"}}, session{"42:a", "b"}},
		{false, "no user", []session{{"42", "s1"}}, session{"", "s1"}},
		{false, "no session", []session{{"42", "s1"}}, session{"42", ""}},
		{false, "a line break", []session{{"42", "s1"}}, session{"42", "s1\r\n"}},
		{false, "a zero byte", []session{{"42", "s1"}}, session{"42", "s1\x00"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := open(t)
			for _, s := range tt.put {
				if authz.ValidID(s.user) && authz.ValidID(s.id) {
					f.Put(t, s.user, s.id)
				}
			}
			wantAlive(t, f.Sessions, tt.ask.user, tt.ask.id, tt.want)
		})
	}

	t.Run("ids at the edges of their grammar", func(t *testing.T) {
		f := open(t)
		for _, id := range edge {
			if !authz.ValidID(id) {
				wantAlive(t, f.Sessions, id, id, false)
				continue
			}
			f.Put(t, id, "s")
			f.Put(t, "u", id)
		}
		for _, id := range edge {
			if authz.ValidID(id) {
				wantAlive(t, f.Sessions, id, "s", true)
				wantAlive(t, f.Sessions, "u", id, true)
				wantAlive(t, f.Sessions, id, "u", false)
			}
		}
	})

	t.Run("deleted is gone at once, and can come back", func(t *testing.T) {
		f := open(t)
		f.Put(t, "42", "s1")
		f.Put(t, "42", "s2")
		wantAlive(t, f.Sessions, "42", "s1", true)
		f.Delete(t, "42", "s1")
		wantAlive(t, f.Sessions, "42", "s1", false)
		wantAlive(t, f.Sessions, "42", "s2", true)
		f.Put(t, "42", "s1")
		wantAlive(t, f.Sessions, "42", "s1", true)
	})

	t.Run("a value of any type is a session", func(t *testing.T) {
		f := open(t)
		for kind, put := range f.PutAs {
			put(t, "42", kind)
			wantAlive(t, f.Sessions, "42", kind, true)
		}
	})

	t.Run("an ended context is an error", func(t *testing.T) {
		f := open(t)
		f.Put(t, "42", "s1")
		for name, ctx := range endedContexts(t) {
			alive, err := f.Sessions.Alive(ctx, authz.Session{UserID: "42", ID: "s1"})
			if err == nil || errors.Is(err, authz.ErrNotFound) || alive {
				t.Errorf("%s: Alive = %v, %v; want false and an error that is not ErrNotFound", name, alive, err)
			}
		}
		wantAlive(t, f.Sessions, "42", "s1", true)
	})
}

func wantAlive(t testing.TB, s authz.Sessions, user, id string, want bool) {
	t.Helper()
	alive, err := s.Alive(t.Context(), authz.Session{UserID: user, ID: id})
	if err != nil {
		t.Errorf("Alive(%q, %q): %v", user, id, err)
		return
	}
	if alive != want {
		t.Errorf("Alive(%q, %q) = %v, want %v", user, id, alive, want)
	}
}

// endedContexts returns a cancelled context and one past its deadline.
func endedContexts(t testing.TB) map[string]context.Context {
	t.Helper()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithTimeout(t.Context(), 0)
	t.Cleanup(cancel)
	return map[string]context.Context{"cancelled": cancelled, "past its deadline": late}
}
