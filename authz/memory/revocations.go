package memory

import (
	"context"
	"sync"
	"time"

	"warder/authz"
)

// Revocations are the sessions that have ended. It implements [authz.Sessions] by the rule absent:
// a session is alive unless it is among them. The zero Revocations has none. It is safe for
// concurrent use.
type Revocations struct {
	mu sync.RWMutex
	// of has the sessions that were revoked: one of a user, all with an id (no userID), or all of
	// a user (no sessionID).
	of map[session]struct{}
	// before has the time up to which the tokens of a user are revoked.
	before map[string]time.Time
}

// Revocations returns the revocations of the store.
func (s *Store) Revocations() *Revocations { return &s.revocations }

// Len returns the number of revocations.
func (r *Revocations) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.of) + len(r.before)
}

// Revoke ends a session. Without a user it ends each with the id, and without an id each of the
// user.
func (r *Revocations) Revoke(userID, sessionID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = make(map[session]struct{})
	}
	r.of[session{userID, sessionID}] = struct{}{}
}

// RevokeIssued ends the sessions of a user whose tokens were issued up to a time.
func (r *Revocations) RevokeIssued(userID string, upTo time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.before == nil {
		r.before = make(map[string]time.Time)
	}
	r.before[userID] = upTo
}

// Alive implements [authz.Sessions]. It returns an error only if ctx has ended.
func (r *Revocations) Alive(ctx context.Context, of authz.Session) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, revoked := range []session{{of.UserID, of.ID}, {"", of.ID}, {of.UserID, ""}} {
		if _, found := r.of[revoked]; found {
			return false, nil
		}
	}
	upTo, found := r.before[of.UserID]
	return !found || !of.IssuedUpTo(upTo), nil
}
