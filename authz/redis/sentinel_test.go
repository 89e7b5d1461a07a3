package redis_test

import (
	"errors"
	"testing"

	"warder/authz/authztest"
	"warder/authz/redis"
)

func TestX(t *testing.T) {
	s := authztest.StartSentinels(t, authztest.SentinelsConfig{Replicas: 2, Password: password, SentinelPassword: "sentinel-canary"})
	c := redis.Config{URL: "redis+sentinel://:" + password + "@" + s.Hosts() + "/" + s.Name + "/0?sentinel_password=sentinel-canary"}
	strict, tracked := open(t, c), openTracked(t, c)
	s.Servers[0].Do(t, "SET", "session:42:s1", "1")
	wantAlive(t, strict, "s1", true)
	wantAlive(t, tracked, "s1", true)
	wantAlive(t, strict, "s2", false)
	s.Servers[0].Stop(t)
	p := s.AwaitPrimary(t, s.Servers[0])
	p.Do(t, "DEL", "session:42:s1")
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
