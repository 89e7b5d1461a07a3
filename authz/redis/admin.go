package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"warder/authz"
)

// An Admin lists and ends sessions for an operator. The service does not use it: it needs
// rights that the service must not have. Its Redis user needs +scan and +pttl to list, and
// +del on the session keys to end. With the rule absent it needs +set and +pttl on the keys that
// end sessions, and +get on those of revoked_before_template.
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

// List returns the sessions of a user, sorted by id. With the rule absent it cannot. It looks at every key of the database
// with SCAN, which does not block the server. A session that begins or ends meanwhile may be
// missing or may be listed. An id that is not valid ([authz.ValidID]) has no session.
func (a *Admin) List(ctx context.Context, userID string) ([]LiveSession, error) {
	if a.sessions.absent {
		return nil, errors.New("with sessions.rule absent Redis has only sessions that have ended, so there is no list of those that are alive")
	}
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

// End deletes the keys of the sessions. With the rule absent that would begin them again, so End
// does nothing and returns an error. A session that has ended meanwhile is no error.
// After an error some may be deleted.
func (a *Admin) End(ctx context.Context, userID string, sessionIDs []string) error {
	if a.sessions.absent {
		return errors.New("redis was not asked: with sessions.rule absent, deleting a key does not end a session")
	}
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
func (a *Admin) do(ctx context.Context, command, key string) (value int64, err error) {
	err = a.at(ctx, key, func(ctx context.Context, n *node, asking bool) error {
		value, err = n.integer(ctx, asking, command, key)
		return err
	})
	return value, err
}

// at calls send with the server that has the key, and again if another one has it. With asking, the
// server answers although another one has the key.
func (a *Admin) at(ctx context.Context, key string, send func(ctx context.Context, n *node, asking bool) error) error {
	s := a.sessions
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	for {
		servers := s.servers.Load()
		at, err := servers.await(ctx, key, s.now().Add(s.timeout))
		if err != nil {
			return err
		}
		if err = send(ctx, at.node, false); err != nil {
			err = explainAdmin(ctx, err)
		}
		if to, is := errors.AsType[*redirection](err); is && to.ask {
			var other *node
			if other, err = servers.elsewhere(to); err == nil {
				if err = send(ctx, other, true); err != nil {
					err = explainAdmin(ctx, err)
				}
			}
		}
		if err == nil || !servers.moved(ctx, key, at, err) {
			return err
		}
	}
}

// RuleAbsent reports whether sessions end by keys, as Revoke writes them.
func (a *Admin) RuleAbsent() bool { return a.sessions.absent }

// RevocationKey returns the key that ends a session of a user or, without an id, all of the user
// that began up to now. It reports false if no template is for that.
func (a *Admin) RevocationKey(userID, sessionID string) (string, bool) {
	t, ok := a.revocation(sessionID)
	return t.key(userID, sessionID), ok
}

// RevokesByTime reports whether the key that ends all sessions of a user has a time, so that later
// sessions are not ended.
func (a *Admin) RevokesByTime() bool {
	t, ok := a.revocation("")
	return ok && t.timed
}

func (a *Admin) revocation(sessionID string) (template, bool) {
	keys := a.sessions.keys
	i := slices.IndexFunc(keys, func(t template) bool { return t.timed && sessionID == "" })
	if i < 0 {
		i = slices.IndexFunc(keys, func(t template) bool { return t.usesSession() == (sessionID != "") && !t.timed })
	}
	if i < 0 {
		return template{}, false
	}
	return keys[i], true
}

// Revoke writes the key of [Admin.RevocationKey] for a time, which must be as long as tokens are
// valid. A key that lasts longer stays, and so does a later time in it.
//
// The time in a key is later than now by ahead, which is how far the clock of an issuer may be
// ahead: it may have issued tokens with such an iat already.
func (a *Admin) Revoke(ctx context.Context, userID, sessionID string, lasting, ahead time.Duration) error {
	t, ok := a.revocation(sessionID)
	if !ok || !authz.ValidID(userID) || sessionID != "" && !authz.ValidID(sessionID) {
		return errors.New("redis was not asked: no key ends that")
	}
	about := t.of(authz.Session{UserID: userID, ID: sessionID})
	value := state{exists: true, value: a.sessions.now().Add(ahead).Unix()}
	left, err := a.do(ctx, "pttl", about.key)
	if err != nil {
		return err
	}
	lasts := readTTL(left)
	if lasts.err != nil {
		return lasts.err
	}
	var was state
	if lasts.exists && t.timed {
		if was, err = a.sessions.ask(ctx, about, a.sessions.now()); err != nil && !errors.Is(err, errNoTime) {
			return err
		}
	}
	longer := left == -1 || left > lasting.Milliseconds()
	if lasts.exists && longer && (!t.timed || was.value >= value.value) {
		return nil
	}
	text := "1"
	if t.timed {
		text = strconv.FormatInt(max(value.value, was.value), 10)
	}
	args := []any{"set", about.key, text, "px", lasting.Milliseconds()}
	if lasts.exists && longer {
		args = append(args[:3], "keepttl")
	}
	return a.at(ctx, about.key, func(ctx context.Context, n *node, asking bool) error {
		return n.send(ctx, asking, redis.NewStatusCmd(ctx, args...))
	})
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
			return errors.New("redis answers NOPERM; this needs a user with +scan, +pttl and +del on the session keys, or with sessions.rule absent, +pttl, +set and +get on the keys that end sessions")
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
