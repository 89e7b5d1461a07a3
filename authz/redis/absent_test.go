package redis_test

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/redis"
)

// TestAbsentConformance runs the rule absent with each kind of template, and with several, in both
// modes.
func TestAbsentConformance(t *testing.T) {
	t.Parallel()
	of := redis.Absent{KeyTemplates: []string{"revoked:{user_id}:{jti}"}, RevokedBefore: "revoked_before:{user_id}"}
	all := redis.Absent{KeyTemplates: []string{"revoked:{user_id}:{jti}", "revoked:{jti}", "{user_id}/revoked"}, RevokedBefore: "revoked:before:{{user_id}}"}
	for _, tt := range []struct {
		name    string
		absent  redis.Absent
		of      string // with %[1]s for the user, %[2]s for the session
		id      string
		user    string
		before  string
		tracked bool
	}{
		{"one and a time", of, "revoked:%[1]s:%[2]s", "", "", "revoked_before:%s", false},
		{"one and a time", of, "revoked:%[1]s:%[2]s", "", "", "revoked_before:%s", true},
		{"all", all, "revoked:%[1]s:%[2]s", "revoked:%s", "%s/revoked", "revoked:before:{%s}", false},
		{"all", all, "revoked:%[1]s:%[2]s", "revoked:%s", "%s/revoked", "revoked:before:{%s}", true},
		{"a time only", redis.Absent{RevokedBefore: "{user_id}"}, "", "", "", "%s", true},
	} {
		t.Run(fmt.Sprintf("%s, tracked %v", tt.name, tt.tracked), func(t *testing.T) {
			t.Parallel()
			server := authztest.StartRedis(t, "")
			authztest.RunRevocations(t, func(t testing.TB) authztest.RevocationsFixture {
				server.Do(t, "FLUSHALL")
				c := redis.Config{URL: server.URL(), Absent: &tt.absent, Tracked: tt.tracked}
				s := open(t, c)
				if tt.tracked {
					wantTracks(t, s)
				}
				set := func(t testing.TB, key, value string) {
					server.Do(t, "SET", key, value, "EX", "3600")
					if tt.tracked {
						hear(t, s)
					}
				}
				f := authztest.RevocationsFixture{
					Sessions: s,
					RevokeIssued: func(t testing.TB, user string, upTo time.Time) {
						set(t, fmt.Sprintf(tt.before, user), strconv.FormatInt(upTo.Unix(), 10))
					},
				}
				if tt.of != "" {
					f.Revoke = func(t testing.TB, user, id string) { set(t, fmt.Sprintf(tt.of, user, id), "1") }
				}
				if tt.id != "" {
					f.RevokeID = func(t testing.TB, id string) { set(t, fmt.Sprintf(tt.id, id), "1") }
					f.RevokeUser = func(t testing.TB, user string) { set(t, fmt.Sprintf(tt.user, user), "1") }
				}
				return f
			})
		})
	}
}

// A session without an id is alive unless a key of its user ends it. If a key is of the id too, it
// is not alive.
func TestAbsentWithoutASessionID(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	server.Do(t, "SET", "ended:1", "1")
	for _, tt := range []struct {
		want     bool
		template string
		session  authz.Session
	}{
		{true, "ended:{user_id}", authz.Session{UserID: "2"}},
		{false, "ended:{user_id}", authz.Session{UserID: "1"}},
		{true, "ended:{user_id}", authz.Session{UserID: "2", ID: "not:valid"}},
		{false, "ended:{user_id}", authz.Session{UserID: "2:", ID: "s"}},
		{false, "ended:{jti}", authz.Session{UserID: "2"}},
		{false, "ended:{jti}", authz.Session{UserID: "2", ID: "not:valid"}},
		{false, "ended:{user_id}:{jti}", authz.Session{UserID: "2"}},
		{true, "ended:{user_id}:{jti}", authz.Session{UserID: "2", ID: "s"}},
	} {
		s := open(t, redis.Config{URL: server.URL(), Absent: &redis.Absent{KeyTemplates: []string{tt.template}}})
		if alive, err := s.Alive(t.Context(), tt.session); err != nil || alive != tt.want {
			t.Errorf("%s, %+v: Alive = %v, %v; want %v", tt.template, tt.session, alive, err, tt.want)
		}
	}
}

// TestRevokedBeforeValues checks what values of the key mean, in both modes. A value that is no
// time is an error, of which nobody else's checks suffer.
func TestRevokedBeforeValues(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	absent := &redis.Absent{KeyTemplates: []string{"revoked:{jti}"}, RevokedBefore: "before:{user_id}"}
	var logged authztest.Buffer
	strict := open(t, redis.Config{URL: server.URL(), Absent: absent, Log: slog.New(slog.NewTextHandler(&logged, nil))})
	tracked := openTracked(t, redis.Config{URL: server.URL(), Absent: absent})
	issued := time.Unix(1_700_000_000, 0)
	var users atomic.Int64
	for _, tt := range []struct {
		want  string // alive, ended or error
		value string
	}{
		{"ended", "1700000000"},
		{"ended", "1700000001"},
		{"alive", "1699999999"},
		{"ended", "1700000000.25"},
		{"alive", "1699999999.999999"},
		{"ended", "1700000000000"}, // milliseconds
		{"ended", "1700000000999"},
		{"alive", "1699999999999"},
		{"ended", "253402300799"}, // the last second of the year 9999
		{"alive", "0"},
		{"ended", "2023-11-14T22:13:20Z"},
		{"alive", "2023-11-14T22:13:19.9Z"},
		{"ended", "2023-11-14T23:13:20+01:00"},
		{"alive", "2023-11-14T23:13:20+02:00"},
		{"error", ""},
		{"error", " 1700000000"},
		{"error", "1700000000\n"},
		{"error", "-1"},
		{"error", "+1700000000"},
		{"error", "1.7e9"},
		{"error", "1,700,000,000"},
		{"error", ".5"},
		{"error", "1700000000.x"},
		{"error", "0x6553f100"},
		{"error", "NaN"},
		{"error", "Infinity"},
		{"error", "true"},
		{"error", "null"},
		{"error", `"1700000000"`},
		{"error", `{"at":1700000000}`},
		{"error", "2023-11-14"},
		{"error", "2023-11-14 22:13:20"},
		{"error", "1700000000000000"}, // microseconds
		{"error", strings.Repeat("9", 1000)},
		{"error", "1700000000." + strings.Repeat("9", 1000)},
	} {
		user := strconv.FormatInt(users.Add(1), 10)
		server.Do(t, "SET", "before:"+user, tt.value)
		hear(t, tracked)
		for mode, s := range map[string]*redis.Sessions{"strict": strict, "tracked": tracked} {
			for range 2 { // the second one from a fact
				alive, err := s.Alive(t.Context(), authz.Session{UserID: user, ID: "s", Issued: issued})
				if got := map[bool]string{true: "alive", false: "ended"}[alive]; err == nil && got != tt.want || err != nil && (tt.want != "error" || alive) {
					t.Errorf("%s, %.40q: %v, %v; want %s", mode, tt.value, alive, err, tt.want)
				}
				if tt.want == "error" && (err == nil || !strings.Contains(err.Error(), "sessions.revoked_before_template is no time")) {
					t.Errorf("%s, %.40q: %v", mode, tt.value, err)
				}
			}
		}
	}
	server.Do(t, "HSET", "before:hash", "f", "v")
	for range 20 {
		if alive, err := strict.Alive(t.Context(), authz.Session{UserID: "hash", ID: "s", Issued: issued}); alive || err == nil {
			t.Errorf("a hash: %v, %v", alive, err)
		}
	}
	for _, s := range []*redis.Sessions{strict, tracked} {
		if !s.Available() {
			t.Error("values that are no time made Redis unavailable")
		}
		if alive, err := s.Alive(t.Context(), authz.Session{UserID: "nobody", ID: "s", Issued: issued}); !alive || err != nil {
			t.Errorf("another user: %v, %v", alive, err)
		}
	}
	if n := strings.Count(logged.String(), "is no time"); n != 1 {
		t.Errorf("the log has %d warnings, want 1:\n%s", n, logged.String())
	}
}

// TestAbsentOnSeveralServers checks that each key of a session must be answered for: the keys of one
// session are on several servers of a cluster.
func TestAbsentOnSeveralServers(t *testing.T) {
	t.Parallel()
	c := authztest.StartCluster(t, authztest.ClusterConfig{Args: []string{"--cluster-replica-no-failover", "yes", "--cluster-require-full-coverage", "no"}})
	templates := []string{"revoked:%[2]s", "revoked:%[1]s", "before:%[1]s"}
	config := redis.Config{
		URL: clusterURL(c), Timeout: time.Second,
		Absent: &redis.Absent{KeyTemplates: []string{"revoked:{jti}", "revoked:{user_id}"}, RevokedBefore: "before:{user_id}"},
	}
	stores := map[string]*redis.Sessions{"strict": open(t, config), "tracked": openTracked(t, config)}
	away := c.Servers[0]
	issued := time.Unix(1_700_000_000, 0)
	// with returns a new session of which only the wanted key is on the server away, or none.
	made := 0
	with := func(wanted int) authz.Session {
		for {
			made++
			session := authz.Session{UserID: fmt.Sprint("u", made), ID: fmt.Sprint("s", made), Issued: issued}
			fits := true
			for i, template := range templates {
				on, _ := c.Of(t, fmt.Sprintf(template, session.UserID, session.ID))
				fits = fits && (on == away) == (i == wanted)
			}
			if fits {
				return session
			}
		}
	}
	for name, s := range stores {
		for i, template := range templates {
			session := with(i)
			if alive, err := s.Alive(t.Context(), session); !alive || err != nil {
				t.Errorf("%s, %d on the server: %v, %v; want alive", name, i, alive, err)
			}
			away.Do(t, "SET", fmt.Sprintf(template, session.UserID, session.ID), "1700000000")
			eventually(t, func() error {
				if alive, err := s.Alive(t.Context(), session); alive || err != nil {
					return fmt.Errorf("%s, key %d: %v, %w; want ended", name, i, alive, err)
				}
				return nil
			})
		}
	}
	away.Pause(t)
	for name, s := range stores {
		for i := range templates {
			if alive, err := s.Alive(t.Context(), with(i)); alive || err == nil {
				t.Errorf("%s, key %d on a server that does not answer: %v, %v; want an error", name, i, alive, err)
			}
		}
		if alive, err := s.Alive(t.Context(), with(-1)); !alive || err != nil {
			t.Errorf("%s, all keys on other servers: %v, %v; want alive", name, alive, err)
		}
	}
}

func TestAbsentTemplates(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		want   string // "" for a good one
		absent redis.Absent
	}{
		{"", redis.Absent{KeyTemplates: []string{"revoked:{jti}"}}},
		{"", redis.Absent{KeyTemplates: []string{"revoked:{user_id}"}}},
		{"", redis.Absent{KeyTemplates: []string{"{jti}"}}},
		{"", redis.Absent{KeyTemplates: []string{"{{user_id}}:{jti}"}}},
		{"", redis.Absent{RevokedBefore: "before:{{user_id}}"}},
		{"sessions.key_template: missing", redis.Absent{}},
		{"contains {user_id} 0 times and {jti} 0 times", redis.Absent{KeyTemplates: []string{"revoked"}}},
		{"contains {user_id} 0 times and {jti} 0 times", redis.Absent{KeyTemplates: []string{""}}},
		{"contains {user_id} 2 times and {jti} 0 times", redis.Absent{KeyTemplates: []string{"{user_id}:{user_id}"}}},
		{"has no separator between {jti} and {user_id}", redis.Absent{KeyTemplates: []string{"revoked:{jti}-{user_id}"}}},
		{"contains braces other than", redis.Absent{KeyTemplates: []string{"revoked:{sid}:{jti}"}}},
		{"longer than 512 bytes", redis.Absent{KeyTemplates: []string{"{jti}", "{jti}" + strings.Repeat("x", 512)}}},
		{"is for all tokens of a user", redis.Absent{RevokedBefore: "before:{jti}"}},
		{"is for all tokens of a user", redis.Absent{RevokedBefore: "before"}},
		{"is for all tokens of a user", redis.Absent{RevokedBefore: "before:{user_id}:{jti}"}},
	} {
		err := redis.Config{URL: "redis://h", Absent: &tt.absent}.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: %v; want %q", tt.absent, err, tt.want)
		}
	}
}

// TestRevoke checks the keys that an operator writes: a revocation is never shortened, and never
// goes back in time.
func TestRevoke(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	admin, err := redis.NewAdmin(redis.Config{URL: server.URL(), Timeout: patience, Absent: &redis.Absent{KeyTemplates: []string{"r:{jti}"}, RevokedBefore: "b:{user_id}"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	const hour = 3600
	far := strconv.FormatInt(time.Now().Add(1000*time.Hour).Unix(), 10)
	for _, tt := range []struct {
		name      string
		set       []string // before
		session   string
		least     int // the time to live afterwards, in seconds; -1 for none
		keeps     bool
		wantEnded bool
	}{
		{"a session", nil, "s", hour, false, true},
		{"a session with less left", []string{"SET", "r:s", "1", "EX", "60"}, "s", hour, false, true},
		{"a session with more left", []string{"SET", "r:s", "x", "EX", "36000"}, "s", 36000, true, true},
		{"a session with 300 years left", []string{"SET", "r:s", "x", "EX", "9999999999"}, "s", 9999999999, true, true},
		{"a session that does not expire", []string{"SET", "r:s", "x"}, "s", -1, true, true},
		{"a session of another type", []string{"HSET", "r:s", "f", "v"}, "s", -1, true, true},
		{"all", nil, "", hour, false, true},
		{"all, earlier", []string{"SET", "b:u", "1000", "EX", "60"}, "", hour, false, true},
		{"all, earlier and longer", []string{"SET", "b:u", "1000", "EX", "36000"}, "", 36000, false, true},
		{"all, earlier and for ever", []string{"SET", "b:u", "1000"}, "", -1, false, true},
		{"all, later", []string{"SET", "b:u", far, "EX", "60"}, "", hour, true, true},
		{"all, later and longer", []string{"SET", "b:u", far, "EX", "36000"}, "", 36000, true, true},
		{"all, no time", []string{"SET", "b:u", "yes", "EX", "60"}, "", hour, false, true},
		{"all, another type", []string{"HSET", "b:u", "f", "v"}, "", -1, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server.Do(t, "FLUSHALL")
			if tt.set != nil {
				server.Do(t, tt.set...)
			}
			key := "b:u"
			if tt.session != "" {
				key = "r:" + tt.session
			}
			if err := admin.Revoke(t.Context(), "u", tt.session, time.Hour, 5*time.Second); err != nil {
				t.Fatal(err)
			}
			left, err := strconv.Atoi(strings.TrimPrefix(server.Do(t, "TTL", key), ":"))
			if err != nil || tt.least == -1 && left != -1 || tt.least > 0 && (left < tt.least-30 || left > tt.least) {
				t.Errorf("TTL %d, %v; want %d", left, err, tt.least)
			}
			for ahead, want := range map[time.Duration]bool{-time.Minute: false, 4 * time.Second: false, 10 * time.Second: tt.session == "" && !tt.keeps} {
				session := authz.Session{UserID: "u", ID: "s", Issued: time.Now().Add(ahead)}
				if alive, err := admin.Alive(t.Context(), session); err != nil || alive != want {
					t.Errorf("issued %v from now: alive %v, %v; want %v", ahead, alive, err, want)
				}
			}
		})
	}
}

// TestTimedKeyMovesAway asks about a key with a time while its slot moves to another server, which
// then has the key.
func TestTimedKeyMovesAway(t *testing.T) {
	t.Parallel()
	c := authztest.StartCluster(t, authztest.ClusterConfig{})
	s := open(t, redis.Config{URL: clusterURL(c), Absent: &redis.Absent{RevokedBefore: "before:{user_id}"}})
	from, _ := c.Of(t, "before:42")
	to := c.Servers[0]
	if to == from {
		to = c.Servers[1]
	}
	from.Do(t, "SET", "before:42", "1700000000")
	move := c.Move(t, "before:42", from, to)
	move.Key(t, "before:42")
	for issued, want := range map[int64]bool{1_700_000_000: false, 1_700_000_001: true} {
		if alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", Issued: time.Unix(issued, 0)}); err != nil || alive != want {
			t.Errorf("issued at %d: %v, %v; want %v", issued, alive, err, want)
		}
	}
	move.Rest(t)
	move.End(t)
}

// TestExamineAsksAsTheServiceDoes checks that an examination needs the rights of each kind of key,
// and no others.
func TestExamineAsksAsTheServiceDoes(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	server.Do(t, "ACL", "SETUSER", "exists", "on", "nopass", "~revoked*", "+exists")
	server.Do(t, "ACL", "SETUSER", "get", "on", "nopass", "~revoked*", "+get")
	key, before := []string{"revoked:{jti}"}, "revoked_before:{user_id}"
	for _, tt := range []struct {
		want   string // in the error; "" for none
		user   string
		absent redis.Absent
	}{
		{"", "exists", redis.Absent{KeyTemplates: key}},
		{"the user needs +exists", "get", redis.Absent{KeyTemplates: key}},
		{"", "get", redis.Absent{RevokedBefore: before}},
		{"the user needs +get", "exists", redis.Absent{RevokedBefore: before}},
		{"the user needs +get", "exists", redis.Absent{KeyTemplates: key, RevokedBefore: before}},
	} {
		e, err := open(t, redis.Config{URL: "redis://" + tt.user + ":any@" + server.Addr, Absent: &tt.absent}).Examine(t.Context())
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("as %s, %+v: %v, want %q", tt.user, tt.absent, err, tt.want)
		}
		if len(e.Excess) > 0 {
			t.Errorf("as %s, %+v: excess %q", tt.user, tt.absent, e.Excess)
		}
	}
}
