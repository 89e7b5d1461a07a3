package memory_test

import (
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/memory"
)

var _ authz.Sessions = (*memory.Revocations)(nil)

func TestRevocationsConformance(t *testing.T) {
	authztest.RunRevocations(t, func(testing.TB) authztest.RevocationsFixture {
		r := memory.New(nil).Revocations()
		return authztest.RevocationsFixture{
			Sessions:     r,
			Revoke:       func(_ testing.TB, user, id string) { r.Revoke(user, id) },
			RevokeID:     func(_ testing.TB, id string) { r.Revoke("", id) },
			RevokeUser:   func(_ testing.TB, user string) { r.Revoke(user, "") },
			RevokeIssued: func(_ testing.TB, user string, upTo time.Time) { r.RevokeIssued(user, upTo) },
		}
	})
}
