package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"warder/authz"
)

// An Admin lists and ends sessions for an operator. The service does not use it: it needs
// rights that the service must not have. Its Redis user needs +scan and +pttl to list, and
// +del on the session keys to end.
type Admin struct {
	sessions *Sessions
}

// A LiveSession is a session that exists.
type LiveSession struct {
	ID string
	// Left is the time to live of its key, or [NoExpiry].
	Left time.Duration
}

// NoExpiry is the time to live of a key that has none.
const NoExpiry time.Duration = -1

// scanCount is the number of keys that Redis looks at for one SCAN.
const scanCount = 1000

// NewAdmin checks the configuration like [New]. It ignores Tracked. The caller must call
// [Admin.Close].
func NewAdmin(c Config) (*Admin, error) {
	c.Tracked = false
	sessions, err := New(c)
	if err != nil {
		return nil, err
	}
	return &Admin{sessions}, nil
}

// Close closes the connections.
func (a *Admin) Close() error { return a.sessions.Close() }

// List returns the sessions of a user, sorted by id. It looks at every key of the database
// with SCAN, which does not block the server. A session that begins or ends meanwhile may be
// missing or may be listed. An id that is not valid ([authz.ValidID]) has no session.
func (a *Admin) List(ctx context.Context, userID string) ([]LiveSession, error) {
	if !authz.ValidID(userID) {
		return nil, nil
	}
	nodes, err := a.sessions.servers.Load().nodes(ctx)
	if err != nil {
		return nil, err
	}
	match := a.sessions.keys[0].pattern(userID)
	var ids []string
	for _, n := range nodes {
		for cursor := uint64(0); ; {
			keys, next, err := scan(ctx, n.client.Load(), cursor, match, a.sessions.timeout)
			if err != nil {
				return nil, explainAdmin(ctx, err)
			}
			for _, key := range keys {
				if id, ok := a.sessions.keys[0].sessionID(key, userID); ok {
					ids = append(ids, id)
				}
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
	}
	slices.Sort(ids)
	return a.withTTL(ctx, userID, slices.Compact(ids)) // SCAN may return a key twice
}

func scan(ctx context.Context, client *redis.Client, cursor uint64, match string, timeout time.Duration) ([]string, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return client.Scan(ctx, cursor, match, scanCount).Result()
}

// withTTL asks for the time to live of each session, and leaves out those that have ended.
func (a *Admin) withTTL(ctx context.Context, userID string, ids []string) ([]LiveSession, error) {
	var found []LiveSession
	for _, id := range ids {
		ms, err := a.do(ctx, "pttl", a.sessions.keys[0].key(userID, id))
		switch {
		case err != nil:
			return nil, err
		case ms == -1:
			found = append(found, LiveSession{id, NoExpiry})
		case ms > 0:
			found = append(found, LiveSession{id, time.Duration(ms) * time.Millisecond})
		}
	}
	return found, nil
}

// End deletes the keys of the sessions. A session that has ended meanwhile is no error.
// After an error some may be deleted.
func (a *Admin) End(ctx context.Context, userID string, sessionIDs []string) error {
	for _, id := range sessionIDs {
		if !authz.ValidID(userID) || !authz.ValidID(id) {
			return errors.New("redis was not asked: an id is not valid")
		}
	}
	for _, id := range sessionIDs {
		if _, err := a.do(ctx, "del", a.sessions.keys[0].key(userID, id)); err != nil {
			return err
		}
	}
	return nil
}

// do sends a command about a key to the server that has it, and returns the integer that it
// replies.
func (a *Admin) do(ctx context.Context, command, key string) (int64, error) {
	s := a.sessions
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	for {
		servers := s.servers.Load()
		at, err := servers.await(ctx, key, s.now().Add(s.timeout))
		if err != nil {
			return 0, err
		}
		value, err := at.node.integer(ctx, false, command, key)
		if err != nil {
			err = explainAdmin(ctx, err)
		}
		if to, is := errors.AsType[*redirection](err); is && to.ask {
			var other *node
			if other, err = servers.elsewhere(to); err == nil {
				if value, err = other.integer(ctx, true, command, key); err != nil {
					err = explainAdmin(ctx, err)
				}
			}
		}
		if err == nil || !servers.moved(ctx, key, at, err) {
			return value, err
		}
	}
}

// Key returns the key of a session.
func (a *Admin) Key(userID, sessionID string) string {
	return a.sessions.keys[0].key(userID, sessionID)
}

// explainAdmin is explain for the commands of an Admin.
func explainAdmin(ctx context.Context, err error) error {
	if reply, ok := errors.AsType[redis.Error](err); ok {
		switch code, _, _ := strings.Cut(reply.Error(), " "); code {
		case "NOPERM":
			return errors.New("redis answers NOPERM; this needs a user with +scan, +pttl and +del on the session keys")
		case "READONLY":
			return fmt.Errorf("redis: %w", errReplica)
		}
	}
	return explain(ctx, err)
}

// globSpecial are the bytes that have a meaning in a pattern of SCAN.
const globSpecial = `\*?[]`

// glob returns a pattern that matches s only.
func glob(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(globSpecial, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// pattern returns a pattern of SCAN that matches the keys of all sessions of a user. It may
// match other keys too: see sessionID.
func (t template) pattern(userID string) string {
	first, second := glob(userID), "*"
	if t.first == sessionPart {
		first, second = second, first
	}
	return glob(t.before) + first + glob(t.between) + second + glob(t.after)
}

// sessionID returns the id of the session of the user that the key belongs to. It reports
// false if the key is not that of a session of the user.
func (t template) sessionID(key, userID string) (string, bool) {
	before, after := t.before+userID+t.between, t.after
	if t.first == sessionPart {
		before, after = t.before, t.between+userID+t.after
	}
	rest, ok := strings.CutPrefix(key, before)
	if !ok {
		return "", false
	}
	id, ok := strings.CutSuffix(rest, after)
	return id, ok && authz.ValidID(id)
}

// Alive is [Sessions.Alive].
func (a *Admin) Alive(ctx context.Context, session authz.Session) (bool, error) {
	return a.sessions.Alive(ctx, session)
}
