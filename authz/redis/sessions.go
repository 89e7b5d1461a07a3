package redis

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"warder/authz"
)

// Config configures [Sessions].
type Config struct {
	// URL is redis://, rediss:// (TLS) or unix://, as in
	// redis://[user:password@]host[:port][/database], or another spelling that clients
	// use: valkey://, redis+unix://, host:port. [Config.Warnings] returns which of its
	// parameters have no effect.
	URL string
	// Password is the password of a URL that has none. It may be "".
	Password string
	// TLS is for a URL with TLS only.
	TLS TLS
	// Reread, if not nil, returns the URL and the password that are configured now. It is
	// called when the server refuses a login, before the login is repeated.
	Reread func(context.Context) (url, password string, err error)
	// KeyTemplate is the template of a session's key. "" means [DefaultKeyTemplate].
	KeyTemplate string
	// Timeout bounds one question, including connecting. 0 means 100ms.
	Timeout time.Duration
	// PoolSize is the greatest number of connections that answer questions. 0 means the
	// URL's pool_size, or 32 when it has none.
	PoolSize int
	// Tracked caches facts while Redis sends invalidation messages. See [Sessions].
	Tracked bool
	// Log records when invalidation messages stop and when they resume. It may be nil.
	Log *slog.Logger
	// Asked, if not nil, is called after each question sent to Redis, but not after an
	// answer from the cache. It must not block.
	Asked func(took time.Duration, alive bool, err error)
}

const (
	defaultTimeout  = 100 * time.Millisecond
	defaultPoolSize = 32
	maxPoolSize     = 10_000
)

// Sessions implements [authz.Sessions] on Redis. It is safe for concurrent use.
//
// Without Tracked ("strict") every question goes to Redis. Questions asked at about the
// same time share a round trip. A question asked after Redis acknowledged a logout sees
// the logout.
//
// With Tracked, the answer for a session, alive or not, is cached until Redis sends an
// invalidation message for its key (CLIENT TRACKING in broadcasting mode), usually within
// a millisecond of the change. A fact also expires with its key's time to live, and after
// one minute at the latest. Facts are used only if it was proven within the last 800ms
// that all invalidation messages up to then have been received, from a server that is
// still the primary. Otherwise questions go to Redis as in strict. So a check that begins
// more than 800ms after a logout was acknowledged never uses a fact from before it,
// whatever happens to the connection or to Redis.
//
// The Redis user needs +exists on the session keys and should have +role. With Tracked
// it also needs +pttl, +client|id, +client|tracking, +subscribe, +ping and
// +pubsub|numsub, and the channels &__redis__:invalidate*.
type Sessions struct {
	client  atomic.Pointer[redis.Client]
	access  access
	key     template
	timeout time.Duration
	now     func() time.Time
	log     *slog.Logger
	asked   func(took time.Duration, alive bool, err error) // may be nil
	counts  authz.CacheCounter                              // with tracked only
	tracked bool
	// tellsRole reports whether the server accepted ROLE on the newest connection.
	tellsRole atomic.Bool
	questions *batcher
	breaker   *authz.Breaker[string] // by key
	// stream holds the facts and keeps them current. It is nil while there is none.
	stream atomic.Pointer[stream]

	running    context.Context // until Close
	stop       context.CancelFunc
	background sync.WaitGroup
}

// Validate checks the configuration without connecting. The error is an
// [*authz.ConfigError]. It never contains the URL or a part that could be the password.
func (c Config) Validate() error {
	_, err := c.sessions()
	return err
}

func (c Config) sessions() (*Sessions, error) {
	key, err := parseTemplate(cmp.Or(c.KeyTemplate, DefaultKeyTemplate))
	if err != nil {
		return nil, authz.Misconfigured("sessions.key_template", "%v", err)
	}
	timeout := cmp.Or(c.Timeout, defaultTimeout)
	if timeout < 0 {
		return nil, authz.Misconfigured("sessions.timeout", "%v is negative; write one such as 100ms", timeout)
	}
	t, err := c.target()
	if err != nil {
		return nil, err
	}
	s := &Sessions{key: key, timeout: timeout, now: time.Now, log: c.Log, asked: c.Asked, tracked: c.Tracked}
	s.access.config = c
	s.access.current.Store(t)
	return s, nil
}

// New checks the configuration like [Config.Validate]. It does not wait for a connection,
// because Redis may be down when warder starts: see [Sessions.Check]. The caller must
// call [Sessions.Close].
func New(c Config) (*Sessions, error) {
	s, err := c.sessions()
	if err != nil {
		return nil, err
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.running, s.stop = context.WithCancel(context.Background())
	s.client.Store(s.newClient())
	s.questions = newBatcher(s.timeout, s.now, s.askRedis)
	s.breaker = authz.NewBreaker(authz.BreakerConfig[string]{Store: "sessions", Ask: s.probe, Failed: isOutage, Timeout: s.timeout, Log: s.log, Now: s.now})
	if c.Tracked {
		s.background.Go(s.track)
	}
	return s, nil
}

// bound sets the client's timeouts and its number of connections.
func bound(o *redis.Options, timeout time.Duration) {
	// The context carries the deadline. The client's own timeouts use a clock with a
	// resolution of 50ms, so they are longer and never fire first.
	o.ContextTimeoutEnabled = true
	o.ReadTimeout = timeout + 10*time.Second
	o.WriteTimeout = timeout + 10*time.Second
	o.DialTimeout = timeout
	o.DialerRetries = 1
	o.MaxActiveConns = o.PoolSize
	o.MinIdleConns = 0
	o.PipelinePoolSize = -1 // pipelines use the same pool
	o.PoolTimeout = timeout
	// Retry once without delay, because a restart of Redis leaves broken connections in
	// the pool. The commands only read, so repeating them is harmless.
	o.MaxRetries = 1
	o.MinRetryBackoff = -1
	o.MaxRetryBackoff = -1
	// RESP 2 has no push messages that could be mistaken for a reply. The other two
	// options avoid commands that a narrow ACL would reject.
	o.Protocol = 2
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	// The client's own dialer does not abort a TLS handshake when its context ends.
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	o.Dialer = dialer.DialContext
	if o.TLSConfig != nil {
		o.Dialer = (&tls.Dialer{NetDialer: dialer, Config: o.TLSConfig}).DialContext
	}
}

// Alive implements [authz.Sessions]. A session is alive when its key exists, whatever
// the key's type. An id that is not valid ([authz.ValidID]) has no session, and Alive
// does not ask Redis about it.
func (s *Sessions) Alive(ctx context.Context, userID, sessionID string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("redis was not asked: %w", err)
	}
	if !authz.ValidID(userID) || !authz.ValidID(sessionID) {
		return false, nil
	}
	key, now := s.key.key(userID, sessionID), s.now()
	// now was read before the stream, so that a fact is judged at the start of the check.
	if of := s.stream.Load(); of != nil && of.proven(now) {
		if alive, known := of.facts.get(key, now); known {
			s.counts.Hit()
			return alive, nil
		}
		if err := s.breaker.Refuse(key); err != nil {
			return false, err
		}
		return s.fill(ctx, of, key, now)
	}
	if s.tracked {
		s.counts.Bypass()
	}
	if err := s.breaker.Refuse(key); err != nil {
		return false, err
	}
	return s.alive(ctx, key, now)
}

// alive asks Redis and tells the result.
func (s *Sessions) alive(ctx context.Context, key string, now time.Time) (bool, error) {
	alive, err := s.questions.alive(ctx, key, now)
	s.tell(key, now, alive, err)
	return alive, err
}

// tell gives the result of a question to Config.Asked and to the breaker.
func (s *Sessions) tell(key string, asked time.Time, alive bool, err error) {
	if s.asked != nil {
		s.asked(s.now().Sub(asked), alive, err)
	}
	s.breaker.Heard(key, asked, err)
}

// probe asks Redis for the breaker, which hears of the result.
func (s *Sessions) probe(ctx context.Context, key string) error {
	now := s.now()
	alive, err := s.questions.alive(ctx, key, now)
	if s.asked != nil {
		s.asked(s.now().Sub(now), alive, err)
	}
	return err
}

// Available reports whether checks ask Redis. While it does not answer they do not: see
// [authz.Breaker].
func (s *Sessions) Available() bool { return s.breaker.Available() }

// Counts returns the cache's counters. They are zero without Tracked.
func (s *Sessions) Counts() authz.CacheCounts { return s.counts.Counts() }

// fill asks Redis for a fact, or waits for a fill of the same key in progress.
func (s *Sessions) fill(ctx context.Context, of *stream, key string, now time.Time) (bool, error) {
	at, first := of.facts.join(key, now, of)
	if first {
		s.counts.Miss()
		if err := s.questions.putInTime(ctx, &question{key: key, asked: now, fill: at}); err != nil {
			at.settle(answer{err: err})
		}
	} else {
		s.counts.Shared()
	}
	err := s.await(ctx, at)
	if first {
		s.tellFilled(key, now, at, err)
	}
	if err != nil {
		return false, err
	}
	// A check that joined the fill may have begun after Redis answered, so the answer may
	// be older than a change made before the check. Such a check may use the answer only
	// under the conditions for using a fact.
	if at.answer.err == nil && (first || !at.stale && of.proven(s.now())) {
		return at.answer.alive, nil
	}
	// Ask Redis as in strict, within the time that is left.
	return s.alive(ctx, key, now)
}

// await waits for the answer of a fill. An error means that the wait ended before it.
func (s *Sessions) await(ctx context.Context, at *fill) error {
	limit := time.NewTimer(s.timeout)
	defer limit.Stop()
	select {
	case <-at.done:
		return nil
	case <-ctx.Done():
		return timedOut(ctx.Err())
	case <-limit.C:
		return timedOut(context.DeadlineExceeded)
	case <-s.running.Done():
		return errClosed
	}
}

// tellFilled is tell for the question of a fill. err is the result of await.
func (s *Sessions) tellFilled(key string, asked time.Time, at *fill, err error) {
	if err != nil {
		s.tell(key, asked, false, err)
		return
	}
	s.tell(key, asked, at.answer.alive, at.answer.err)
}

func timedOut(why error) error {
	return fmt.Errorf("redis did not answer in time: %w", why)
}

// Check asks Redis about a session that does not exist, to test the configured address,
// password and permissions. The error says what is wrong.
func (s *Sessions) Check(ctx context.Context) error {
	now := s.now()
	_, err := s.questions.alive(ctx, s.checkKey(), now)
	s.breaker.Heard(s.checkKey(), now, err)
	return err
}

func (s *Sessions) checkKey() string { return s.key.key("warder", "check") }

func (s *Sessions) newClient() *redis.Client {
	return redis.NewClient(s.optionsOf(s.access.current.Load(), s.refuseReplica))
}

// reconnect replaces the client, because its host name may now resolve to another
// server. The old client is closed after s.timeout, so that questions in progress are
// still answered.
func (s *Sessions) reconnect(old *redis.Client) {
	fresh := s.newClient()
	if !s.client.CompareAndSwap(old, fresh) {
		_ = fresh.Close() // another goroutine has replaced it
		return
	}
	s.background.Go(func() {
		answered := time.NewTimer(s.timeout)
		defer answered.Stop()
		select {
		case <-answered.C:
		case <-s.running.Done():
		}
		_ = old.Close()
	})
}

// Close closes the connections. Later questions return an error.
func (s *Sessions) Close() error {
	s.stop()
	s.breaker.Close()
	s.questions.close()
	s.background.Wait()
	return s.client.Load().Close()
}

// refuseReplica rejects a new connection to a replica.
func (s *Sessions) refuseReplica(ctx context.Context, conn *redis.Conn) error {
	role := conn.Do(ctx, "ROLE")
	s.tellsRole.Store(role.Err() == nil)
	return roleError(role)
}

// roleError returns errReplica when the reply to ROLE is that of a replica, and errSentinel
// when it is that of a Sentinel. When the ACL or the server rejects ROLE, the configured server
// is assumed to be a primary.
func roleError(reply *redis.Cmd) error {
	role, err := reply.Slice()
	if err != nil {
		if isType[redis.Error](err) {
			return nil
		}
		return err
	}
	if len(role) == 0 {
		return nil
	}
	switch role[0] {
	case "slave", "replica":
		return errReplica
	case "sentinel":
		return errSentinel
	}
	return nil
}
