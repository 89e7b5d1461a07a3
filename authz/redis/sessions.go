package redis

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
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
	// redis://[user:password@]host[:port][/database], redis+sentinel:// or redis+cluster://,
	// or another spelling that clients use: valkey://, redis+unix://, host:port.
	// [Config.Warnings] returns which of its parameters have no effect.
	URL string
	// Password is the password of a URL that has none. It may be "".
	Password string
	// TLS is for a URL with TLS only.
	TLS TLS
	// Sentinel is for a URL that names Sentinels only.
	Sentinel Sentinel
	// Reread, if not nil, returns the secrets that are configured now. It is called when a
	// server refuses a login, before the login is repeated.
	Reread func(context.Context) (Secrets, error)
	// KeyTemplate is the template of a session's key. "" means [DefaultKeyTemplate]. A session is
	// alive while its key exists.
	KeyTemplate string
	// Absent, if not nil, is for sessions that are alive until they are revoked, instead of KeyTemplate.
	Absent *Absent
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
	// answer from the cache. exists is that of the key. It must not block.
	Asked func(took time.Duration, exists bool, err error)
}

// Absent configures the keys that end sessions. At least one is required. A session is alive while
// none of its KeyTemplates' keys exists and its token was not issued before the time of
// RevokedBefore: see [authz.Session.IssuedUpTo].
//
// A Redis that loses a key allows the session again, so it must keep them (appendonly, and
// maxmemory-policy noeviction) as long as the tokens are valid.
type Absent struct {
	// KeyTemplates are templates of {jti}, {user_id} or both.
	KeyTemplates []string
	// RevokedBefore is the template, of {user_id}, of a key with a time: seconds or milliseconds
	// since 1970, or RFC 3339. "" means none. A key that does not exist ends nothing; another value
	// is an error.
	RevokedBefore string
}

// keys compiles the templates of the configuration. The error is an [*authz.ConfigError].
func (c Config) keys() (all []template, err error) {
	add := func(field string, t template, err error) error {
		if err != nil {
			return authz.Misconfigured(field, "%v", err)
		}
		all = append(all, t)
		return nil
	}
	if c.Absent == nil {
		t, err := parseTemplate(cmp.Or(c.KeyTemplate, DefaultKeyTemplate))
		err = add("sessions.key_template", t, err)
		return all, err
	}
	for _, text := range c.Absent.KeyTemplates {
		t, err := parseRevocation(text)
		if err := add("sessions.key_template", t, err); err != nil {
			return nil, err
		}
	}
	if text := c.Absent.RevokedBefore; text != "" {
		t, err := parseRevokedBefore(text)
		if err := add("sessions.revoked_before_template", t, err); err != nil {
			return nil, err
		}
		for i, other := range all[:len(all)-1] {
			if other.overlaps(t) {
				return nil, authz.Misconfigured("sessions.revoked_before_template", "%q and %q can be the same key, which cannot have a time and end a session by being there; begin them differently",
					text, c.Absent.KeyTemplates[i])
			}
		}
	}
	if len(all) == 0 {
		return nil, authz.Misconfigured("sessions.key_template", `missing; the rule absent needs the keys of sessions that have ended, such as "revoked:{jti}"`)
	}
	return all, nil
}

// ValidateKeys checks the templates of the configuration only, like [Config.Validate].
func (c Config) ValidateKeys() error {
	_, err := c.keys()
	return err
}

// KeyWarnings returns warnings about templates that may not mean what is intended.
func (c Config) KeyWarnings() (warnings []string) {
	all, err := c.keys()
	if c.Absent == nil || err != nil {
		return nil
	}
	for i, text := range c.Absent.KeyTemplates {
		if text == DefaultKeyTemplate {
			warnings = append(warnings, fmt.Sprintf("%q is the key of a session that is alive with rule present; with absent, the session ends when the key appears", text))
		}
		for j, other := range c.Absent.KeyTemplates[:i] {
			if all[i].overlaps(all[j]) {
				warnings = append(warnings, fmt.Sprintf("%q and %q can be the same key, so the end of one session may end another's; begin them differently", other, text))
			}
		}
	}
	return warnings
}

// Secrets is the part of a [Config] that may change while it is in use.
type Secrets struct{ URL, Password, SentinelPassword string }

// with returns the configuration with other secrets.
func (c Config) with(now Secrets) Config {
	c.URL, c.Password, c.Sentinel.Password = now.URL, now.Password, now.SentinelPassword
	return c
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
// Behind Sentinels and in a cluster, a server is asked, and facts are used, only while a
// majority has said within the last second that it is the primary of the key: see topology.go.
//
// The Redis user needs +exists on the session keys and should have +role. With [Absent.RevokedBefore]
// it also needs +get on those keys. With Tracked
// it also needs +pttl, +client|id, +client|tracking, +subscribe, +ping and
// +pubsub|numsub, and the channels &__redis__:invalidate*. In a cluster it needs
// +cluster|nodes and +asking in addition.
type Sessions struct {
	servers    atomic.Pointer[deployed]
	access     access
	sentinels  access // of connections to Sentinels
	keys       []template
	absent     bool // the keys end sessions, instead of being them
	timeout    time.Duration
	now        func() time.Time
	log        *slog.Logger
	asked      func(took time.Duration, exists bool, err error) // may be nil
	counts     authz.CacheCounter                               // with tracked only
	tracked    bool
	warned     atomic.Int64    // when warnNoTime warned, in nanoseconds since 1970
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
	keys, err := c.keys()
	if err != nil {
		return nil, err
	}
	timeout := cmp.Or(c.Timeout, defaultTimeout)
	if timeout < 0 {
		return nil, authz.Misconfigured("sessions.timeout", "%v is negative; write one such as 100ms", timeout)
	}
	t, err := c.target()
	if err != nil {
		return nil, err
	}
	s := &Sessions{keys: keys, absent: c.Absent != nil, timeout: timeout, now: time.Now, log: c.Log, asked: c.Asked, tracked: c.Tracked}
	s.access.config, s.access.part = c, func(t *target) *target { return t }
	s.access.current.Store(t)
	s.sentinels.config, s.sentinels.part = c, func(t *target) *target { return t.sentinels }
	s.sentinels.current.Store(t.sentinels)
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
	s.start()
	return s, nil
}

func (s *Sessions) start() {
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.running, s.stop = context.WithCancel(context.Background())
	s.deploy(s.access.current.Load())
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

// Alive implements [authz.Sessions]. The type of a key does not matter. An id that is not valid
// ([authz.ValidID]) has no session, and Alive does not ask Redis about it.
func (s *Sessions) Alive(ctx context.Context, session authz.Session) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("redis was not asked: %w", err)
	}
	named := authz.ValidID(session.ID)
	if !authz.ValidID(session.UserID) || !named && slices.ContainsFunc(s.keys, template.usesSession) {
		return false, nil
	}
	now := s.now()
	if s.absent {
		return s.spared(ctx, session, now)
	}
	found, err := s.look(ctx, s.keys[0].of(session), now)
	return found.exists, err
}

// spared reports whether no key ends the session. It asks about all keys at the same time.
func (s *Sessions) spared(ctx context.Context, session authz.Session, now time.Time) (bool, error) {
	type result struct {
		ends bool
		err  error
	}
	look := func(key template) (r result) {
		found, err := s.look(ctx, key.of(session), now)
		return result{found.exists && (!key.timed || session.IssuedUpTo(time.Unix(found.value, 0))), err}
	}
	results := make([]result, len(s.keys))
	var others sync.WaitGroup
	for i, key := range s.keys[1:] {
		others.Go(func() {
			results[i+1].err = errUnanswered // stays after a panic
			defer func() { _ = recover() }() // in this goroutine it would end the process
			results[i+1] = look(key)
		})
	}
	results[0] = look(s.keys[0])
	others.Wait()
	var unknown error
	for _, r := range results {
		switch {
		case r.err != nil:
			unknown = r.err
		case r.ends:
			return false, nil
		}
	}
	return unknown == nil, unknown
}

var errUnanswered = errors.New("redis was not asked about a key")

// look returns the state of a key: a fact, or what Redis says.
func (s *Sessions) look(ctx context.Context, about subject, now time.Time) (state, error) {
	servers := s.servers.Load()
	at := servers.owner(about.key, now)
	// now was read before the stream, so that a fact is judged at the start of the check.
	if s.tracked && at.node != nil && at.tenure != unsettled {
		if of := at.node.stream.Load(); of != nil && of.proven(now) {
			if found, known := of.facts.get(about, at.tenure, now); known {
				s.counts.Hit()
				return found, nil
			}
			if err := at.node.breaker.Refuse(about); err != nil {
				return state{}, err
			}
			return s.fill(ctx, servers, at, of, about, now)
		}
	}
	if s.tracked {
		s.counts.Bypass()
	}
	if at.node != nil {
		if err := at.node.breaker.Refuse(about); err != nil {
			return state{}, err
		}
	}
	return s.askTelling(ctx, about, now)
}

// askTelling is ask, and tells the result.
func (s *Sessions) askTelling(ctx context.Context, about subject, now time.Time) (state, error) {
	found, err := s.ask(ctx, about, now)
	s.tell(now, found, err)
	return found, err
}

// ask asks the server that has the key, and again if another one has got it meanwhile.
func (s *Sessions) ask(ctx context.Context, about subject, now time.Time) (found state, err error) {
	for {
		servers := s.servers.Load()
		at := servers.owner(about.key, now)
		if at.node == nil {
			if at, err = servers.await(ctx, about.key, now.Add(s.timeout)); err != nil {
				return state{}, err
			}
		}
		found, err = at.node.questions.get(ctx, about, now)
		at.node.breaker.Heard(about, now, err)
		if to, is := errors.AsType[*redirection](err); is && to.ask {
			found, err = s.elsewhere(ctx, servers, about, to, now)
		}
		if !servers.moved(ctx, about.key, at, err) {
			return found, err
		}
	}
}

// elsewhere asks another server within the time that is left.
func (s *Sessions) elsewhere(ctx context.Context, servers *deployed, about subject, to *redirection, now time.Time) (state, error) {
	ctx, cancel := context.WithDeadline(ctx, now.Add(s.timeout))
	defer cancel()
	n, err := servers.elsewhere(to)
	if err != nil {
		return state{}, err
	}
	a := n.askThisTime(ctx, about)
	return a.state, a.err
}

func (s *Sessions) tell(asked time.Time, found state, err error) {
	if s.asked != nil {
		s.asked(s.now().Sub(asked), found.exists, err)
	}
	if errors.Is(err, errNoTime) {
		s.warnNoTime()
	}
}

// warnNoTime warns at most once a minute, because each check of the user finds the value again.
func (s *Sessions) warnNoTime() {
	now, last := s.now().UnixNano(), s.warned.Load()
	if now-last >= int64(time.Minute) && s.warned.CompareAndSwap(last, now) {
		s.log.Warn("a check could not be decided", "error", errNoTime)
	}
}

// Available reports whether checks ask Redis. They do not ask a server that does not answer: see
// [authz.Breaker].
func (s *Sessions) Available() bool { return s.servers.Load().available() }

// Counts returns the cache's counters. They are zero without Tracked.
func (s *Sessions) Counts() authz.CacheCounts { return s.counts.Counts() }

// fill asks Redis for a fact, or waits for a fill of the same key in progress.
func (s *Sessions) fill(ctx context.Context, servers *deployed, place place, of *stream, about subject, now time.Time) (state, error) {
	at, first := of.facts.join(about, place.tenure, now, of)
	if first {
		s.counts.Miss()
		if err := place.node.questions.putInTime(ctx, &question{subject: about, asked: now, fill: at}); err != nil {
			at.settle(answer{err: err})
		}
	} else {
		s.counts.Shared()
	}
	err := s.await(ctx, at)
	if first {
		s.tellFilled(place, now, at, err)
	}
	if err != nil {
		return state{}, err
	}
	// A check that joined the fill may have begun after Redis answered, so the answer may
	// be older than a change made before the check. Such a check may use the answer only
	// under the conditions for using a fact.
	if at.answer.err == nil && (first || !at.stale && of.proven(s.now())) && !servers.moved(ctx, about.key, place, nil) {
		return at.answer.state, nil
	}
	// Ask Redis as in strict, within the time that is left.
	return s.askTelling(ctx, about, now)
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

// tellFilled is tell for the question of a fill, which the breaker of its place hears of too. err
// is the result of await.
func (s *Sessions) tellFilled(place place, asked time.Time, at *fill, err error) {
	var found state
	if err == nil {
		found, err = at.answer.state, at.answer.err
	}
	s.tell(asked, found, err)
	place.node.breaker.Heard(at.subject, asked, err)
}

func timedOut(why error) error {
	return fmt.Errorf("redis did not answer in time: %w", why)
}

// Check asks Redis about the keys of a session that does not exist, to test the configured address,
// password and permissions. The error says what is wrong.
func (s *Sessions) Check(ctx context.Context) error { return s.checkWith(ctx, checkSession) }

// checkWith asks Redis about the keys of a session that does not exist.
func (s *Sessions) checkWith(ctx context.Context, sessionID string) error {
	for _, key := range s.keys {
		if _, err := s.ask(ctx, key.of(authz.Session{UserID: checkUser, ID: sessionID}), s.now()); err != nil {
			return err
		}
	}
	return nil
}

const checkUser, checkSession = "warder", "check"

func (s *Sessions) checkKey() string { return s.keys[0].key(checkUser, checkSession) }

// Close closes the connections. Later questions return an error.
func (s *Sessions) Close() error {
	s.stop()
	s.servers.Load().close()
	s.background.Wait()
	return nil
}
