package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"warder/cmd/warder/internal/config"
)

var (
	errAway  = errors.New("cannot be reached")
	errUnfit = errors.New("the query does not fit")
)

// answers returns a StoreCheck that gives the listed answers in order and then repeats the last
// one. It records when it was asked.
func answers(name string, asked *[]time.Duration, list ...error) StoreCheck {
	start, n := time.Now(), 0
	return StoreCheck{
		Name: name,
		Check: func(context.Context) ([]string, error) {
			*asked = append(*asked, time.Since(start))
			err := list[min(n, len(list)-1)]
			n++
			if err == nil {
				return []string{"a row looks odd"}, nil
			}
			return nil, err
		},
		Permanent: func(err error) bool { return errors.Is(err, errUnfit) },
	}
}

func waitingServer(out *bytes.Buffer, checks ...StoreCheck) (s *Server, isReady func() bool) {
	s = &Server{log: NewLogger(out, config.Log{Format: "text"}), stores: &Stores{Checks: checks}}
	s.ready = newReadiness(s.stores.names(), nothing, func(bool) {})
	told := false
	s.options.OnReady = func(Addresses) { told = true }
	return s, func() bool {
		ready, _ := s.ready.state()
		if ready != told {
			panic("ready and OnReady differ")
		}
		return ready
	}
}

func TestReachStores(t *testing.T) {
	t.Run("there at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			var asked []time.Duration
			s, isReady := waitingServer(&out, answers("a", &asked, nil), answers("b", new([]time.Duration), nil))
			if err := s.reachStores(t.Context(), Addresses{}); err != nil || !isReady() {
				t.Errorf("%v, ready %v; want ready", err, isReady())
			}
			if len(asked) != 1 {
				t.Errorf("asked %d times, want once", len(asked))
			}
			if !strings.Contains(out.String(), "a row looks odd") {
				t.Errorf("the warning is not logged: %s", out.String())
			}
		})
	})
	t.Run("away, then there", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			var asked []time.Duration
			s, isReady := waitingServer(&out, answers("a", &asked, errAway, errAway, errAway, errAway, errAway, errAway, errAway, nil), answers("b", new([]time.Duration), nil))
			go func() { _ = s.reachStores(t.Context(), Addresses{}) }()
			synctest.Wait()
			if isReady() {
				t.Error("ready although a store is away")
			}
			if _, text := s.ready.state(); text != "not ready: waiting for a" {
				t.Errorf("state %q", text)
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if !isReady() {
				t.Error("not ready although all stores were reached")
			}
			want := "[0s 50ms 150ms 350ms 750ms 1.55s 2.55s 3.55s]"
			if got := fmt.Sprint(asked); got != want {
				t.Errorf("asked at %s, want %s", got, want)
			}
			if n := strings.Count(out.String(), "store not usable"); n != 1 {
				t.Errorf("the same error was logged %d times, want once", n)
			}
		})
	})
	t.Run("does not fit, seen at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			s, isReady := waitingServer(&out, answers("a", new([]time.Duration), errAway), answers("b", new([]time.Duration), errUnfit))
			err := s.reachStores(t.Context(), Addresses{})
			if err == nil || err.Error() != "the query does not fit" || isReady() {
				t.Errorf("%v, ready %v; want the start to end", err, isReady())
			}
		})
	})
	t.Run("does not fit, seen later, repaired", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			s, isReady := waitingServer(&out, answers("a", new([]time.Duration), errAway, errUnfit, errUnfit, nil))
			if err := s.reachStores(t.Context(), Addresses{}); err != nil || !isReady() {
				t.Errorf("%v, ready %v; want to wait for the repair", err, isReady())
			}
			if !strings.Contains(out.String(), "the query does not fit") {
				t.Errorf("the problem is not logged: %s", out.String())
			}
		})
	})
	t.Run("a store that never answers is given up in time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			tries := 0
			hangs := StoreCheck{Name: "a", Check: func(ctx context.Context) ([]string, error) {
				tries++
				<-ctx.Done()
				return nil, ctx.Err()
			}}
			s, isReady := waitingServer(&out, hangs)
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- s.reachStores(ctx, Addresses{}) }()
			time.Sleep(4*checkTime + time.Second)
			stop()
			if err := <-done; err != nil || isReady() || tries < 3 {
				t.Errorf("%v, ready %v after %d tries; want it to go on asking until the end", err, isReady(), tries)
			}
		})
	})
	t.Run("no store to wait for", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, isReady := waitingServer(new(bytes.Buffer))
			if err := s.reachStores(t.Context(), Addresses{}); err != nil || !isReady() {
				t.Errorf("%v, ready %v; want ready", err, isReady())
			}
		})
	})
}
