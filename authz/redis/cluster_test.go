package redis_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/redis"
)

func clusterURL(c *authztest.Cluster) string {
	user := ""
	if p := c.Servers[0].Password; p != "" {
		user = url.UserPassword("", p).String() + "@"
	}
	return "redis+cluster://" + user + c.Hosts()
}

// keyOn returns the id of a session whose key is on a server.
func keyOn(t testing.TB, c *authztest.Cluster, server *authztest.Redis) (id string) {
	t.Helper()
	for i := 0; ; i++ {
		id := fmt.Sprint("on", i)
		if primary, _ := c.Of(t, "session:42:"+id); primary == server {
			return id
		}
	}
}

func TestClusterConformance(t *testing.T) {
	t.Parallel()
	c := authztest.StartCluster(t, authztest.ClusterConfig{Password: password})
	for _, key := range []string{"", "session:42:s1", "{a}b", "a{b}c{d}"} {
		slot := c.Servers[0].Do(t, "CLUSTER", "KEYSLOT", key)
		if got := redis.SlotOf(key); slot != ":"+strconv.Itoa(got) {
			t.Errorf("slot of %q: %d, want %s", key, got, slot)
		}
	}
	put := func(command string, value ...string) func(testing.TB, string, string) {
		return func(t testing.TB, user, id string) {
			key := "session:" + user + ":" + id
			server, _ := c.Of(t, key)
			server.Do(t, append([]string{command, key}, value...)...)
		}
	}
	for _, tracked := range []bool{false, true} {
		t.Run(fmt.Sprint("tracked ", tracked), func(t *testing.T) {
			authztest.RunSessions(t, func(t testing.TB) authztest.SessionsFixture {
				for _, server := range c.Servers[:3] {
					server.Do(t, "FLUSHALL")
				}
				store := open(t, redis.Config{URL: clusterURL(c), Tracked: tracked})
				heard := func(do func(testing.TB, string, string)) func(testing.TB, string, string) {
					return func(t testing.TB, user, id string) {
						do(t, user, id)
						if tracked {
							eventually(t, func() error { return store.Heard(t.Context()) })
						}
					}
				}
				if tracked {
					wantTracks(t, store)
				}
				return authztest.SessionsFixture{
					Sessions: store, Put: heard(put("SET", "1", "EX", "3600")), Delete: heard(put("DEL")),
					PutAs: map[string]func(testing.TB, string, string){"hash": heard(put("HSET", "f", "v"))},
				}
			})
			if err := open(t, redis.Config{URL: clusterURL(c)}).CheckTracking(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("commands", func(t *testing.T) {
		wantCommands(t, admin(t, redis.Config{URL: clusterURL(c)}), func(id string) { put("SET", "1", "EX", "3600")(t, "42", id) })
		e, err := open(t, redis.Config{URL: clusterURL(c)}).Examine(t.Context())
		if err != nil || !e.TellsRole || len(e.Excess) != 5 || e.Protected != "loopback" {
			t.Errorf("Examine = %+v, %v", e, err)
		}
	})
}

// wantCommands checks the commands of an operator with sessions that are on several servers.
func wantCommands(t *testing.T, admin *redis.Admin, put func(id string)) {
	t.Helper()
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprint("of", i))
		put(want[i])
	}
	slices.Sort(want)
	listed := func() []string {
		return slices.DeleteFunc(ids(t, admin, "42"), func(id string) bool { return !strings.HasPrefix(id, "of") })
	}
	if got := listed(); !slices.Equal(got, want) {
		t.Errorf("List = %q, want %q", got, want)
	}
	if err := admin.End(t.Context(), "42", append([]string{"nothing"}, want[3:]...)); err != nil {
		t.Error(err)
	}
	if got := listed(); !slices.Equal(got, want[:3]) {
		t.Errorf("after End, List = %q, want %q", got, want[:3])
	}
	if alive, err := admin.Alive(t.Context(), authz.Session{UserID: "42", ID: want[0]}); err != nil || !alive {
		t.Errorf("Alive = %v, %v", alive, err)
	}
}

// TestClusterFaults ends primaries in several ways, and moves slots, while users log out.
func TestClusterFaults(t *testing.T) {
	t.Parallel()
	c := authztest.StartCluster(t, authztest.ClusterConfig{})
	var hosts []string
	for _, server := range c.Servers {
		hosts = append(hosts, server.Addr)
	}
	app := goredis.NewClusterClient(&goredis.ClusterOptions{
		Addrs: hosts, ContextTimeoutEnabled: true, DialTimeout: 200 * time.Millisecond, MaxRedirects: -1, PipelinePoolSize: -1,
	})
	t.Cleanup(func() { _ = app.Close() })
	stores := []checked{
		{"strict", open(t, redis.Config{URL: clusterURL(c), Timeout: limit}), 0},
		{"tracked", open(t, redis.Config{URL: clusterURL(c), Timeout: limit, Tracked: true}), promise},
	}
	l := startLoad(t, 1, func(ctx context.Context, key string) (*goredis.Client, error) {
		app.ReloadState(ctx) // soon; a client of one server follows no redirection
		return app.MasterForKey(ctx, key)
	}, stores...)
	l.wantLogouts(50, 1)
	pairs := [][2]*authztest.Redis{{c.Servers[0], c.Servers[3]}, {c.Servers[1], c.Servers[4]}, {c.Servers[2], c.Servers[5]}}

	t.Log("slots move")
	for i := range 5 {
		id := l.kept[i]
		key := "session:42:" + id
		from, _ := c.Of(t, key)
		to := c.Servers[0]
		if from == to {
			to = c.Servers[1]
		}
		move := c.Move(t, key, from, to)
		l.wantLogouts(3, 1)
		move.Key(t, key)
		l.wantLogouts(3, 1)
		move.Rest(t)
		move.End(t)
	}
	l.wantWell(stores...)
	l.wantLogouts(30, 1)

	t.Log("a primary is killed")
	primary, replica := pairs[0][0], pairs[0][1]
	primary.Stop(t)
	c.AwaitPrimary(t, replica)
	l.wantWell(stores...)
	primary.Start(t) // its configuration makes it a replica
	c.AwaitReplica(t, primary)
	l.wantLogouts(50, 1)

	t.Log("a primary hangs, is replaced, and answers again")
	primary, replica = pairs[1][0], pairs[1][1]
	primary.Pause(t)
	c.AwaitPrimary(t, replica)
	l.wantWell(stores...)
	primary.Resume(t)
	c.AwaitReplica(t, primary)
	l.wantLogouts(50, 1)

	t.Log("a replica is promoted while its primary answers")
	primary, replica = pairs[2][0], pairs[2][1]
	replica.Do(t, "CLUSTER", "FAILOVER")
	c.AwaitPrimary(t, replica)
	c.AwaitReplica(t, primary)
	l.wantWell(stores...)
	l.wantLogouts(50, 1)
}

// TestClusterMovesASlot checks sessions of a slot that is on its way: those that have been moved,
// those that have not, and those that begin and end meanwhile.
func TestClusterMovesASlot(t *testing.T) {
	t.Parallel()
	c := authztest.StartCluster(t, authztest.ClusterConfig{})
	from, to := c.Servers[0], c.Servers[1]
	id := keyOn(t, c, from)
	key := "session:42:" + id
	from.Do(t, "SET", key, "1")
	strict, tracked := open(t, redis.Config{URL: clusterURL(c)}), open(t, redis.Config{URL: clusterURL(c), Tracked: true})
	operator := admin(t, redis.Config{URL: clusterURL(c)})
	want := func(alive bool) {
		t.Helper()
		wantAlive(t, strict, id, alive)
		wantAlive(t, tracked, id, alive)
	}
	eventually(t, func() error {
		if _, err := tracked.Alive(t.Context(), authz.Session{UserID: "42", ID: id}); err != nil {
			return err
		}
		if alive, known := tracked.Kept("42", id); !alive || !known {
			return errors.New("nothing is kept")
		}
		return nil
	})
	move := c.Move(t, key, from, to)
	want(true)
	move.Key(t, key)
	want(true)
	eventually(t, func() error { // the servers say that the slot is moving
		if _, known := tracked.Kept("42", id); known {
			return errors.New("a fact is kept")
		}
		return nil
	})
	for range 3 {
		want(true)
	}
	if _, known := tracked.Kept("42", id); known {
		t.Error("a fact is kept while the slot moves")
	}
	sessions, err := operator.List(t.Context(), "42")
	if err != nil || len(sessions) != 1 || sessions[0].ID != id {
		t.Errorf("List = %+v, %v", sessions, err)
	}
	if err := operator.End(t.Context(), "42", []string{id}); err != nil {
		t.Error(err)
	}
	want(false)
	to.DoAll(t, []string{"ASKING"}, []string{"SET", key, "1"}) // begins while the slot moves
	want(true)
	move.End(t)
	want(true)
	to.Do(t, "DEL", key)
	wantAlive(t, strict, id, false)
	eventually(t, func() error { // in tracked too, within the promise
		alive, err := tracked.Alive(t.Context(), authz.Session{UserID: "42", ID: id})
		if alive {
			err = errors.New("alive")
		}
		return err
	})
}

// TestClusterMinority checks that a primary that the majority does not confirm is not believed for
// longer than promised, although it answers.
func TestClusterMinority(t *testing.T) {
	t.Parallel()
	c := authztest.StartCluster(t, authztest.ClusterConfig{Args: []string{
		"--cluster-allow-reads-when-down", "yes", "--cluster-require-full-coverage", "no",
	}})
	id := keyOn(t, c, c.Servers[0])
	c.Servers[0].Do(t, "SET", "session:42:"+id, "1")
	strict, tracked := open(t, redis.Config{URL: clusterURL(c)}), open(t, redis.Config{URL: clusterURL(c), Tracked: true})
	wantTracks(t, tracked)
	for _, store := range []*redis.Sessions{strict, tracked} {
		wantAlive(t, store, id, true)
	}
	for _, server := range c.Servers[1:] {
		server.Pause(t)
	}
	cut := time.Now()
	var asking sync.WaitGroup
	for name, store := range map[string]*redis.Sessions{"strict": strict, "tracked": tracked} {
		asking.Go(func() {
			last := cut
			for {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				began := time.Now()
				alive, err := store.Alive(ctx, authz.Session{UserID: "42", ID: id})
				cancel()
				if err == nil && alive {
					last = began
					if time.Since(cut) < recovery {
						continue
					}
				} else if err == nil || !strings.Contains(err.Error(), "only 1 of 3 primaries of the cluster answer, which is no majority") && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: Alive = %v, %v", name, alive, err)
				}
				break
			}
			if late := last.Sub(cut); late >= redis.TrustFor {
				t.Errorf("%s: allowed %v after the majority was lost", name, late)
			}
		})
	}
	asking.Wait()
	for _, server := range c.Servers[1:] {
		server.Resume(t)
	}
	for _, store := range []*redis.Sessions{strict, tracked} {
		eventually(t, func() error { return store.Check(t.Context()) })
		wantAlive(t, store, id, true)
	}
}

// TestClusterStreams checks that facts of other servers are used while one sends no invalidation
// messages.
func TestClusterStreams(t *testing.T) {
	t.Parallel()
	c := authztest.StartCluster(t, authztest.ClusterConfig{})
	var ids []string
	for _, server := range c.Servers[:3] {
		id := keyOn(t, c, server)
		ids = append(ids, id)
		server.Do(t, "SET", "session:42:"+id, "1")
	}
	store := open(t, redis.Config{URL: clusterURL(c), Tracked: true})
	kept := func(id string) func() error {
		return func() error {
			wantAlive(t, store, id, true)
			if alive, known := store.Kept("42", id); !known || !alive {
				return errors.New("nothing is kept about " + id)
			}
			return nil
		}
	}
	for _, id := range ids {
		eventually(t, kept(id))
	}
	c.Servers[0].Do(t, "ACL", "SETUSER", "default", "-client|tracking")
	c.Servers[0].Do(t, "CLIENT", "KILL", "TYPE", "pubsub")
	eventually(t, func() error {
		if kept(ids[0])() == nil {
			return errors.New("a fact of the server without messages is kept")
		}
		return nil
	})
	for _, id := range ids[1:] {
		if err := kept(id)(); err != nil {
			t.Error(err)
		}
	}
	c.Servers[0].Do(t, "DEL", "session:42:"+ids[0])
	wantAlive(t, store, ids[0], false)
}

// TestClusterErrors checks what is said about servers that are not used.
func TestClusterErrors(t *testing.T) {
	t.Parallel()
	c := authztest.StartCluster(t, authztest.ClusterConfig{Password: password})
	plain, sentinel := authztest.StartRedis(t, password), authztest.StartSentinel(t, "")
	for _, server := range c.Servers {
		server.Do(t, "ACL", "SETUSER", "reader", "on", ">reader-canary", "~session:*", "+exists", "+role", "+cluster|nodes", "+asking")
		server.Do(t, "ACL", "SETUSER", "few", "on", ">few-canary", "~session:*", "+exists", "+role")
	}
	at := func(user, secret, hosts string) string { return "redis+cluster://" + user + ":" + secret + "@" + hosts }
	hosts := c.Hosts()
	for _, tt := range []struct{ want, name, url string }{
		{"", "all rights", at("", password, hosts)},
		{"", "the documented rights", at("reader", "reader-canary", hosts)},
		{"", "one server of six", at("", password, c.Servers[5].Addr)},
		{"", "one that is down", at("", password, "127.0.0.1:1,"+hosts)},
		{"", "the form of go-redis", "redis://:" + password + "@" + c.Servers[0].Addr + "?addr=" + c.Servers[1].Addr},
		{"NOPERM; for a cluster the user needs +cluster|nodes and +asking", "few rights", at("few", "few-canary", hosts)},
		{"WRONGPASS; the user or password in redis_url is wrong", "a wrong password", at("", "canary", hosts)},
		{"NOAUTH; it requires a password, and redis_url has none", "no password", "redis+cluster://" + hosts},
		{"the server belongs to no cluster; write redis:// instead of redis+cluster://", "no cluster", at("", password, plain.Addr)},
		{"the server is a Sentinel, which has no sessions; write redis+sentinel://", "a Sentinel", "redis+cluster://" + sentinel.Addr},
		{"no server of the cluster answers; redis cannot be reached: connection refused", "nobody listens", "redis+cluster://127.0.0.1:1"},
		{"DB index is out of range", "no such database", at("", password, hosts) + "/3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			config := redis.Config{URL: tt.url}
			if tt.want != "" {
				config.Timeout = time.Second
			}
			store := open(t, config)
			err := store.Check(t.Context())
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Check = %v\nwant …%s…", err, tt.want)
			}
			noSecret(t, err)
			if alive, err := store.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); alive || (err == nil) != (tt.want == "") {
				t.Errorf("Alive = %v, %v", alive, err)
			}
		})
	}
}
