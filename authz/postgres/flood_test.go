package postgres_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/memory"
	"warder/authz/postgres"
	"warder/authz/token"
	"warder/policy"
)

// A flood of questions about unknown keys or users, more than the database can answer in
// time, does not keep known keys and users from being answered (RX-01).
func TestFlood(t *testing.T) {
	t.Parallel()
	// Each question takes the database 0.1s, whether it finds a row or not. The flood
	// alone would keep all connections busy for longer than timeout.
	const (
		slow     = "(SELECT pg_sleep(0.1)) IS NOT NULL"
		conns    = 4
		flooders = 200
		timeout  = 3 * time.Second
	)
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema+oneOfEach)
	for _, tt := range []struct {
		name  string
		flood func(testing.TB, *flooded) authz.Reason
		kept  bool
		finds authz.Reason
	}{
		{"keys", inventedKey, false, authz.ReasonAPIKeyUnknown},
		{"keys, with a cache", inventedKey, true, authz.ReasonAPIKeyUnknown},
		{"users", inventedUser, false, authz.ReasonUserUnknown},
		{"users, with a cache", inventedUser, true, authz.ReasonUserUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := open(t, postgres.Config{
				DatabaseURL: db.URL(), Timeout: timeout, MaxConns: conns,
				UsersQuery: postgres.DefaultUsersQuery + " AND " + slow, APIKeysQuery: postgres.DefaultAPIKeysQuery + " AND " + slow,
			})
			f := &flooded{sessions: memory.New(nil)}
			f.sessions.PutSession("42", "s", 0)
			var users authz.Users = d
			var keys authz.APIKeys = d
			forget := func() {}
			if tt.kept {
				config := authz.StaleConfig{MaxAge: staleness, Timeout: timeout, Size: 1000, Now: time.Now}
				u, k := authz.NewStaleUsers(d, config), authz.NewStaleAPIKeys(d, config)
				users, keys = u, k
				forget = func() { u.ForgetAll(); k.ForgetAll() }
			}
			f.engine = newEngine(t, f.sessions, users, keys)
			known := func(when string) {
				t.Helper()
				if got := f.askKey(t, liveKey); got != authz.ReasonAPIKey {
					t.Errorf("%s the known key is %v", when, got)
				}
				if got := f.askUser(t, "42"); got != authz.ReasonSession {
					t.Errorf("%s the known user is %v", when, got)
				}
			}
			known("before the flood")

			var mu sync.Mutex
			got := map[authz.Reason]int{}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var flood sync.WaitGroup
			rising := make(chan struct{}, flooders)
			for range flooders {
				flood.Go(func() {
					again := time.NewTicker(20 * time.Millisecond)
					defer again.Stop()
					for n := 0; ctx.Err() == nil; n++ {
						if n == 0 {
							rising <- struct{}{}
						}
						reason := tt.flood(t, f)
						mu.Lock()
						got[reason]++
						mu.Unlock()
						<-again.C // limits the rate of questions that are rejected at once
					}
				})
			}
			for range flooders {
				<-rising
			}
			for range 15 {
				known("during the flood")
				forget()
			}
			cancel()
			flood.Wait()
			for reason, n := range got {
				if reason != tt.finds && reason != authz.ReasonOverloaded {
					t.Errorf("%d of the flood are %v, want %v or overloaded", n, reason, tt.finds)
				}
			}
			if got[tt.finds] == 0 || got[authz.ReasonOverloaded] == 0 {
				t.Errorf("the flood got %v; some of it must be answered, and some must be rejected", got)
			}
			// Questions are answered again at once, also about unknown keys.
			known("after the flood")
			if reason := tt.flood(t, f); reason != tt.finds {
				t.Errorf("after the flood an unknown one is %v, want %v", reason, tt.finds)
			}
		})
	}
}

// flooded is an engine under a flood of requests.
type flooded struct {
	engine   *authz.Engine
	sessions *memory.Store
}

var floodSecret = []byte("0123456789abcdef0123456789abcdef")

func newEngine(t testing.TB, s authz.Sessions, u authz.Users, k authz.APIKeys) *authz.Engine {
	t.Helper()
	const text = "version: 1\nroutes: [{id: all, match: /**, allow: [{user: {}}, {api_key: {}}]}]\n"
	routes, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(text)}}, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := token.NewVerifier(token.Config{Keys: []token.Key{{Algorithm: "HS256", Secret: floodSecret}}, UserClaim: "sub", SessionClaim: "jti"})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := authz.NewEngine(authz.Config{Policy: routes, Tokens: tokens, Sessions: s, Users: u, APIKeys: k})
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

func (f *flooded) ask(header authz.Header) authz.Reason {
	return f.engine.Decide(context.Background(), authz.NewRequest(authz.Attributes{
		Method: "GET", Host: "h", Path: "/", Headers: authz.Headers{header},
	})).Reason()
}

func (f *flooded) askKey(_ testing.TB, key string) authz.Reason {
	return f.ask(authz.Header{Name: "x-api-key", Value: key})
}

func (f *flooded) askUser(t testing.TB, id string) authz.Reason {
	signed := authztest.Mint(t, authztest.Token{Secret: floodSecret, Claims: map[string]any{"sub": id, "jti": "s", "exp": 4102444800}})
	return f.ask(authz.Header{Name: "authorization", Value: "Bearer " + signed})
}

func inventedKey(t testing.TB, f *flooded) authz.Reason { return f.askKey(t, "wk_"+rand.Text()) }

// inventedUser asks about a user with a token and a session but without a row, such as a
// deleted user.
func inventedUser(t testing.TB, f *flooded) authz.Reason {
	var b [4]byte
	_, _ = rand.Read(b[:])
	id := fmt.Sprintf("1%09d", uint32(b[0])<<24|uint32(b[1])<<16|uint32(b[2])<<8|uint32(b[3]))
	f.sessions.PutSession(id, "s", 0)
	return f.askUser(t, id)
}

// When many ask about the same new key at once, the others need not wait for the strangers'
// share after the first has found the key.
func TestManyAboutOneStranger(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema+oneOfEach)
	d := open(t, postgres.Config{
		DatabaseURL: db.URL(), Timeout: 6 * time.Second, MaxConns: 8,
		APIKeysQuery: postgres.DefaultAPIKeysQuery + " AND (SELECT pg_sleep(0.5)) IS NOT NULL",
	})
	var all sync.WaitGroup
	for range 40 { // two at a time would take 10s
		all.Go(func() {
			if key, err := d.APIKey(t.Context(), authz.HashAPIKey(liveKey)); err != nil || !key.Active {
				t.Errorf("APIKey = %+v, %v", key, err)
			}
		})
	}
	all.Wait()
}

// A question about a stranger is rejected with ErrOverloaded when its share is full, and
// waits no longer than its context.
func TestStrangersAreBounded(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema+oneOfEach)
	d := open(t, postgres.Config{
		DatabaseURL: db.URL(), MaxConns: 4,
		APIKeysQuery: postgres.DefaultAPIKeysQuery + " AND (SELECT pg_advisory_lock_shared(1)) IS NOT NULL",
	})
	unlock := session(t, db, "SELECT pg_advisory_lock(1)") // blocks every question about a key
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const asked, refused = 1 + 64, 5 // one question in progress and 64 waiting
	errs := make(chan error, asked+refused)
	for n := range byte(asked + refused) {
		go func() {
			_, err := d.APIKey(ctx, authz.KeyHash{n})
			errs <- err
		}()
	}
	atOnce := time.After(patience / 4) // waiting in the queue would take patience / 2
	for range refused {
		select {
		case err := <-errs:
			if !errors.Is(err, authz.ErrOverloaded) || errors.Is(err, authz.ErrNotFound) {
				t.Errorf("APIKey = %v, want authz.ErrOverloaded", err)
			}
		case <-atOnce:
			t.Fatal("no question was rejected")
		}
	}
	if user, err := d.User(t.Context(), "42"); err != nil || !user.Active { // users have a share of their own
		t.Errorf("User = %+v, %v", user, err)
	}
	if len(errs) > 0 {
		t.Errorf("more than %d were rejected: %v", refused, <-errs)
	}
	cancel()
	for range asked {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("APIKey = %v, want context.Canceled", err)
		}
	}
	unlock()
	if _, err := d.APIKey(t.Context(), authz.KeyHash{2: 1}); !errors.Is(err, authz.ErrNotFound) {
		t.Errorf("with a free share: %v, want ErrNotFound", err)
	}
}
