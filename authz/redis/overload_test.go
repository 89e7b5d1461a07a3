package redis

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"warder/authz"
)

// At three times what Redis can answer, it is kept busy, and what it cannot answer in time is
// refused, most of it at once.
func TestBatcherOverload(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		trip     time.Duration // of each pipeline
		each     time.Duration // of each question; Redis answers one at a time
		capacity int           // questions a second
	}{
		{"1ms a question", 0, time.Millisecond, 1000},
		{"5ms a question", 0, 5 * time.Millisecond, 200},
		{"20ms a question", 0, 20 * time.Millisecond, 50},
		{"far away", 20 * time.Millisecond, 0, workers * maxBatch * 50},
		{"very far away", 60 * time.Millisecond, 0, workers * maxBatch * 1000 / 60},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				seconds := max(4, 800/tt.capacity)
				redis := make(chan struct{}, 1) // a mutex would stop the clock
				b := startBatcher(t, func(ctx context.Context, batch []*question) {
					time.Sleep(tt.trip)
					for _, q := range batch {
						if tt.each > 0 {
							redis <- struct{}{}
							time.Sleep(tt.each)
							<-redis
						}
						if err := ctx.Err(); err != nil {
							q.settle(answer{err: timedOut(err)})
							continue
						}
						q.yes()
					}
				})
				b.busy.Add(1) // for all to use the workers
				var mu sync.Mutex
				var answered, refused, late, failed int
				var slowest time.Duration
				var asking sync.WaitGroup
				tick := time.Second / time.Duration(3*tt.capacity)
				for range 3 * tt.capacity * seconds {
					time.Sleep(tick)
					asking.Go(func() {
						began := time.Now()
						_, err := b.alive(t.Context(), "s", began)
						took := time.Since(began)
						mu.Lock()
						defer mu.Unlock()
						slowest = max(slowest, took)
						switch {
						case err == nil:
							answered++
						case !errors.Is(err, authz.ErrOverloaded):
							failed++
						case took == 0:
							refused++
						default:
							late++
						}
					})
				}
				asking.Wait()
				t.Logf("%d answered; %d refused at once and %d later; %d not in time; the slowest took %v", answered, refused, late, failed, slowest)
				if want := tt.capacity * seconds * 9 / 10; answered < want {
					t.Errorf("%d of %d were answered, want %d", answered, tt.capacity*seconds, want)
				}
				if slowest > testLimit {
					t.Errorf("the slowest took %v", slowest)
				}
				if failed+late > (failed+late+refused)/3 {
					t.Errorf("%d waited in vain", failed+late)
				}
			})
		})
	}
}

// A question whose check has little time left is refused sooner.
func TestBatcherKnowsTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBatcher(t, func(_ context.Context, batch []*question) {
			time.Sleep(20 * time.Millisecond)
			for _, q := range batch {
				q.yes()
			}
		})
		b.busy.Add(1)
		for range 20 {
			askAll(b, "s")()
		}
		first := occupy(b)
		for _, tt := range []struct {
			want error
			left time.Duration
		}{{nil, time.Second}, {errSlow, 24 * time.Millisecond}} {
			ctx, cancel := context.WithTimeout(t.Context(), tt.left)
			if _, err := b.alive(ctx, "s", time.Now()); !errors.Is(err, tt.want) {
				t.Errorf("with %v left: %v, want %v", tt.left, err, tt.want)
			}
			cancel()
			first()
			first = occupy(b)
		}
		first()
	})
}
