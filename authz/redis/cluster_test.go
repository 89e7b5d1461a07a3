package redis_test

import (
	"errors"
	"fmt"
	"testing"

	"warder/authz/authztest"
	"warder/authz/redis"
)

func clusterURL(c *authztest.Cluster) string { return "redis+cluster://" + c.Hosts() }

func TestClusterX(t *testing.T) {
	c := authztest.StartCluster(t, authztest.ClusterConfig{})
	strict, tracked := open(t, redis.Config{URL: clusterURL(c)}), open(t, redis.Config{URL: clusterURL(c), Tracked: true})
	for i := range 10 {
		id := fmt.Sprint("s", i)
		p, _ := c.Of(t, "session:42:"+id)
		p.Do(t, "SET", "session:42:"+id, "1")
		for _, s := range []*redis.Sessions{strict, tracked} {
			wantAlive(t, s, id, true)
			wantAlive(t, s, id+"x", false)
		}
	}
	p, r := c.Of(t, "session:42:s1")
	p.Stop(t)
	c.AwaitPrimary(t, r)
	r.Do(t, "DEL", "session:42:s1")
	for _, s := range []*redis.Sessions{strict, tracked} {
		eventually(t, func() error {
			alive, err := s.Alive(t.Context(), "42", "s1")
			if alive {
				return errors.New("alive")
			}
			return err
		})
	}
}
