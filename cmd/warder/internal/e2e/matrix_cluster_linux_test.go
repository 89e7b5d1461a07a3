package e2e

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"warder/authz/authztest"
)

// startCluster has a Redis Cluster of three primaries with a replica each, and Postgres.
func startCluster(t *testing.T) *stores {
	t.Helper()
	const password = "faults-c4n4ry-redis"
	cluster := authztest.StartCluster(t, authztest.ClusterConfig{Password: password})
	s := &stores{postgres: authztest.StartPostgresServer(t), cluster: cluster}
	s.redis, _ = cluster.Of(t, "session:"+goodUser+":"+goodSession)
	s.redisURL = "redis+cluster://:" + password + "@" + cluster.Hosts()
	// A primary without its replica acknowledges nothing, as its changes could be lost with it.
	s.acks.Store(1)
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: strings.Split(cluster.Hosts(), ","), Password: password,
		MaxRetries: -1, DialerRetries: 1, DialTimeout: storeLimit, ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { _ = client.Close() })
	s.sessions = client
	return s
}

// clusterFaults happen to one primary, and end when its replica is elected; or to all servers.
func clusterFaults() []fault {
	var primary, replica *authztest.Redis
	// The primary that a row has broken comes back as the replica, and then they change places.
	again := func(t *testing.T, s *stage) {
		s.set.cluster.AwaitReplica(t, primary)
		primary, replica = replica, primary
	}
	first := func(t *testing.T, s *stage) {
		if primary == nil {
			primary, replica = s.set.cluster.Of(t, "session:"+goodUser+":"+goodSession)
		}
	}
	elected := func(t *testing.T, s *stage) { s.set.cluster.AwaitPrimary(t, replica) }
	return []fault{
		{
			name: "a primary is killed", bites: true, self: true,
			begin: func(t *testing.T, s *stage) {
				first(t, s)
				primary.Stop(t)
			},
			end: elected,
			restore: func(t *testing.T, s *stage) {
				primary.Start(t)
				again(t, s)
			},
		},
		{
			name: "a primary does not answer (SIGSTOP), and comes back as if it still were one", bites: true, self: true,
			begin: func(t *testing.T, s *stage) {
				first(t, s)
				primary.Pause(t)
			},
			end: func(t *testing.T, s *stage) {
				elected(t, s)
				primary.Resume(t)
			},
			restore: again,
		},
		{
			name: "all Redis servers do not answer (SIGSTOP)", bites: true,
			begin: func(t *testing.T, s *stage) {
				for _, each := range s.set.cluster.Servers {
					each.Pause(t)
				}
			},
			end: func(t *testing.T, s *stage) {
				for _, each := range s.set.cluster.Servers {
					each.Resume(t)
				}
			},
		},
	}
}
