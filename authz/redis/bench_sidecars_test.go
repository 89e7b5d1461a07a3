package redis_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/redis"
)

// BenchmarkSidecars measures what many warders cost one Redis. An operation is one login: a
// session that is written. In tracked, Redis announces each to every warder, and every warder
// proves several times a second that it is up to date.
func BenchmarkSidecars(b *testing.B) {
	for _, tracked := range []bool{false, true} {
		for _, n := range []int{50, 200} {
			name := fmt.Sprintf("strict/%d", n)
			if tracked {
				name = fmt.Sprintf("tracked/%d", n)
			}
			b.Run(name, func(b *testing.B) { benchmarkSidecars(b, n, tracked) })
		}
	}
}

func benchmarkSidecars(b *testing.B, n int, tracked bool) {
	b.Helper()
	server := authztest.StartRedis(b, "")
	options, err := goredis.ParseURL(server.URL())
	if err != nil {
		b.Fatal(err)
	}
	client := goredis.NewClient(options)
	defer client.Close()
	info := func(section, name string) float64 {
		text, err := client.Info(b.Context(), section).Result()
		if err != nil {
			b.Fatal(err)
		}
		return authztest.InfoNumber(b, text, name)
	}
	cpu := func() float64 { return info("cpu", "used_cpu_user") + info("cpu", "used_cpu_sys") }
	if err := client.Set(b.Context(), "session:42:s", "1", 0).Err(); err != nil {
		b.Fatal(err)
	}
	memory, connections := info("memory", "used_memory"), info("clients", "connected_clients")
	for range n {
		s := open(b, redis.Config{URL: server.URL(), Tracked: tracked})
		if tracked {
			wantTracks(b, s)
		}
		if alive, err := s.Alive(b.Context(), authz.Session{UserID: "42", ID: "s"}); !alive || err != nil {
			b.Fatal(alive, err)
		}
	}
	connections, memory = info("clients", "connected_clients")-connections, info("memory", "used_memory")-memory
	const idle = 5 * time.Second
	before := cpu()
	time.Sleep(idle) // what is measured is what happens meanwhile
	resting := (cpu() - before) / idle.Seconds()

	b.ResetTimer()
	began, before := time.Now(), cpu()
	for i := range b.N {
		if err := client.Set(b.Context(), "session:42:"+strconv.Itoa(i%1000), "1", 0).Err(); err != nil {
			b.Fatal(err)
		}
	}
	logins := cpu() - before - resting*time.Since(began).Seconds()
	b.ReportMetric(connections/float64(n), "connections/warder")
	b.ReportMetric(memory/float64(n)/1024, "KiB/warder")
	b.ReportMetric(resting/float64(n)*1e6, "redis-us/s/warder")
	b.ReportMetric(max(0, logins)/float64(b.N)*1e6, "redis-us/login")
}
