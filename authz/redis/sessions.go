package redis

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
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
	// Tracked keeps facts in memory while Redis announces changes: see [Sessions].
	Tracked bool
	// Log hears when announcements break off and when they are back; nil: nobody does.
	Log *slog.Logger
	// Asked hears of each question that was put to Redis, and not of those that were
	// answered from memory: how long it took, and what came of it. It must not wait; nil:
	// nobody does.
	Asked func(took time.Duration, alive bool, err error)
}

const (
	defaultTimeout  = 100 * time.Millisecond
	defaultPoolSize = 32
)

// Sessions implements [authz.Sessions] on Redis. It is safe for concurrent use.
//
// Unless Tracked is configured each question is asked of Redis ("strict"):
// questions that are put at about the same time share a round trip, and one that is put
// after Redis has acknowledged a logout sees it.
//
// With Tracked, what Redis said of a session, that it lives or that it does not, is
// used again until Redis announces a change of its key (CLIENT TRACKING in broadcasting
// mode), which takes less than a millisecond as a rule. In addition a fact ends with
// its key's time to live, after a minute in any case, and whenever it is not proven
// within the last 800ms that all changes announced so far have been received from a server
// that still is the primary. While that is not proven, questions are asked of Redis as
// in strict. So no fact is used for a check that begins later than 800ms after the
// logout was acknowledged, whatever happens to the connection or to Redis.
//
// The user needs +exists on the keys of sessions, and should have +role. For Tracked
// it needs in addition +pttl, +client|id, +client|tracking, +subscribe, +ping and +pubsub|numsub,
// and the channels &__redis__:invalidate*.
type Sessions struct {
	client  atomic.Pointer[redis.Client]
	options *redis.Options
	key     template
	timeout time.Duration
	now     func() time.Time
	log     *slog.Logger
	asked   func(took time.Duration, alive bool, err error) // nil: nobody hears
	counts  authz.CacheCounter                              // only for tracked
	tracked bool
	// tellsRole is whether the server answered ROLE to the newest connection.
	tellsRole atomic.Bool
	questions *batcher
	// stream is what keeps facts right, nil while nothing does.
	stream atomic.Pointer[stream]

	running    context.Context // until Close
	stop       context.CancelFunc
	background sync.WaitGroup
}

// Validate checks the configuration and connects to nothing. No error shows the URL
// or a part of it that could be the password.
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
	if c.Tracked {
		if what := severalServers(c.URL); what != "" {
			return nil, authz.Misconfigured("sessions.consistency", "tracked works with one Redis server, and redis_url names %s; name the primary, as in redis://host:6379/0", what)
		}
	}
	options, err := parseURL(c.URL)
	if err != nil {
		return nil, authz.Misconfigured("sessions.redis_url", "%v", err)
	}
	options.PoolSize = cmp.Or(c.PoolSize, options.PoolSize, defaultPoolSize)
	if options.PoolSize < 0 {
		return nil, authz.Misconfigured("sessions", "a pool of %d connections is none; use 1 or more", options.PoolSize)
	}
	bound(options, timeout)
	return &Sessions{options: options, key: key, timeout: timeout, now: time.Now, log: c.Log, asked: c.Asked, tracked: c.Tracked}, nil
}

// New checks the configuration like Validate. It does not wait for a connection: Redis
// may be away when warder starts, see [Sessions.Check]. The caller must Close.
func New(c Config) (*Sessions, error) {
	s, err := c.sessions()
	if err != nil {
		return nil, err
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.running, s.stop = context.WithCancel(context.Background())
	s.options.OnConnect = s.refuseReplica
	s.client.Store(redis.NewClient(s.options))
	s.questions = newBatcher(s.timeout, s.now, s.askRedis)
	if c.Tracked {
		s.background.Go(s.track)
	}
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
		return false, fmt.Errorf("redis is not asked: %w", err)
	}
	if !authz.ValidID(userID) || !authz.ValidID(sessionID) {
		return false, nil
	}
	key, now := s.key.key(userID, sessionID), s.now()
	// The clock is read first: a fact is judged by when the check began.
	if of := s.stream.Load(); of != nil && of.proven(now) {
		if alive, known := of.facts.get(key, now); known {
			s.counts.Hit()
			return alive, nil
		}
		return s.fill(ctx, of, key, now)
	}
	if s.tracked {
		s.counts.Bypass()
	}
	return s.alive(ctx, key, now)
}

// alive asks Redis, and tells who wants to hear of it.
func (s *Sessions) alive(ctx context.Context, key string, now time.Time) (bool, error) {
	alive, err := s.questions.alive(ctx, key, now)
	s.tell(now, alive, err)
	return alive, err
}

func (s *Sessions) tell(asked time.Time, alive bool, err error) {
	if s.asked != nil {
		s.asked(s.now().Sub(asked), alive, err)
	}
}

// Counts says how often a session was answered from memory, with Tracked.
func (s *Sessions) Counts() authz.CacheCounts { return s.counts.Counts() }

// fill asks Redis for a fact, or waits for whoever does.
func (s *Sessions) fill(ctx context.Context, of *stream, key string, now time.Time) (bool, error) {
	at, first := of.facts.join(key, now, of)
	if first {
		s.counts.Miss()
		if err := s.questions.put(&question{key: key, asked: now, fill: at}); err != nil {
			at.settle(answer{err: err})
		}
	} else {
		s.counts.Shared()
	}
	err := s.await(ctx, at)
	if first {
		s.tellFilled(now, at, err)
	}
	if err != nil {
		return false, err
	}
	// Whoever came later than the question may know of a change that the answer does
	// not: it counts for them only as a fact would.
	if at.answer.err == nil && (first || !at.stale && of.proven(s.now())) {
		return at.answer.alive, nil
	}
	// In the time that is left, as in strict.
	return s.alive(ctx, key, now)
}

// await waits until a fill has its answer; an error says why it waits no more.
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

// tellFilled is tell for the question of a fill; err says that nobody waited for it.
func (s *Sessions) tellFilled(asked time.Time, at *fill, err error) {
	if err != nil {
		s.tell(asked, false, err)
		return
	}
	s.tell(asked, at.answer.alive, at.answer.err)
}

func timedOut(why error) error {
	return fmt.Errorf("redis did not answer in time: %w", why)
}

// Check reports whether Redis can answer a question about a session with what
// is configured: address, password, rights. The error says what is wrong.
func (s *Sessions) Check(ctx context.Context) error {
	_, err := s.questions.alive(ctx, s.checkKey(), s.now())
	return err
}

func (s *Sessions) checkKey() string { return s.key.key("warder", "check") }

// reconnect leaves the connections of a client behind: its name may stand for
// another server by now. What was asked on them is still answered.
func (s *Sessions) reconnect(old *redis.Client) {
	fresh := redis.NewClient(s.options)
	if !s.client.CompareAndSwap(old, fresh) {
		_ = fresh.Close() // somebody did it already
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

// Close ends the connections. Questions after it are errors.
func (s *Sessions) Close() error {
	s.stop()
	s.questions.close()
	s.background.Wait()
	return s.client.Load().Close()
}

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
