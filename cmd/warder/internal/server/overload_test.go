package server

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/mask"
	"warder/authz/postgres"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
)

// A caller sends checks of different users to a running server.
type caller struct {
	client authv3.AuthorizationClient
	tokens []string
}

const callers = 50 // users that have a session

// newCaller seeds users, with a session and the API key of user 1, and starts a server with
// these stores.
func newCaller(t *testing.T, redis *authztest.Redis, db *authztest.Postgres, change func(*config.Settings)) (*running, *caller) {
	t.Helper()
	s := testSettings(t)
	s.Policy = clitest.WriteFile(t, t.TempDir(), "policy.yaml", testPolicy+"  - {id: key, match: /key, allow: [{api_key: {}}]}\n")
	s.Sessions.RedisURL, s.Directory.DatabaseURL = mask.New(redis.URL()), mask.New(db.URL())
	change(s)
	redis.Do(t, "FLUSHALL")
	db.Exec(t, "DROP TABLE IF EXISTS api_keys; DROP TABLE IF EXISTS users; "+postgres.Schema)
	c := &caller{}
	for n := 1; n <= callers; n++ {
		id := fmt.Sprint(n)
		redis.Do(t, "SET", "session:"+id+":s1", "1")
		db.Exec(t, `INSERT INTO users (id, is_active, roles) VALUES (`+id+`, true, '["CONTROL"]')`)
		c.tokens = append(c.tokens, authztest.Mint(t, authztest.Token{Secret: []byte(clitest.Secret), Claims: map[string]any{"sub": id, "jti": "s1", "exp": 4102444800}}))
	}
	db.Exec(t, `INSERT INTO api_keys (prefix, key_hash, user_id) VALUES ('wk', '`+authz.HashAPIKey(callerKey).Hex()+`', 1)`)
	r := start(t, s, nil)
	c.client = authv3.NewAuthorizationClient(r.dial(insecure.NewCredentials()))
	return r, c
}

const callerKey = "wk_caller_12345678"

// ask sends one check and returns its reason. A check without an answer has the reason of its
// error, which is none that warder has.
func (c *caller) ask(path string, headers map[string]string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	response, err := c.client.Check(ctx, &authv3.CheckRequest{
		Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Host: "example.com", Path: path, Headers: headers,
		}}},
	}, grpc.WaitForReady(true))
	if err != nil {
		return err.Error()
	}
	return response.GetDynamicMetadata().GetFields()["reason"].GetStringValue()
}

// askUser sends a check of the nth user.
func (c *caller) askUser(n int) string {
	return c.ask("/user", map[string]string{"authorization": "Bearer " + c.tokens[n%callers]})
}

func (c *caller) askKey() string { return c.ask("/key", map[string]string{"x-api-key": callerKey}) }

// TestOverload sends three times as many checks as the database can answer. It is kept busy, what
// it cannot answer in time is refused, and what needs no store is answered.
func TestOverload(t *testing.T) {
	// All times are ten times as long as by default, because machines that run tests are slow.
	const (
		places   = 8
		service  = 100 * time.Millisecond
		deadline = 2 * time.Second
		measure  = 3 * time.Second
	)
	redis, db := authztest.StartRedis(t, ""), authztest.StartPostgresServer(t)
	_, c := newCaller(t, redis, db, func(s *config.Settings) {
		s.Deadline, s.Sessions.Timeout, s.Directory.Timeout = deadline, time.Second, 1500*time.Millisecond
		s.Directory.MaxConnections = places
		s.Directory.UsersQuery = fmt.Sprintf("SELECT is_active, roles FROM users WHERE id = $1 AND (SELECT pg_sleep(%v)) IS NOT NULL", service.Seconds())
	})
	var warm sync.WaitGroup
	for w := range 2 {
		warm.Go(func() {
			for n := w; n < callers; n += 2 { // a user who was found is no stranger any more
				if got := c.askUser(n); got != "session" {
					t.Errorf("user %d: %s", n, got)
				}
			}
		})
	}
	warm.Wait()

	// The capacity is what callers get who each wait for their answer.
	var busy sync.WaitGroup
	var served atomic.Int64
	began := time.Now()
	for w := range 2 * places {
		busy.Go(func() {
			for n := w; time.Since(began) < measure; n += 2 * places {
				if c.askUser(n) == "session" {
					served.Add(1)
				}
			}
		})
	}
	busy.Wait()
	capacity := float64(served.Load()) / time.Since(began).Seconds()

	var mu sync.Mutex
	reasons, known := map[string]int{}, map[string]int{}
	var slowest, slowestKnown time.Duration
	late := 0
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	began = time.Now()
	sent := 0
	for ; time.Since(began) < measure; sent++ {
		for float64(sent) > 3*capacity*time.Since(began).Seconds() {
			<-tick.C
		}
		n := sent
		busy.Go(func() {
			asked := time.Now()
			reason := c.askUser(n)
			took := time.Since(asked)
			mu.Lock()
			defer mu.Unlock()
			reasons[reason]++
			slowest = max(slowest, took)
			if took > deadline {
				late++
			}
		})
		if sent%10 == 0 {
			busy.Go(func() {
				asked := time.Now()
				public, bad := c.ask("/public", nil), c.ask("/user", map[string]string{"authorization": "Bearer " + c.tokens[0] + "x"})
				mu.Lock()
				defer mu.Unlock()
				known[public]++
				known[bad]++
				slowestKnown = max(slowestKnown, time.Since(asked))
			})
		}
	}
	busy.Wait()
	took := time.Since(began).Seconds()
	answered := float64(reasons["session"]) / took
	t.Logf("capacity %.0f checks a second; of %.0f a second, %.0f were answered (%.0f %%); the slowest took %v; %v", capacity, float64(sent)/measure.Seconds(), answered, 100*answered/capacity, slowest, reasons)
	t.Logf("without a store: %v; the slowest two took %v", known, slowestKnown)
	if answered < 0.75*capacity { // with room for a busy machine
		t.Errorf("%.0f a second were answered, of a capacity of %.0f", answered, capacity)
	}
	if late > sent/100 {
		t.Errorf("%d of %d answers came after the deadline", late, sent)
	}
	if reasons["overloaded"] < sent/3 || reasons["overloaded"]+reasons["session"] < sent*9/10 {
		t.Errorf("of %d checks: %v; want most that were not answered to be overloaded", sent, reasons)
	}
	if len(known) != 2 || known["public"] != known["token_signature"]+known["token_malformed"] {
		t.Errorf("without a store: %v", known)
	}
}

// asked returns how many questions a store got, and gone whether it is away, by the metrics.
func (r *running) asked(t *testing.T, store string) (asked float64, gone bool) {
	t.Helper()
	w := httptest.NewRecorder()
	r.server.metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		var n float64
		switch {
		case strings.HasPrefix(line, "warder_store_requests_total") && strings.Contains(line, `store="`+store+`"`):
			_, _ = fmt.Sscan(line[strings.LastIndexByte(line, ' '):], &n)
			asked += n
		case strings.HasPrefix(line, `warder_store_available{store="`+store+`"} 0`):
			gone = true
		}
	}
	return asked, gone
}

// TestOutage stops each store in each way. Only the checks of the first moments ask it. The
// others are answered at once, and facts in memory are used. Soon after the store is back, all
// is well.
func TestOutage(t *testing.T) {
	redis, db := authztest.StartRedis(t, ""), authztest.StartPostgresServer(t)
	startRedis := func(t testing.TB) {
		redis.Start(t)
		for n := 1; n <= callers; n++ {
			redis.Do(t, "SET", fmt.Sprintf("session:%d:s1", n), "1")
		}
	}
	tracked := func(s *config.Settings) { s.Sessions.Tracked = true }
	kept := func(s *config.Settings) { s.Directory.MaxStaleness = time.Hour }
	for _, tt := range []struct {
		name       string
		want       string // the reason during the outage
		store      string
		change     func(*config.Settings)
		begin, end func(testing.TB)
	}{
		{"Redis is silent", "sessions_unavailable", "sessions", func(*config.Settings) {}, redis.Pause, redis.Resume},
		{"Redis is silent, tracked", "sessions_unavailable", "sessions", tracked, redis.Pause, redis.Resume},
		{"Redis is down", "sessions_unavailable", "sessions", func(*config.Settings) {}, redis.Stop, startRedis},
		{"Postgres is silent", "directory_unavailable", "users", func(*config.Settings) {}, db.Pause, db.Resume},
		{"Postgres is silent, with facts", "directory_unavailable", "users", kept, db.Pause, db.Resume},
		{"Postgres is down", "directory_unavailable", "users", func(*config.Settings) {}, db.Stop, db.Start},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, c := newCaller(t, redis, db, tt.change)
			clitest.Eventually(t, "good checks to be allowed", func() bool { return c.askUser(0) == "session" && c.askKey() == "api_key" })
			facts := strings.HasSuffix(tt.name, "facts")

			tt.begin(t)
			before, _ := r.asked(t, tt.store)
			var open sync.WaitGroup
			launched := 0
			gone := false
			clitest.Eventually(t, "the store to be away", func() bool {
				n := 1 + launched%(callers-1) // not user 0, whose fact may be in memory
				open.Go(func() { c.askUser(n) })
				launched++
				_, gone = r.asked(t, tt.store)
				return gone
			})
			open.Wait()

			// Now no check asks, whoever it is about.
			asked, _ := r.asked(t, tt.store)
			t.Logf("%v questions of %d checks until the store was away", asked-before, launched)
			const checks = 300
			var wrong sync.Map
			for n := range checks {
				open.Go(func() {
					if got := c.askUser(1 + n%(callers-1)); got != tt.want {
						wrong.Store(got, n)
					}
				})
				if n%20 == 0 {
					open.Wait()
				}
			}
			open.Wait()
			wrong.Range(func(got, n any) bool { t.Errorf("check %v: %v, want %s", n, got, tt.want); return true })
			after, _ := r.asked(t, tt.store)
			if after-asked > checks/10 {
				t.Errorf("%v questions for %d checks while the store was away", after-asked, checks)
			}
			if facts {
				if got := c.askUser(0); got != "session" {
					t.Errorf("the user whose fact is in memory: %s", got)
				}
			}

			tt.end(t)
			clitest.Eventually(t, "good checks to be allowed again", func() bool { return c.askUser(1) == "session" && c.askKey() == "api_key" })
			for n := range 2 * callers {
				if got := c.askUser(n); got != "session" {
					t.Errorf("afterwards, user %d: %s", n%callers, got)
				}
			}
			if asked, gone := r.asked(t, tt.store); gone || math.IsNaN(asked) {
				t.Error("the store is still away")
			}
			if said := r.log.String(); !strings.Contains(said, "a store does not answer a probe either") || !strings.Contains(said, "a store has answered, and is asked again") {
				t.Errorf("the log does not tell: %s", said)
			}
		})
	}
}
