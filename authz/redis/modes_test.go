package redis_test

import (
	"net"
	"strings"
	"testing"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/redis"
)

// TestWrongServers checks what is said about servers that do not have all sessions, and about
// databases that a server does not have. It is said at the start, and not only to some users.
func TestWrongServers(t *testing.T) {
	t.Parallel()
	plain, locked := authztest.StartRedis(t, ""), authztest.StartRedis(t, password)
	sentinel, lockedSentinel := authztest.StartSentinel(t, ""), authztest.StartSentinel(t, password)
	cluster, lockedCluster, served := authztest.StartRedisCluster(t, ""), authztest.StartRedisCluster(t, password), authztest.StartRedisCluster(t, "")
	served.Do(t, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	locked.Do(t, "ACL", "SETUSER", "reader", "on", ">reader-canary", "~session:*", "+exists")
	lockedCluster.Do(t, "ACL", "SETUSER", "reader", "on", ">reader-canary", "~session:*", "+exists")
	const isSentinel, isCluster = "redis: the server is a Sentinel, which has no sessions; write redis+sentinel://host:26379/NAME/0", "redis: the server belongs to a Redis Cluster, of which each server has a part of the sessions; write redis+cluster:// instead of redis://"
	for _, tt := range []struct{ want, name, url string }{
		{isSentinel, "a Sentinel", "redis://" + sentinel.Addr},
		{isSentinel, "a Sentinel and a database", "redis://" + sentinel.Addr + "/3"},
		{isSentinel, "a Sentinel with a password", lockedSentinel.URL()},
		{isSentinel, "a Sentinel and a password that it does not have", "redis://:canary@" + sentinel.Addr},
		{isCluster, "a cluster", "redis://" + cluster.Addr},
		{isCluster, "a cluster with a password", lockedCluster.URL()},
		{isCluster, "a cluster and a user with few rights", "redis://reader:reader-canary@" + lockedCluster.Addr},
		{isCluster, "a cluster of one server with all slots", "redis://" + served.Addr},
		{isCluster, "a cluster and a database", "redis://" + served.Addr + "/3"},
		{`ERR; it does not have the database that redis_url names: its setting databases says how many there are: "DB index is out of range"`, "no such database", "redis://" + plain.Addr + "/99"},
		{`"DB index is out of range"`, "no such database, with a password", strings.TrimSuffix(locked.URL(), "/0") + "/99"},
		{`WRONGPASS; the user or password in redis_url is wrong: "invalid username-password pair or user is disabled."`, "a wrong password", "redis://canary:canary@" + locked.Addr},
		{`NOPERM; the user needs +exists on the session keys: "User … has no permissions to run the 'select' command"`, "no right to select", "redis://reader:reader-canary@" + locked.Addr + "/3"},
	} {
		for _, tracked := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				s := open(t, redis.Config{URL: tt.url, Tracked: tracked})
				for range 2 {
					err := s.Check(t.Context())
					if err == nil || !strings.Contains(err.Error(), tt.want) {
						t.Errorf("Check = %v\nwant …%s…", err, tt.want)
					}
					noSecret(t, err)
				}
				if alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); alive || err == nil {
					t.Errorf("Alive = %v, %v", alive, err)
				}
				if err := s.CheckTracking(t.Context()); err == nil || !strings.Contains(err.Error(), strings.SplitN(tt.want, ";", 2)[0]) {
					t.Errorf("CheckTracking = %v\nwant …%s…", err, tt.want)
				} else {
					noSecret(t, err)
				}
			})
		}
	}
}

// TestServersWords checks which words of a server's error are shown. A server can repeat
// anything that it was sent, in any form.
func TestServersWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ reply, want string }{
		{"ERR max number of clients reached", `redis answers ERR; it has as many connections as its setting maxclients allows: "max number of clients reached"`},
		{"ERR max requests limit exceeded. Limit: 500000, Usage: 500001.", `redis answers ERR: "max requests limit exceeded. Limit: … Usage: …"`},
		{"ERR unknown command 'EXISTS', with args beginning with: 'session:42:s1' 'canary'", `redis answers ERR; is it Redis, or a proxy that does not pass this command on?: "unknown command 'EXISTS', with args beginning with: …"`},
		{"ERR user alice canary session:user:token session:user/token", `redis answers ERR: "user …"`},
		{"ERR session:42:s1 canary", "redis answers ERR"},
		{"ERR", "redis answers ERR"},
		{"MOVED 3999 127.0.0.1:6381", "redis answers MOVED; it is a cluster; write redis+cluster:// instead of redis://"},
		{"canary is wrong", `redis answers an error: "is wrong"`},
		{"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", `redis answers BUSY: "Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."`},
		{"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", `redis answers MASTERDOWN; it is a replica that has lost its primary: "Link with MASTER is down and replica-serve-stale-data is set to 'no'."`},
		{"ERR \x1b[31mcanary\x07 \xff\xfe down", `redis answers ERR: "… down"`},
		{"ERR " + strings.Repeat("down ", 1000), `redis answers ERR: "` + strings.Repeat("down ", 40) + `…"`},
	} {
		t.Run(tt.reply[:min(40, len(tt.reply))], func(t *testing.T) {
			t.Parallel()
			s := open(t, redis.Config{URL: fakeServer(t, func(conn net.Conn, _ string) { _, _ = conn.Write([]byte("-" + tt.reply + "\r\n")) })})
			if _, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"}); err == nil || err.Error() != tt.want {
				t.Errorf("Alive: %v\nwant   %s", err, tt.want)
			}
		})
	}
}
