//go:build bench

package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"warder/authz/authztest"
	"warder/authz/postgres"
	"warder/envoy"
)

const (
	// sizeUsers is the number of users of the load. Each has a session and sends every
	// sizeUsers-th request.
	sizeUsers = 10_000
	// sizeLimit is the GOMEMLIMIT of the chart's default memory limit, 256 MiB.
	sizeLimit = "230MiB"
)

// sizeRates are the rates of the load, in requests a second.
var sizeRates = []int{100, 1000, 10_000}

// A size is a row of the table: what the containers of a pod, and Redis, use at a rate.
type size struct {
	consistency      string
	load             offered
	warder, envoy    usage // since the row before
	redisCPU         time.Duration
	redisConnections int
	took             time.Duration
}

// TestSizes measures what warder and Envoy need as a sidecar: the shipped sidecar.yaml with its
// access log, 10,000 users, and the chart's default memory limit. Only wrong responses fail it: a
// machine that cannot serve the rate shows in the column of 503.
func TestSizes(t *testing.T) {
	duration := knob(t, "BENCHTIME", 15*time.Second, time.ParseDuration)
	t.Setenv("GOMEMLIMIT", sizeLimit)
	b := &bench{ctx: t.Context(), benchTime: duration, redis: authztest.StartRedis(t, "bench-redis-password"), postgres: authztest.StartPostgresServer(t)}
	var err error
	if b.envoy, err = envoy.FindBinary(""); err != nil {
		t.Fatal(err)
	}
	b.postgres.Exec(t, postgres.Schema)
	b.postgres.Exec(t, fmt.Sprintf(`INSERT INTO users (id, is_active, roles) SELECT n, true, '["CONTROL"]' FROM generate_series(%d, %d) n`, firstUser, firstUser+sizeUsers-1))
	options, err := redis.ParseURL(b.redis.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	lines := b.sessions(t, sizeUsers)
	fmt.Printf("%d users, %v a row, GOMEMLIMIT=%s. mCPU: thousandths of a core.\n\n", sizeUsers, duration, sizeLimit)
	fmt.Println("| consistency | requests/s asked | answered | 503 | warder mCPU | warder MiB | Envoy mCPU | Envoy MiB | Redis mCPU | Redis connections | p50 | p99 |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, consistency := range []string{"strict", "tracked"} {
		t.Run(consistency, func(t *testing.T) {
			warder := b.startWarder(t, benchPolicy, consistency)
			proxy := b.startProxy(t, "warder", shippedProxy(t, warder.addr))
			for _, rate := range sizeRates {
				fmt.Println(b.size(t, consistency, rate, warder, proxy, client, lines))
			}
		})
	}
}

// size measures one row. The load runs once before, for the caches.
func (b *bench) size(t *testing.T, consistency string, rate int, warder *contestant, proxy proxy, client *redis.Client, lines []string) size {
	t.Helper()
	b.offer(t, proxy, lines, rate, b.benchTime/3)
	warderBefore, envoyBefore, redisBefore, began := warder.usage(t), usageOf(t, proxy.PID()), redisCPU(t, client), time.Now()
	s := size{consistency: consistency, load: b.offer(t, proxy, lines, rate, b.benchTime)}
	s.took = time.Since(began)
	s.warder, s.envoy, s.redisCPU = warder.usage(t), usageOf(t, proxy.PID()), redisCPU(t, client)-redisBefore
	s.warder.cpu -= warderBefore.cpu
	s.envoy.cpu -= envoyBefore.cpu
	s.redisConnections = int(redisInfo(t, client, "clients", "connected_clients")) - 1 // ours
	if s.load.Failed > 0 || s.load.Statuses[200] == 0 || s.load.Statuses[200]+s.load.Statuses[503] != s.load.Sent {
		t.Errorf("%d requests a second, %s: %d requests failed, statuses %v", rate, consistency, s.load.Failed, s.load.Statuses)
	}
	return s
}

func (s size) String() string {
	milli := func(cpu time.Duration) int64 { return int64(1000 * cpu.Seconds() / s.took.Seconds()) }
	return fmt.Sprintf("| %s | %.0f | %.0f | %d | %d | %d | %d | %d | %d | %d | %v | %v |",
		s.consistency, float64(s.load.Sent+s.load.Dropped)/s.took.Seconds(), s.load.Rate, s.load.Statuses[503], milli(s.warder.cpu), s.warder.resident>>20, milli(s.envoy.cpu), s.envoy.resident>>20,
		milli(s.redisCPU), s.redisConnections, time.Duration(s.load.P50)*time.Microsecond, time.Duration(s.load.P99)*time.Microsecond)
}

// offer runs the load generator.
func (b *bench) offer(t *testing.T, proxy proxy, lines []string, rate int, duration time.Duration) offered {
	t.Helper()
	token, _, _ := strings.Cut(lines[0], "\t")
	return b.generate(t, "-url", "http://"+proxy.Listen+hotPath, "-header", "authorization: Bearer "+token,
		"-tokens", b.file(t, "lines", []byte(strings.Join(lines, "\n"))), "-rate", strconv.Itoa(rate), "-duration", duration.String())
}

func redisCPU(t *testing.T, client *redis.Client) time.Duration {
	t.Helper()
	seconds := redisInfo(t, client, "cpu", "used_cpu_user") + redisInfo(t, client, "cpu", "used_cpu_sys")
	return time.Duration(seconds * float64(time.Second))
}

// redisInfo returns a number of Redis' INFO.
func redisInfo(t *testing.T, client *redis.Client, section, name string) float64 {
	t.Helper()
	text, err := client.Info(t.Context(), section).Result()
	if err != nil {
		t.Fatal(err)
	}
	return authztest.InfoNumber(t, text, name)
}
