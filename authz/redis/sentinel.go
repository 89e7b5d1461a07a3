package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"warder/authz"
)

// Sentinel configures the Sentinels of a URL that names them.
type Sentinel struct {
	// MasterName is the name that they have for the primary. It is for a URL without one.
	MasterName string
	// Username and Password are for the Sentinels themselves. They are for a URL without them.
	Username, Password string
}

// applySentinels completes the target of a URL that names Sentinels.
func (c Config) applySentinels(t *target, l *location) error {
	if l.among != bySentinels {
		if c.Sentinel != (Sentinel{}) {
			return authz.Misconfigured("sessions.sentinel", "is set, and redis_url names no Sentinels; write redis+sentinel://host:26379/NAME/0 there, or leave it out")
		}
		return nil
	}
	for _, twice := range []struct{ key, configured, inURL string }{
		{"master_name", c.Sentinel.MasterName, l.primary},
		{"username", c.Sentinel.Username, l.sentinelUsername},
		{"password_file", c.Sentinel.Password, l.sentinelPassword},
	} {
		if twice.configured != "" && twice.inURL != "" {
			return authz.Misconfigured("sessions.sentinel."+twice.key, "is set, and redis_url has it too; keep one of the two")
		}
	}
	if t.primary = cmp.Or(l.primary, c.Sentinel.MasterName); !primaryText.MatchString(t.primary) {
		return authz.Misconfigured("sessions.sentinel.master_name", "%s",
			"is the name that the Sentinels have for the primary, and redis_url has none either; write it after the hosts, as in redis+sentinel://host:26379/mymaster/0, or here")
	}
	options := *t.options
	options.PoolSize, options.MaxActiveConns = 1, 1
	t.sentinels = &target{
		options: &options, among: aSentinel, seeds: t.seeds, primary: t.primary,
		username: cmp.Or(l.sentinelUsername, c.Sentinel.Username), password: cmp.Or(l.sentinelPassword, c.Sentinel.Password),
		clientName: t.clientName, dial: t.dial, certificates: t.certificates,
	}
	return nil
}

// maxSentinels bounds how many Sentinels are asked.
const maxSentinels = 32

// A view is what a Sentinel said about the primary.
type view struct {
	id      string    // of the Sentinel
	asked   time.Time // before it answered
	primary string    // address
	epoch   int64     // of its configuration: each failover has a greater one
	voters  int       // the number of Sentinels that it knows, with itself
}

var errDisagree = errors.New("the Sentinels name different primaries")

// decide returns the primary that a majority of the Sentinels knows at the time now, and the time
// at which it was known to be one. A failover needs the votes of a majority, so a majority that
// was heard includes a Sentinel that voted for it. Of different primaries the one of the last
// failover counts.
func decide(views []view, now time.Time) (primary string, epoch int64, proof time.Time, err error) {
	heard := map[string]view{} // by id: one Sentinel can have several addresses
	for _, v := range views {
		if within(v.asked, now, trustFor) && v.asked.After(heard[v.id].asked) {
			heard[v.id] = v
		}
	}
	voters, differ := 0, false
	var times []time.Time
	for _, v := range heard {
		voters = max(voters, v.voters)
		times = append(times, v.asked)
		switch {
		case primary == "" || v.epoch > epoch:
			primary, epoch, differ = v.primary, v.epoch, false
		case v.epoch == epoch && v.primary != primary:
			differ = true
		}
	}
	if differ {
		return "", epoch, time.Time{}, errDisagree
	}
	proof, enough := byMajority(times, voters)
	if !enough {
		return primary, epoch, time.Time{}, &minority{len(heard), voters}
	}
	return primary, epoch, proof, nil
}

// A minority is the error of too few Sentinels that answer.
type minority struct{ heard, voters int }

func (m *minority) Error() string {
	if m.heard == 0 {
		return "no Sentinel answers"
	}
	return fmt.Sprintf("only %d of %d Sentinels answer, which is no majority", m.heard, m.voters)
}

// A watch is the topology of Sentinels: it asks them several times a second which server is the
// primary. The primary is used while a majority of them names it.
type watch struct {
	*council[view]
	current atomic.Pointer[reign]
}

// A reign is the time of a primary. It does not change.
type reign struct {
	node  *node
	epoch int64
	proof time.Time // the latest time at which it was known to be the primary
}

func (s *Sessions) watch(t *target) *watch {
	w := &watch{}
	w.council = newCouncil[view](s, t.seeds, maxSentinels)
	w.ask = func(ctx context.Context, m *member[view]) (view, []string, error) {
		return askSentinel(ctx, m, t.primary, s.now)
	}
	w.connect = func(address string) *redis.Client {
		return redis.NewClient(s.sentinels.options(t.sentinels, address, nil))
	}
	w.conclude = w.decide
	w.convene()
	return w
}

// askSentinel asks for the view of a Sentinel, and sometimes for the addresses of the others.
func askSentinel(ctx context.Context, m *member[view], primary string, now func() time.Time) (v view, others []string, err error) {
	p := packet{pipe: m.client.Pipeline()}
	id := p.pipe.Do(ctx, "sentinel", "myid")
	// During a failover the leader already names the new primary as the address, and still the old
	// one in the properties. So the epoch belongs to the address only if that is the same before
	// and after.
	address := func() *redis.StringSliceCmd {
		cmd := redis.NewStringSliceCmd(ctx, "sentinel", "get-master-addr-by-name", primary)
		_ = p.pipe.Process(ctx, cmd) // only queued
		return cmd
	}
	before := address()
	properties := redis.NewMapStringStringCmd(ctx, "sentinel", "master", primary)
	_ = p.pipe.Process(ctx, properties)
	after := address()
	known := redis.NewMapStringStringSliceCmd(ctx, "sentinel", "sentinels", primary)
	if m.lists() {
		_ = p.pipe.Process(ctx, known)
	}
	v.asked = now()
	if _, err := p.exec(ctx); err != nil {
		if errors.Is(err, redis.Nil) { // for the address of a primary that it does not watch
			err = cmp.Or(properties.Err(), err)
		}
		return view{}, nil, explainSentinel(ctx, err)
	}
	if v.id, err = id.Text(); err != nil || v.id == "" {
		return view{}, nil, errNotSentinel
	}
	if v.primary, err = joinAddress(before.Val()); err != nil {
		return view{}, nil, err
	}
	if again, err := joinAddress(after.Val()); err != nil || again != v.primary {
		return view{}, nil, errDisagree
	}
	epoch, err := strconv.ParseInt(properties.Val()["config-epoch"], 10, 64)
	if err != nil {
		return view{}, nil, errNotSentinel
	}
	more, err := strconv.ParseUint(properties.Val()["num-other-sentinels"], 10, 16)
	if err != nil {
		return view{}, nil, errNotSentinel
	}
	v.epoch, v.voters = epoch, int(more)+1
	for _, other := range known.Val() {
		if at, err := joinAddress([]string{other["ip"], other["port"]}); err == nil {
			others = append(others, at)
		}
	}
	return v, others, nil
}

// joinAddress returns the address of a host and a port that a server names.
func joinAddress(parts []string) (string, error) {
	if len(parts) != 2 || parts[0] == "" || len(parts[0]) > 253 {
		return "", errNotSentinel
	}
	if port, err := strconv.ParseUint(parts[1], 10, 16); err != nil || port == 0 {
		return "", errNotSentinel
	}
	return net.JoinHostPort(parts[0], parts[1]), nil
}

// decide uses the primary that the Sentinels name now. The lock is held.
func (w *watch) decide() error {
	var views []view
	for _, m := range w.members {
		views = append(views, m.view)
	}
	primary, epoch, proof, err := decide(views, w.s.now())
	old := w.current.Load()
	switch {
	case err == nil && old != nil && old.node.address == primary:
		if proof.Before(old.proof) {
			proof = old.proof
		}
		w.current.Store(&reign{old.node, epoch, proof})
	case err == nil:
		w.current.Store(&reign{w.s.newNode(primary), epoch, proof})
		if old != nil {
			w.s.log.Warn("the Sentinels name another primary of Redis; it is asked from now on")
			w.s.afterAnswers(old.node.close)
		}
	case old != nil && (epoch > old.epoch && primary != old.node.address || errors.Is(err, errDisagree)):
		// There is another primary. Whether it still is one is not known yet.
		w.current.Store(&reign{old.node, old.epoch, time.Time{}})
	}
	return err
}

func (w *watch) owner(_ string, now time.Time) place {
	if r := w.current.Load(); r != nil && within(r.proof, now, trustFor) {
		return place{r.node, settled}
	}
	return place{}
}

func (w *watch) await(ctx context.Context, key string, until time.Time) (place, error) {
	return w.council.await(ctx, until, func() place { return w.owner(key, w.s.now()) })
}

func (w *watch) moved(_ context.Context, _ string, at place, err error) bool {
	if err != nil {
		w.askNow() // the primary may have failed
	}
	r := w.current.Load()
	return r == nil || r.node != at.node || r.proof.IsZero()
}

func (w *watch) elsewhere(to *redirection) (*node, error) { return nil, to }

func (w *watch) nodes(ctx context.Context) ([]*node, error) {
	at, err := w.await(ctx, "", w.s.now().Add(max(w.s.timeout, trustFor)))
	if err != nil {
		return nil, err
	}
	return []*node{at.node}, nil
}

func (w *watch) available() bool {
	at := w.owner("", w.s.now())
	return at.node != nil && at.node.breaker.Available()
}

func (w *watch) close() {
	w.dissolve()
	if r := w.current.Load(); r != nil {
		r.node.close()
	}
}

// explainSentinel is explain for questions to a Sentinel.
func explainSentinel(ctx context.Context, err error) error {
	const asking = "asking a Sentinel: "
	reply, ok := errors.AsType[redis.Error](err)
	if !ok || errors.Is(err, redis.Nil) {
		return errors.New(asking + explain(ctx, err).Error())
	}
	code, text, _ := strings.Cut(reply.Error(), " ")
	for _, h := range sentinelHints {
		if h.code == code && strings.HasPrefix(strings.ToLower(text), h.text) {
			return errors.New(asking + answered(reply, h.hint))
		}
	}
	return errors.New(asking + answered(reply, ""))
}

var sentinelHints = []struct{ code, text, hint string }{
	{"WRONGPASS", "", "the user or the password of the Sentinels is wrong: sessions.sentinel.username and password_file, or sentinel_username and sentinel_password in redis_url"},
	{"NOAUTH", "", "the Sentinels require a password of their own: set sessions.sentinel.password_file, or sentinel_password in redis_url"},
	{"NOPERM", "", "the user of the Sentinels needs +sentinel|myid +sentinel|master +sentinel|get-master-addr-by-name +sentinel|sentinels"},
	{"ERR", "no such master with that name", "the Sentinels watch no primary of the name in redis_url or sessions.sentinel.master_name; SENTINEL MASTERS lists the names"},
	{"ERR", "auth <password> called without any password", "the Sentinels have no password, and one is configured for them; leave it out"},
	{"ERR", "unknown command", "it is no Sentinel; write redis:// for a server that has sessions itself"},
	{"ERR", "unknown sentinel subcommand", "the Sentinels must be of Redis 6.2 or newer, or Valkey"},
	{"ERR", "unknown subcommand", "the Sentinels must be of Redis 6.2 or newer, or Valkey"},
}
