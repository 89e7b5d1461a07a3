package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"warder/authz"
	"warder/authz/authztest"
	"warder/envoy"
)

// A mode is a consistency of the sessions and of the directory.
type mode struct {
	name      string
	sessions  time.Duration // how long a session may be accepted after its logout was acknowledged
	directory time.Duration // how old a fact of the directory may be
}

// modes are both consistencies, with the bounds that authz/README.md promises.
func modes() []mode {
	return []mode{{"strict", 0, 0}, {"tracked", time.Second, 2 * time.Second}}
}

// stores are the stores of a stage.
type stores struct {
	redis    *authztest.Redis
	redisURL string // what warder uses
	postgres *authztest.Postgres
	bouncer  *authztest.PgBouncer // nil: there is none
	// sentinels watch redis and its replicas; nil: there are none.
	sentinels *authztest.Sentinels
	cluster   *authztest.Cluster // redis is one of its primaries; nil: there is none
	// sessions writes sessions. It does not use the connections of warder, so that logouts go on
	// while warder cannot reach the store.
	sessions redis.UniversalClient
	// acks is the number of replicas that must have a change of a session before it counts.
	// Without them, a failover may lose it.
	acks atomic.Int32
}

// change changes a session by a command, whose second word is the key. Without an error, the change
// outlasts a failover.
func (s *stores) change(ctx context.Context, command ...any) error {
	var node redis.Cmdable = s.sessions
	if cluster, ok := s.sessions.(*redis.ClusterClient); ok {
		owner, err := cluster.MasterForKey(ctx, fmt.Sprint(command[1]))
		if err != nil {
			return err
		}
		node = owner
	}
	acks := int64(s.acks.Load())
	var have *redis.Cmd
	if _, err := node.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Do(ctx, command...)
		have = pipe.Do(ctx, "WAIT", acks, (storeLimit / 2).Milliseconds())
		return nil
	}); err != nil {
		return err
	}
	n, err := have.Int64()
	if err == nil && n < acks {
		err = fmt.Errorf("%d of %d replicas have the change", n, acks)
	}
	return err
}

// databaseURL returns the URL that warder uses.
func (s *stores) databaseURL() string {
	if s.bouncer != nil {
		return s.bouncer.URL() + "&pgbouncer=true"
	}
	return s.postgres.URL()
}

const stagePolicy = `
version: 1
routes:
  - {id: open, match: /open, public: true}
  - {id: user, match: /user, allow: [{user: {roles: [CONTROL]}}]}
  - {id: key, match: /key, allow: [{api_key: {scopes: ["assets:read"]}}]}
  - {id: audit, match: /audit, allow: [{user: {roles: [AUDIT]}}]}
`

// A stage is warder behind a real Envoy with real stores. Users log in and out, and API keys are
// issued and revoked, all the time.
type stage struct {
	*rig
	set   *stores
	t     *testing.T // of the whole stage
	mode  mode
	front string // address of Envoy, the same after a restart
	spout *spout // standard output of warder

	// How warder is started. A fault may change it for its row.
	redisURL, databaseURL string
	policy                string
	choose                func(n int) *credential // what the traffic sends
	secret                []byte                  // signs the tokens of the next logins
	proxyConfig           []byte                  // of Envoy

	directory *pgxpool.Pool
	traffic   *traffic
	// steady is write-locked while a store loses sessions, so that none is added meanwhile.
	steady         sync.RWMutex
	sessions, keys roster
	brief          *credential // a token that expires soon, in the rows that step the clock
	briefSince     int64       // the number of the first request that may have it
	users          int
	open, unknown  *credential
	forged, weaker *credential
	stopChurn      context.CancelFunc
	churned        chan struct{}
}

// newStage prepares a stage on stores that run. It starts neither warder nor Envoy.
func newStage(t *testing.T, set *stores) *stage {
	t.Helper()
	leaks := newLeaks()
	leaks.keep = 1 << 20
	s := &stage{
		rig: newRig(t, leaks, set.redis, set.postgres), set: set, t: t, front: authztest.FreeAddress(t), spout: new(spout),
		policy: stagePolicy, users: 1000, sessions: roster{wanted: 12}, keys: roster{wanted: 8},
	}
	s.stdout, s.secret = s.spout, s.rig.secret
	s.env = []string{"GOMEMLIMIT=115MiB"} // as k8s/sidecar.yaml has it for 128 MiB
	s.redisURL, s.databaseURL = set.redisURL, set.databaseURL()
	s.choose = s.next
	token, _ := s.seed(t)
	s.open = fixed("a public request", "/open", nil, always)
	s.unknown = fixed("a request without a route", "/nowhere", bearer(token), never)
	s.weaker = fixed("a token without the role", "/audit", bearer(token), never)
	s.forged = fixed("a forged token", "/user", bearer(authztest.Mint(t, authztest.Token{
		Secret: []byte("another-secret-0123456789abcdef0123"), Claims: map[string]any{"sub": goodUser, "jti": goodSession, "exp": time.Now().Add(time.Hour).Unix()},
	})), never)
	config, err := pgxpool.ParseConfig(set.postgres.URL())
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 4
	config.ConnConfig.ConnectTimeout = time.Second
	if s.directory, err = pgxpool.NewWithConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.directory.Close)
	if s.proxyConfig, err = envoy.SidecarConfig(envoy.ConfigOptions{
		Listen: s.front, Admin: "127.0.0.1:0", Upstream: s.upstream.Listener.Addr().String(), Warder: "unix://" + s.socket(),
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

// play starts warder in a mode, with Envoy, traffic and churn.
func (s *stage) play(t *testing.T, m mode, rate float64) {
	t.Helper()
	s.mode = m
	if s.envoy == nil {
		s.startProxy(t)
	}
	s.run(t)
	s.traffic = s.traffics(newTraffic("http://"+s.front, rate, false, s.choose))
	s.sessions.clear()
	s.keys.clear()
	ctx, stop := context.WithCancel(s.t.Context())
	s.stopChurn, s.churned = stop, make(chan struct{})
	go func() {
		defer close(s.churned)
		s.churn(ctx)
	}()
	t.Cleanup(s.endChurn)
	s.refill(t)
	s.traffic.start(t)
}

// traffics makes the application tell a traffic of its requests.
func (s *stage) traffics(tr *traffic) *traffic {
	s.upstream.traffics.Store(tr, true)
	return tr
}

func (s *stage) endChurn() {
	s.stopChurn()
	<-s.churned
}

// startProxy starts Envoy. It runs until the end of the stage, unless a fault kills it.
func (s *stage) startProxy(t *testing.T) {
	t.Helper()
	s.envoy = startShippedEnvoy(s.t, s.proxyConfig, s.leaks)
}

// run starts warder, or restarts it, and waits until it is ready.
func (s *stage) run(t *testing.T) {
	t.Helper()
	s.launch(t)
	waitFor(t, "warder to be ready", s.readyz)
}

// launch starts warder, or restarts it, and does not wait.
func (s *stage) launch(t *testing.T) {
	t.Helper()
	s.launchWarder(t, s.policy, map[string]any{
		"sessions": map[string]any{
			"redis_url_file": s.write("stage.redis", s.redisURL), "consistency": s.mode.name,
		},
		"directory": map[string]any{
			"database_url_file": s.write("stage.database", s.databaseURL), "max_staleness": s.mode.directory.String(),
		},
		"log": map[string]any{"decisions": "all"},
	})
}

func sendSignal(t *testing.T, pid int, what syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, what); err != nil {
		t.Fatal(err)
	}
}

// killProxy ends Envoy as kill -9 does.
func (s *stage) killProxy(t *testing.T) {
	t.Helper()
	sendSignal(t, s.envoy.PID(), syscall.SIGKILL)
	<-s.envoy.Ended()
}

// next returns the credential of the next request.
func (s *stage) next(n int) *credential {
	var c *credential
	switch n % 16 {
	default:
		c = s.sessions.any()
	case 7, 8, 9:
		c = s.keys.any()
	case 10, 11:
		c = s.sessions.anyPast()
	case 12:
		c = s.keys.anyPast()
	case 13:
		c = s.forged
	case 14:
		if c = s.weaker; n%32 == 14 {
			c = s.unknown
		}
	case 15:
		s.steady.RLock()
		c = s.brief
		s.steady.RUnlock()
	}
	if c == nil {
		return s.open
	}
	return c
}

// storeLimit bounds a change of a store. Whether a change that takes longer has happened is not
// known.
const storeLimit = time.Second

// churn logs users in and out, and issues and revokes API keys.
func (s *stage) churn(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		all, begin := &s.sessions, s.login
		if n%2 == 1 {
			all, begin = &s.keys, s.issue
		}
		s.steady.RLock()
		begun := within(ctx, storeLimit, begin)
		s.steady.RUnlock()
		if c := all.oldest(); begun == nil && c != nil {
			c.isEnding()
			var bound time.Duration
			if within(ctx, storeLimit, func(ctx context.Context) (err error) { bound, err = c.end(ctx); return err }) == nil {
				c.hasEnded(bound)
				all.buried(c)
			}
		}
	}
}

func within(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return do(ctx)
}

// login adds a user with a session. Every second one ends by a logout, and the others because the
// user is deactivated.
func (s *stage) login(ctx context.Context) error {
	s.users++
	id, session := strconv.Itoa(s.users), "s-"+rand.Text()
	if _, err := s.directory.Exec(ctx, `INSERT INTO users (id, roles) VALUES ($1, '["CONTROL"]')`, s.users); err != nil {
		return err
	}
	name := "session:" + id + ":" + session
	if err := s.set.change(ctx, "SET", name, "1"); err != nil {
		return err
	}
	c := fixed("session "+id, "/user", bearer(s.tokenFor(id, session, 3*time.Hour)), life{begun: time.Now()})
	c.end = func(ctx context.Context) (time.Duration, error) {
		return s.mode.sessions, s.set.change(ctx, "DEL", name)
	}
	if s.users%2 == 0 {
		c.name = "user " + id
		c.end = func(ctx context.Context) (time.Duration, error) {
			_, err := s.directory.Exec(ctx, "UPDATE users SET is_active = false WHERE id = $1", id)
			return s.mode.directory, err
		}
	}
	s.sessions.add(c)
	return nil
}

// tokenFor signs a token.
func (s *stage) tokenFor(user, session string, lasts time.Duration) string {
	return authztest.Mint(s.t, authztest.Token{Secret: s.secret, Claims: map[string]any{
		"sub": user, "jti": session, "exp": time.Now().Add(lasts).Unix(),
	}})
}

// setSession adds a session that nothing ends.
func (s *stage) setSession(t *testing.T, user, session string) {
	t.Helper()
	if err := s.set.change(t.Context(), "SET", "session:"+user+":"+session, "1"); err != nil {
		t.Fatal(err)
	}
}

// addBrief adds a session whose token expires soon.
func (s *stage) addBrief(t *testing.T, lasts time.Duration) *credential {
	t.Helper()
	s.setSession(t, goodUser, "brief")
	s.steady.Lock()
	defer s.steady.Unlock()
	s.brief = fixed("a token that has expired", "/user", bearer(s.tokenFor(goodUser, "brief", lasts)), life{begun: time.Now()})
	s.briefSince = s.traffic.number.Load()
	return s.brief
}

// endBrief says that the token of addBrief may be valid again.
func (s *stage) endBrief() {
	s.steady.Lock()
	defer s.steady.Unlock()
	if s.brief != nil {
		s.brief.mayReturn()
		s.brief = nil
	}
}

// issue adds an API key. Keys end in turn by their flag, their expiry and their removal.
func (s *stage) issue(ctx context.Context) error {
	key := "wk_" + rand.Text()
	hash := authz.HashAPIKey(key).Hex()
	if _, err := s.directory.Exec(ctx, `INSERT INTO api_keys (prefix, key_hash, scopes, user_id) VALUES ('wk', $1, '["assets:read"]', `+goodUser+`)`, hash); err != nil {
		return err
	}
	c := fixed("API key "+hash[:8], "/key", map[string]string{"X-API-Key": key}, life{begun: time.Now()})
	how := []string{
		"UPDATE api_keys SET is_active = false WHERE key_hash = $1",
		"UPDATE api_keys SET expires_at = now() - interval '2 hours' WHERE key_hash = $1", // before any step of the clock
		"DELETE FROM api_keys WHERE key_hash = $1",
	}[int(hash[0])%3]
	c.end = func(ctx context.Context) (time.Duration, error) {
		_, err := s.directory.Exec(ctx, how, hash)
		return s.mode.directory, err
	}
	s.keys.add(c)
	return nil
}

// loseSessions ends all sessions by a fault of their store.
func (s *stage) loseSessions(fault func()) {
	s.steady.Lock()
	defer s.steady.Unlock()
	lost := s.sessions.clear()
	for _, c := range lost {
		c.isEnding()
	}
	fault()
	for _, c := range lost {
		c.hasEnded(s.mode.sessions)
		s.sessions.buried(c)
	}
}

// refill waits until enough users are logged in again and enough API keys exist.
func (s *stage) refill(t *testing.T) {
	t.Helper()
	waitFor(t, "logins", func() error {
		if n, keys := s.sessions.size(), s.keys.size(); n < s.sessions.wanted/2 || keys < s.keys.wanted/2 {
			return fmt.Errorf("%d sessions, %d API keys", n, keys)
		}
		return nil
	})
}

// A roster holds the credentials of one kind: those that are valid, and some that have ended.
type roster struct {
	wanted int

	mu            sync.Mutex
	current, past []*credential
}

func (r *roster) add(c *credential) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current = append(r.current, c)
}

// oldest takes out the oldest valid credential if there are more than wanted.
func (r *roster) oldest() *credential {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.current) <= r.wanted {
		return nil
	}
	c := r.current[0]
	r.current = slices.Delete(r.current, 0, 1)
	return c
}

// clear takes out all valid credentials, and forgets the others.
func (r *roster) clear() []*credential {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.current
	r.current, r.past = nil, nil
	return all
}

// buried adds a credential that has ended. It is used for some more time.
func (r *roster) buried(c *credential) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.past = append(r.past, c)
	if len(r.past) > r.wanted {
		r.past = slices.Delete(r.past, 0, 1)
	}
}

func (r *roster) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.current)
}

func (r *roster) any() *credential {
	r.mu.Lock()
	defer r.mu.Unlock()
	return anyOf(r.current)
}

func (r *roster) anyPast() *credential {
	r.mu.Lock()
	defer r.mu.Unlock()
	return anyOf(r.past)
}

// A spout is the reader of warder's log. It may stop to read.
type spout struct {
	gate    sync.RWMutex // locked while it does not read
	waiting atomic.Int64 // writes that wait for it
	read    atomic.Int64 // bytes
}

func (s *spout) Write(p []byte) (int, error) {
	s.waiting.Add(1)
	s.gate.RLock()
	s.waiting.Add(-1)
	s.read.Add(int64(len(p)))
	s.gate.RUnlock()
	return len(p), nil
}
