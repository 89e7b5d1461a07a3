package e2e

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"warder/authz/authztest"
)

// startSentinels has a primary of Redis with two replicas and three Sentinels, and Postgres.
func startSentinels(t *testing.T) *stores {
	t.Helper()
	const password, sentinelPassword = "faults-c4n4ry-redis", "faults-c4n4ry-sentinel"
	all := authztest.StartSentinels(t, authztest.SentinelsConfig{Replicas: 2, Password: password, SentinelPassword: sentinelPassword})
	s := &stores{redis: all.Servers[0], postgres: authztest.StartPostgresServer(t), sentinels: all}
	s.redisURL = "redis+sentinel://:" + password + "@" + all.Hosts() + "/" + all.Name + "/0?sentinel_password=" + sentinelPassword
	s.acks.Store(2)
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: all.Name, SentinelAddrs: strings.Split(all.Hosts(), ","), SentinelPassword: sentinelPassword, Password: password,
		MaxRetries: -1, DialerRetries: 1, DialTimeout: storeLimit, ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { _ = client.Close() })
	s.sessions = client
	return s
}

// sentinelFaults end when another server is the primary.
func sentinelFaults() []fault {
	var before *authztest.Redis
	promoted := func(t *testing.T, s *stage) { s.set.redis = s.set.sentinels.AwaitPrimary(t, before) }
	return []fault{
		{
			name: "the primary is killed", bites: true, self: true,
			begin: func(t *testing.T, s *stage) {
				before = s.set.sentinels.AwaitPrimary(t, nil)
				before.Stop(t)
				s.set.acks.Store(1)
			},
			end: promoted,
			restore: func(t *testing.T, s *stage) {
				s.set.acks.Store(2) // from here on there may be another failover
				before.StartReplica(t, s.set.redis)
				s.settle(t)
			},
		},
		{
			name: "the primary does not answer (SIGSTOP), and comes back as if it still were one", bites: true, self: true,
			begin: func(t *testing.T, s *stage) {
				before = s.set.sentinels.AwaitPrimary(t, nil)
				before.Pause(t)
				s.set.acks.Store(1)
			},
			end: func(t *testing.T, s *stage) {
				promoted(t, s)
				s.set.acks.Store(2) // as above
				before.Resume(t)
			},
			restore: func(t *testing.T, s *stage) { s.settle(t) },
		},
		{
			name: "an operator makes another server the primary", self: true,
			begin: func(t *testing.T, s *stage) {
				before = s.set.sentinels.AwaitPrimary(t, nil)
				s.set.sentinels.Failover(t)
			},
			end:     promoted,
			restore: func(t *testing.T, s *stage) { s.settle(t) },
		},
		{
			name: "no Sentinel answers (SIGSTOP)",
			begin: func(t *testing.T, s *stage) {
				for _, each := range s.set.sentinels.Sentinels {
					each.Pause(t)
				}
			},
			end: func(t *testing.T, s *stage) {
				for _, each := range s.set.sentinels.Sentinels {
					each.Resume(t)
				}
			},
		},
		{
			name: "all Redis servers do not answer (SIGSTOP)", bites: true,
			begin: func(t *testing.T, s *stage) {
				for _, each := range s.set.sentinels.Servers {
					each.Pause(t)
				}
			},
			end: func(t *testing.T, s *stage) {
				for _, each := range s.set.sentinels.Servers {
					each.Resume(t)
				}
			},
			restore: func(t *testing.T, s *stage) { s.settle(t) },
		},
	}
}

// settle waits until the primary has two replicas again.
func (s *stage) settle(t *testing.T) {
	t.Helper()
	waitFor(t, "both replicas", func() error { return s.set.change(t.Context(), "SET", "settled", "1") })
}
