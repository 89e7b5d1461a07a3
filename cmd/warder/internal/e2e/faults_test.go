package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"warder/authz/authztest"
)

// faultPolicy has one route for each kind of credential.
const faultPolicy = `
version: 1
routes:
  - {id: open, match: /open, public: true}
  - {id: user, match: /user, allow: [{user: {roles: [CONTROL]}}]}
  - {id: key, match: /key, allow: [{api_key: {scopes: ["assets:read"]}}]}
`

// testFaults breaks each store in each way. Every request that needs the store must get a 503
// from warder, and must not reach the application. After the fault, requests succeed again.
func testFaults(t *testing.T, leaks *leaks) {
	redis := authztest.StartRedis(t, "e2e-c4n4ry-redis-password")
	pg := authztest.StartPostgresServer(t)
	r := newRig(t, leaks, redis, pg)
	base := r.startEnvoy(t, false, nil)
	token, apiKey := r.seed(t)

	const needsSessions, needsDirectory = 1, 2
	for _, fault := range []struct {
		name       string
		hits       int // what stops answering
		begin, end func(t testing.TB)
	}{
		{"Redis is down", needsSessions, redis.Stop, func(t testing.TB) {
			redis.Start(t)
			redis.Do(t, "SET", "session:"+goodUser+":"+goodSession, "1")
		}},
		{"Redis is silent", needsSessions, redis.Pause, redis.Resume},
		{"Redis has another password", needsSessions,
			func(t testing.TB) {
				redis.Do(t, "CONFIG", "SET", "requirepass", "e2e-another-password")
				redis.Password = "e2e-another-password"
				redis.Do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			},
			func(t testing.TB) {
				redis.Do(t, "CONFIG", "SET", "requirepass", "e2e-c4n4ry-redis-password")
				redis.Password = "e2e-c4n4ry-redis-password"
			}},
		{"Postgres is down", needsDirectory, pg.Stop, pg.Start},
		{"Postgres is silent", needsDirectory, pg.Pause, pg.Resume},
		{"the users table is renamed", needsDirectory,
			func(t testing.TB) {
				pg.Exec(t, "ALTER TABLE users RENAME TO people; ALTER TABLE api_keys RENAME TO keys")
			},
			func(t testing.TB) {
				pg.Exec(t, "ALTER TABLE people RENAME TO users; ALTER TABLE keys RENAME TO api_keys")
			}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			r.startWarder(t, faultPolicy, nil)
			r.expect(t, base, "/user", bearer(token), http.StatusOK)
			r.expect(t, base, "/key", key(apiKey), http.StatusOK)

			fault.begin(t)
			before, _ := r.upstream.seen()
			for range 5 {
				r.expect(t, base, "/user", bearer(token), http.StatusServiceUnavailable)
				if fault.hits == needsDirectory {
					r.expect(t, base, "/key", key(apiKey), http.StatusServiceUnavailable)
				}
				// Requests that need no store are answered. An invalid token causes no store request.
				r.expect(t, base, "/user", bearer(token+"x"), http.StatusUnauthorized)
				r.expect(t, base, "/nowhere", nil, http.StatusForbidden)
			}
			if after, _ := r.upstream.seen(); after != before {
				t.Errorf("%d requests reached the application during the fault", after-before)
			}
			r.expect(t, base, "/open", nil, http.StatusOK)

			fault.end(t)
			ended := time.Now()
			waitFor(t, "good requests to be allowed again", func() error {
				user, byKey := r.get(t, base, "/user", bearer(token)), r.get(t, base, "/key", key(apiKey))
				if user != http.StatusOK || byKey != http.StatusOK {
					return fmt.Errorf("%d with a token, %d with a key", user, byKey)
				}
				return nil
			})
			if took := time.Since(ended); took > recoveryTime {
				t.Errorf("good requests were allowed %v after the fault, want %v at most", took, recoveryTime)
			}
		})
	}

	t.Run("Redis accepts connections and never responds", func(t *testing.T) {
		silent, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		go func() {
			for {
				conn, err := silent.Accept()
				if err != nil {
					return
				}
				defer conn.Close() // keep it open without reading
			}
		}()
		r.launchWarder(t, faultPolicy, map[string]any{
			"sessions": map[string]any{"redis_url": "redis://" + silent.Addr().String()},
		})
		r.waitForSocket(t)
		r.expect(t, base, "/user", bearer(token), http.StatusServiceUnavailable)
		if err := r.readyz(); err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("readyz: %v, want not ready", err)
		}
	})

	t.Run("a column is missing at the start", func(t *testing.T) {
		pg.Exec(t, "ALTER TABLE users RENAME COLUMN is_active TO enabled")
		defer pg.Exec(t, "ALTER TABLE users RENAME COLUMN enabled TO is_active")
		r.launchWarder(t, faultPolicy, nil)
		select {
		case <-r.warder.ended:
		case <-time.After(patience):
			t.Fatal("warder did not refuse to start")
		}
		if r.warder.cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("exit code %d, want 1", r.warder.cmd.ProcessState.ExitCode())
		}
		if said := tailOf(leaks.text("warder stderr"), 2000); !strings.Contains(said, "is_active") {
			t.Errorf("the message does not name the column: %s", said)
		}
	})

	t.Run("both stores are down at the start", func(t *testing.T) {
		redis.Stop(t)
		pg.Stop(t)
		r.launchWarder(t, faultPolicy, nil)
		r.waitForSocket(t)
		r.expect(t, base, "/user", bearer(token), http.StatusServiceUnavailable)
		r.expect(t, base, "/key", key(apiKey), http.StatusServiceUnavailable)
		if err := r.readyz(); err == nil {
			t.Error("ready without a store")
		}
		redis.Start(t)
		redis.Do(t, "SET", "session:"+goodUser+":"+goodSession, "1")
		pg.Start(t)
		waitFor(t, "warder to be ready", r.readyz)
		r.expect(t, base, "/user", bearer(token), http.StatusOK)
		r.expect(t, base, "/key", key(apiKey), http.StatusOK)
	})
}

// recoveryTime is the maximum time after the end of a fault until valid requests are allowed again.
const recoveryTime = 2 * time.Second

// waitForSocket waits until the program accepts connections, even if it is not ready.
func (r *rig) waitForSocket(t *testing.T) {
	t.Helper()
	waitFor(t, "warder to listen", func() error {
		conn, err := net.Dial("unix", r.socket())
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
}

// expect sends one request and checks the status.
func (r *rig) expect(t *testing.T, base, path string, headers map[string]string, want int) {
	t.Helper()
	if got := r.get(t, base, path, headers); got != want {
		t.Errorf("GET %s: %d, want %d", path, got, want)
	}
}

// testHugeRequest sends headers of some MiB through an Envoy that allows requests when its
// authorizer fails. Warder must deny them before that happens.
func testHugeRequest(t *testing.T, leaks *leaks) {
	r := newRig(t, leaks, authztest.StartRedis(t, ""), authztest.StartPostgres(t))
	base := r.startEnvoy(t, true, nil)
	token, _ := r.seed(t)
	r.startWarder(t, faultPolicy, nil)
	r.expect(t, base, "/user", bearer(token), http.StatusOK)

	before, _ := r.upstream.seen()
	headers := bearer(token)
	for i := range 80 {
		headers[fmt.Sprintf("X-Fill-%d", i)] = strings.Repeat("a", 60<<10)
	}
	if status := r.get(t, base, "/user", headers); status != http.StatusBadRequest {
		t.Errorf("%d MiB of headers: %d, want 400", 80*60>>10, status)
	}
	if after, _ := r.upstream.seen(); after != before {
		t.Error("the request reached the application")
	}
	// Without an authorizer this Envoy allows everything, so the test above is meaningful.
	r.stopWarder(t)
	r.expect(t, base, "/user", nil, http.StatusOK)
}
