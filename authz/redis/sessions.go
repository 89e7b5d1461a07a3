package redis

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"warder/authz"
)

// Config says where sessions are and how to ask.
type Config struct {
	// URL is redis://, rediss:// (TLS) or unix://, as in
	// redis://[user:password@]host[:port][/database].
	URL string
	// KeyTemplate makes the key of a session; "" means [DefaultKeyTemplate].
	KeyTemplate string
	// Timeout bounds one question, connecting included; 0 means 100ms.
	Timeout time.Duration
	// PoolSize bounds the connections; 0 means the URL's pool_size, else 32.
	PoolSize int
}

const (
	defaultTimeout  = 100 * time.Millisecond
	defaultPoolSize = 32
)

// Sessions implements [authz.Sessions] on Redis. It is safe for concurrent use.
type Sessions struct {
	client  atomic.Pointer[redis.Client]
	options *redis.Options
	key     template
	timeout time.Duration
	// tellsRole is whether the server answered ROLE to the newest connection.
	tellsRole atomic.Bool
}

// New checks the configuration. It does not connect: Redis may be away when
// warder starts, see [Sessions.Check]. No error shows the URL or a part of it
// that could be the password.
func New(c Config) (*Sessions, error) {
	key, err := parseTemplate(cmp.Or(c.KeyTemplate, DefaultKeyTemplate))
	if err != nil {
		return nil, fmt.Errorf("sessions.key_template: %w", err)
	}
	timeout := cmp.Or(c.Timeout, defaultTimeout)
	if timeout < 0 {
		return nil, fmt.Errorf("sessions.timeout: %v is negative; write one such as 100ms", timeout)
	}
	options, err := parseURL(c.URL)
	if err != nil {
		return nil, fmt.Errorf("sessions.redis_url: %w", err)
	}
	options.PoolSize = cmp.Or(c.PoolSize, options.PoolSize, defaultPoolSize)
	if options.PoolSize < 0 {
		return nil, fmt.Errorf("sessions: a pool of %d connections is none; use 1 or more", options.PoolSize)
	}
	bound(options, timeout)
	s := &Sessions{options: options, key: key, timeout: timeout}
	options.OnConnect = s.refuseReplica
	s.client.Store(redis.NewClient(options))
	return s, nil
}

// bound keeps every question inside its time, and the connections inside the pool.
func bound(o *redis.Options, timeout time.Duration) {
	// The context carries the limit. The client's own limits run on a clock that
	// it reads every 50ms only, so they are wider and never come first.
	o.ContextTimeoutEnabled = true
	o.ReadTimeout = timeout + 10*time.Second
	o.WriteTimeout = timeout + 10*time.Second
	o.DialTimeout = timeout
	o.DialerRetries = 1
	o.MaxActiveConns = o.PoolSize
	o.MinIdleConns = 0
	o.PipelinePoolSize = -1 // a pipeline takes its connection from the one pool too
	o.PoolTimeout = timeout
	// One retry, at once: a restart of Redis leaves a connection in the pool that
	// looks well. The question changes nothing, so asking twice does no harm.
	o.MaxRetries = 1
	o.MinRetryBackoff = -1
	o.MaxRetryBackoff = -1
	// RESP 2 has no messages that nobody asked for, which could be taken for a
	// reply. The rest are commands that a narrow ACL would refuse.
	o.Protocol = 2
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	// The client's own dialer does not stop a TLS handshake with its context.
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	o.Dialer = dialer.DialContext
	if o.TLSConfig != nil {
		o.Dialer = (&tls.Dialer{NetDialer: dialer, Config: o.TLSConfig}).DialContext
	}
}

// Alive implements [authz.Sessions]: the key exists, whatever its type. Ids that
// are none ([authz.ValidID]) have no session, and Redis is not asked about them.
func (s *Sessions) Alive(ctx context.Context, userID, sessionID string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("sessions: not asked: %w", err)
	}
	if !authz.ValidID(userID) || !authz.ValidID(sessionID) {
		return false, nil
	}
	return s.exists(ctx, s.key.key(userID, sessionID))
}

// Check reports whether Redis can answer a question about a session with what
// is configured: address, password, rights. The error says what is wrong.
func (s *Sessions) Check(ctx context.Context) error {
	_, err := s.exists(ctx, s.key.key("warder", "check"))
	return err
}

func (s *Sessions) exists(ctx context.Context, key string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	n, err := s.ask(ctx, key)
	switch {
	case err != nil:
		return false, explain(ctx, err)
	case n == 0:
		return false, nil
	case n == 1:
		return true, nil
	default:
		return false, fmt.Errorf("sessions: redis answers %d to EXISTS of one key; is it Redis?", n)
	}
}

// ask asks how many of one key there are, and in the same packet whether the
// server is still a primary: one that is demoted keeps its connections, and
// sessions that the new primary has ended.
func (s *Sessions) ask(ctx context.Context, key string) (int64, error) {
	client := s.client.Load()
	if !s.tellsRole.Load() {
		return client.Exists(ctx, key).Result()
	}
	pipe := client.Pipeline()
	exists, role := pipe.Exists(ctx, key), pipe.Do(ctx, "ROLE")
	_, _ = pipe.Exec(ctx) // its error is one of the two
	if err := exists.Err(); err != nil {
		return 0, err
	}
	switch err := roleError(role); {
	case errors.Is(err, errReplica):
		s.reconnect(client)
		return 0, err
	case err != nil:
		return 0, err
	}
	return exists.Val(), nil
}

// reconnect leaves the connections of a client behind: its name may stand for
// another server by now.
func (s *Sessions) reconnect(old *redis.Client) {
	fresh := redis.NewClient(s.options)
	if !s.client.CompareAndSwap(old, fresh) {
		_ = fresh.Close() // somebody did it already
		return
	}
	_ = old.Close()
}

// Close ends the connections. Questions after it are errors.
func (s *Sessions) Close() error { return s.client.Load().Close() }

// errReplica is final until the server is a primary: a replica may still hold a
// session that is logged out.
var errReplica = errors.New("the server is a replica; name the primary")

// refuseReplica looks at each new connection.
func (s *Sessions) refuseReplica(ctx context.Context, conn *redis.Conn) error {
	role := conn.Do(ctx, "ROLE")
	s.tellsRole.Store(role.Err() == nil)
	return roleError(role)
}

// roleError reads the reply to ROLE. Where the ACL or the server has no ROLE, the
// configuration is taken at its word.
func roleError(reply *redis.Cmd) error {
	role, err := reply.Slice()
	if err != nil {
		if _, answered := errors.AsType[redis.Error](err); answered {
			return nil
		}
		return err
	}
	if len(role) > 0 && (role[0] == "slave" || role[0] == "replica") {
		return errReplica
	}
	return nil
}
