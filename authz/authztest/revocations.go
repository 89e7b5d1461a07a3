package authztest

import (
	"errors"
	"testing"
	"time"

	"warder/authz"
)

// A RevocationsFixture is a store under test that follows the rule absent, and has no revocations,
// and the functions to fill it. A nil function is for a store that has no such revocations.
type RevocationsFixture struct {
	Sessions authz.Sessions
	// Revoke ends a session, RevokeID each with the id, and RevokeUser each of the user.
	Revoke     func(t testing.TB, userID, sessionID string)
	RevokeID   func(t testing.TB, sessionID string)
	RevokeUser func(t testing.TB, userID string)
	// RevokeIssued ends the sessions of a user whose tokens were issued up to a time.
	RevokeIssued func(t testing.TB, userID string, upTo time.Time)
}

// RunRevocations runs the conformance suite for the rule absent. open must return an empty store
// each time.
func RunRevocations(t *testing.T, open func(testing.TB) RevocationsFixture) {
	t.Helper()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	of := func(user, id string) authz.Session {
		return authz.Session{UserID: user, ID: id, Issued: at}
	}
	want := func(t testing.TB, f RevocationsFixture, session authz.Session, want bool) {
		t.Helper()
		if alive, err := f.Sessions.Alive(t.Context(), session); err != nil || alive != want {
			t.Errorf("Alive(%+v) = %v, %v; want %v", session, alive, err, want)
		}
	}

	has := open(t)
	t.Run("nothing is revoked", func(t *testing.T) {
		f := open(t)
		want(t, f, of("42", "s1"), true)
		want(t, f, authz.Session{UserID: "42", ID: "s1"}, true)
	})
	if has.Revoke != nil {
		t.Run("a session", func(t *testing.T) {
			f := open(t)
			f.Revoke(t, "42", "s1")
			want(t, f, of("42", "s1"), false)
			want(t, f, of("42", "s2"), true)
			want(t, f, of("43", "s1"), true)
			want(t, f, of("s1", "42"), true)
		})
	}
	if has.RevokeID != nil {
		t.Run("an id", func(t *testing.T) {
			f := open(t)
			f.RevokeID(t, "s1")
			want(t, f, of("42", "s1"), false)
			want(t, f, of("43", "s1"), false)
			want(t, f, of("42", "s2"), true)
			want(t, f, of("s1", "s2"), true)
			want(t, f, of("42", "S1"), true)
		})
	}
	if has.RevokeUser != nil {
		t.Run("a user", func(t *testing.T) {
			f := open(t)
			f.RevokeUser(t, "42")
			want(t, f, of("42", "s1"), false)
			want(t, f, of("42", "s2"), false)
			want(t, f, of("43", "s1"), true)
			want(t, f, of("43", "42"), true)
		})
	}
	t.Run("tokens up to a time", func(t *testing.T) {
		f := open(t)
		f.RevokeIssued(t, "42", at)
		for _, tt := range []struct {
			want   bool
			issued time.Time
		}{
			{false, at.Add(-time.Hour)},
			{false, at},
			{false, at.Add(time.Second - 1)}, // of the same second
			{true, at.Add(time.Second)},
			{true, at.Add(time.Hour)},
			{false, time.Time{}}, // without iat
		} {
			want(t, f, authz.Session{UserID: "42", ID: "s1", Issued: tt.issued}, tt.want)
		}
		want(t, f, of("43", "s1"), true)
		f.RevokeIssued(t, "42", at.Add(time.Hour))
		want(t, f, authz.Session{UserID: "42", ID: "s1", Issued: at.Add(time.Minute)}, false)
	})
	t.Run("an ended context is an error", func(t *testing.T) {
		f := open(t)
		for name, ctx := range endedContexts(t) {
			if alive, err := f.Sessions.Alive(ctx, of("42", "s1")); err == nil || errors.Is(err, authz.ErrNotFound) || alive {
				t.Errorf("%s: Alive = %v, %v; want false and an error that is not ErrNotFound", name, alive, err)
			}
		}
	})
}
