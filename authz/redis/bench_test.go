package redis_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/redis"
)

// cpu returns the CPU time of this process, which does not include the server.
func cpu(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkAlive asks about 1000 sessions from several numbers of goroutines.
func BenchmarkAlive(b *testing.B) {
	server := authztest.StartRedis(b, "")
	for i := range 1000 {
		server.Do(b, "SET", fmt.Sprintf("session:42:s%d", i), "1")
	}
	for _, askers := range []int{1, 8, 64, 256} {
		b.Run(fmt.Sprint("askers=", askers), func(b *testing.B) {
			benchmarkAlive(b, open(b, redis.Config{URL: server.URL()}), askers)
		})
	}
}

// BenchmarkAliveTracked is BenchmarkAlive with Tracked and cached answers.
func BenchmarkAliveTracked(b *testing.B) {
	server := authztest.StartRedis(b, "")
	for i := range 1000 {
		server.Do(b, "SET", fmt.Sprintf("session:42:s%d", i), "1")
	}
	for _, askers := range []int{1, 64} {
		b.Run(fmt.Sprint("askers=", askers), func(b *testing.B) {
			benchmarkAlive(b, openTracked(b, redis.Config{URL: server.URL()}), askers)
		})
	}
}

func benchmarkAlive(b *testing.B, s *redis.Sessions, askers int) {
	b.Helper()
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = fmt.Sprint("s", i)
		if i < 64 {
			_, _ = s.Alive(b.Context(), authz.Session{UserID: "42", ID: ids[i]})
		}
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	for range askers {
		wg.Go(func() {
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					return
				}
				if alive, err := s.Alive(b.Context(), authz.Session{UserID: "42", ID: ids[n%1000]}); !alive || err != nil {
					b.Errorf("Alive = %v, %v", alive, err)
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N)/1000, "cpu-us/op")
}
