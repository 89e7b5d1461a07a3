package redis_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"warder/authz"
	"warder/authz/redis"
)

// A load is an application that logs users in and out all the time, and stores that are asked
// about its sessions all the time.
type load struct {
	t *testing.T
	// primary returns a client of the application for the server that has a key.
	primary func(ctx context.Context, key string) (*goredis.Client, error)
	// acks is the number of replicas that must have a change before it counts: without them, a
	// failover loses it.
	acks atomic.Int32

	mu    sync.Mutex
	ended []endedSession
	kept  []string // sessions that live

	checks, failed, logouts atomic.Int64
	stop                    context.CancelFunc
	running                 sync.WaitGroup
}

type endedSession struct {
	id string
	at time.Time // its end was acknowledged before
}

// A checked store is one that a load asks.
type checked struct {
	name  string
	store *redis.Sessions
	// late is how long after a logout an allow is no mistake.
	late time.Duration
}

const keptSessions = 40

func startLoad(t *testing.T, acks int32, primary func(context.Context, string) (*goredis.Client, error), stores ...checked) *load {
	t.Helper()
	l := &load{t: t, primary: primary}
	l.acks.Store(acks)
	for i := range keptSessions {
		id := fmt.Sprint("kept", i)
		eventually(t, func() error { return l.change(t.Context(), "SET", id, "1") })
		l.kept = append(l.kept, id)
	}
	var ctx context.Context
	ctx, l.stop = context.WithCancel(t.Context())
	for n := range 3 {
		l.running.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				l.session(ctx, fmt.Sprintf("out%d-%d", n, i), stores)
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	for _, c := range stores {
		for range 2 {
			l.running.Go(func() {
				for ctx.Err() == nil {
					l.check(ctx, c)
					time.Sleep(time.Millisecond) // a steady load, not a saturated machine
				}
			})
		}
	}
	t.Cleanup(l.end)
	return l
}

func (l *load) end() {
	l.stop()
	l.running.Wait()
}

// change sends a command about a session. Without an error, the change will outlast a failover.
func (l *load) change(ctx context.Context, command, id string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	key := "session:42:" + id
	client, err := l.primary(ctx, key)
	if err != nil {
		return err
	}
	acks := l.acks.Load()
	pipe := client.Pipeline()
	change := pipe.Do(ctx, append([]any{command, key}, args...)...)
	have := pipe.Do(ctx, "WAIT", acks, 300)
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	if n, err := have.Int64(); err != nil || change.Err() != nil || n < int64(acks) {
		return errors.Join(err, change.Err(), errors.New("too few replicas"))
	}
	return nil
}

// session begins a session, asks about it, and ends it.
func (l *load) session(ctx context.Context, id string, stores []checked) {
	if err := l.change(ctx, "SET", id, "1"); err != nil {
		time.Sleep(5 * time.Millisecond)
		return
	}
	for _, c := range stores {
		_, _ = c.store.Alive(ctx, authz.Session{UserID: "42", ID: id})
	}
	if err := l.change(ctx, "DEL", id); err != nil {
		return // it may have ended or not
	}
	at := time.Now()
	l.logouts.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = append(l.ended, endedSession{id, at})
}

// check asks a store about a session that has ended, mostly one of the last, and about one that
// lives.
func (l *load) check(ctx context.Context, c checked) {
	l.mu.Lock()
	var gone endedSession
	if n := len(l.ended); n > 0 {
		gone = l.ended[n-1-rand.IntN(min(n, 20))]
		if rand.IntN(4) == 0 {
			gone = l.ended[rand.IntN(n)]
		}
	}
	l.mu.Unlock()
	if gone.id != "" {
		began := time.Now()
		alive, err := c.store.Alive(ctx, authz.Session{UserID: "42", ID: gone.id})
		l.checks.Add(1)
		if late := began.Sub(gone.at); alive && late >= c.late {
			l.t.Errorf("%s: session %s was allowed %v after its end, by a check that took %v", c.name, gone.id, late, time.Since(began))
		}
		if err != nil {
			l.failed.Add(1)
		}
	}
	id := l.kept[rand.IntN(len(l.kept))]
	alive, err := c.store.Alive(ctx, authz.Session{UserID: "42", ID: id})
	l.checks.Add(1)
	if err == nil && !alive {
		l.t.Errorf("%s: session %s was refused, and it lives", c.name, id)
	}
	if err != nil {
		l.failed.Add(1)
	}
}

// wantWell waits until all sessions that live are allowed by all stores, in the time of recovery.
func (l *load) wantWell(stores ...checked) {
	l.t.Helper()
	began := time.Now()
	for _, c := range stores {
		for _, id := range l.kept {
			eventually(l.t, func() error {
				alive, err := c.store.Alive(l.t.Context(), authz.Session{UserID: "42", ID: id})
				if err == nil && !alive {
					l.t.Fatalf("%s: session %s was refused, and it lives", c.name, id)
				}
				return err
			})
		}
	}
	l.t.Logf("well after %v; %d checks, %d of them without an answer; %d logouts", time.Since(began).Round(time.Millisecond), l.checks.Load(), l.failed.Load(), l.logouts.Load())
}

// wantLogouts waits until some more sessions have ended on the primary and on so many replicas as
// there are. Fewer would let a failover, of which a busy machine can have one more than a test
// wants, lose a logout.
func (l *load) wantLogouts(n int64, acks int32) {
	l.t.Helper()
	l.acks.Store(acks)
	until := l.logouts.Load() + n
	for began := time.Now(); l.logouts.Load() < until; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > 30*time.Second { // a replica may have to copy everything
			l.t.Fatalf("no logouts that %d replicas have", acks)
		}
	}
}
