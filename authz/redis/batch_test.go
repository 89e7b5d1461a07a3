package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// These tests run a batcher with a fake store in a synctest bubble, in which computing
// takes no time.

const testLimit = 100 * time.Millisecond

func startBatcher(t *testing.T, ask func(context.Context, []*question)) *batcher {
	b := newBatcher(testLimit, time.Now, ask)
	t.Cleanup(b.close)
	return b
}

// alive is get for the questions of these tests.
func (b *batcher) alive(ctx context.Context, key string, asked time.Time) (bool, error) {
	found, err := b.get(ctx, subject{key: key}, asked)
	return found.exists, err
}

func (q *question) yes() { q.settle(answer{state: state{exists: true}}) }

func askAll(b *batcher, keys ...string) (wait func() []error) {
	errs := make([]error, len(keys))
	var wg sync.WaitGroup
	for i, key := range keys {
		wg.Go(func() {
			alive, err := b.alive(context.Background(), key, b.now())
			if err == nil && !alive {
				err = errors.New("not alive")
			}
			errs[i] = err
		})
	}
	return func() []error { wg.Wait(); return errs }
}

// occupy gives each worker one question.
func occupy(b *batcher) (wait func() []error) {
	waits := make([]func() []error, workers)
	for i := range waits {
		waits[i] = askAll(b, "first")
		synctest.Wait()
	}
	return func() (errs []error) {
		for _, wait := range waits {
			errs = append(errs, wait()...)
		}
		return errs
	}
}

func TestWaitingQuestionsShareAPipeline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const trip = time.Millisecond
		var mu sync.Mutex
		var sizes []int
		b := startBatcher(t, func(_ context.Context, batch []*question) {
			mu.Lock()
			sizes = append(sizes, len(batch))
			mu.Unlock()
			time.Sleep(trip)
			for _, q := range batch {
				q.yes()
			}
		})
		b.busy.Add(1) // as if a question was being sent without a worker
		began := time.Now()
		first := occupy(b)
		rest := askAll(b, make([]string, 2*maxBatch+1)...)
		for _, err := range append(first(), rest()...) {
			if err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(began); took != 2*trip {
			t.Errorf("it took %v, want two round trips", took)
		}
		total := 0
		for _, n := range sizes {
			total += n
			if n > maxBatch {
				t.Errorf("%d in one pipeline", n)
			}
		}
		if want := workers + 2*maxBatch + 1; total != want || len(sizes) > 2*workers {
			t.Errorf("pipelines of %v, want %d questions in at most %d", sizes, want, 2*workers)
		}
	})
}

// A pipeline that is never answered does not delay other questions, and its own questions
// end at their limit.
func TestDeadPipeline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBatcher(t, func(ctx context.Context, batch []*question) {
			err := error(nil)
			if batch[0].key == "dead" {
				<-ctx.Done()
				err = ctx.Err()
			}
			for _, q := range batch {
				q.settle(answer{state: state{exists: err == nil}, err: err})
			}
		})
		began := time.Now()
		var dead []func() []error
		for range workers { // the first is sent without a worker, so one worker is left
			dead = append(dead, askAll(b, "dead"))
			synctest.Wait()
		}
		for range 10 {
			if errs := askAll(b, "well")(); errs[0] != nil {
				t.Error(errs[0])
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the other questions waited %v", took)
		}
		for _, wait := range dead {
			if err := wait()[0]; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("question in the dead pipeline: %v", err)
			}
		}
		if took := time.Since(began); took != testLimit {
			t.Errorf("the questions in the dead pipeline took %v, want %v", took, testLimit)
		}
	})
}

// While Redis does not answer, each question ends at its own limit. When Redis is back,
// questions whose callers have given up are not sent.
func TestOwnLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var asked []string
		frozen := make(chan struct{})
		b := startBatcher(t, func(_ context.Context, batch []*question) {
			<-frozen
			mu.Lock()
			defer mu.Unlock()
			for _, q := range batch {
				asked = append(asked, q.key)
				q.yes()
			}
		})
		b.busy.Add(1)
		first := occupy(b)
		for i, after := range []time.Duration{30 * time.Millisecond, 50 * time.Millisecond} {
			time.Sleep(after)
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i+1)*10*time.Millisecond)
			_, err := b.alive(ctx, "own deadline", time.Now())
			cancel()
			if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != time.Duration(i+1)*10*time.Millisecond {
				t.Errorf("%v after %v, want the caller's deadline", err, took)
			}
		}
		began := time.Now()
		_, err := b.alive(t.Context(), "late", time.Now().Add(-testLimit/2))
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != testLimit/2 {
			t.Errorf("%v after %v, want the rest of the limit", err, took)
		}
		first()
		time.Sleep(testLimit)
		last := askAll(b, "last")
		synctest.Wait()
		close(frozen)
		if err := last()[0]; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		slices.Sort(asked)
		if want := append(slices.Repeat([]string{"first"}, workers), "last"); !slices.Equal(asked, want) {
			t.Errorf("asked %v, want %v: the callers of the others had given up", asked, want)
		}
	})
}

func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		frozen := make(chan struct{})
		b := startBatcher(t, func(_ context.Context, batch []*question) {
			<-frozen
			for _, q := range batch {
				q.yes()
			}
		})
		b.busy.Add(1)
		first := occupy(b)
		waiting := askAll(b, make([]string, maxWaiting)...)
		synctest.Wait()
		if _, err := b.alive(t.Context(), "one too many", time.Now()); !errors.Is(err, errFull) {
			t.Errorf("with a full queue: %v, want errFull", err)
		}
		close(frozen)
		for _, err := range append(first(), waiting()...) {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A question is not answered by an earlier one that was already sent.
func TestSentQuestionIsNotJoined(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		alive := true // the state of the session in the store
		answers := make(chan struct{})
		b := startBatcher(t, func(_ context.Context, batch []*question) {
			said := alive
			<-answers
			for _, q := range batch {
				q.settle(answer{state: state{exists: said}})
			}
		})
		first := make(chan bool, 1)
		go func() { said, _ := b.alive(t.Context(), "s", time.Now()); first <- said }()
		synctest.Wait()
		alive = false
		second := make(chan bool, 1)
		go func() { said, _ := b.alive(t.Context(), "s", time.Now()); second <- said }()
		synctest.Wait()
		close(answers)
		if said := <-first; !said {
			t.Error("the question from before the logout got false")
		}
		if said := <-second; said {
			t.Error("the question from after the logout got an answer from before it")
		}
	})
}

func TestClosedBatcher(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		frozen := make(chan struct{})
		b := startBatcher(t, func(_ context.Context, batch []*question) {
			<-frozen
			for _, q := range batch {
				q.yes()
			}
		})
		b.busy.Add(1)
		waiting := askAll(b, make([]string, 10)...)
		synctest.Wait()
		go b.close()
		for _, err := range waiting() {
			if !errors.Is(err, errClosed) {
				t.Errorf("waiting: %v", err)
			}
		}
		close(frozen)
		b.busy.Add(-1)
		for range 2 {
			if _, err := b.alive(t.Context(), "s", time.Now()); !errors.Is(err, errClosed) {
				t.Errorf("after close: %v", err)
			}
			b.busy.Add(1)
		}
	})
}

// apart returns a time whose monotonic and wall clock readings have advanced by different
// amounts since at, as after a suspension. Package time has no function for this, so apart
// sets the unexported field ext, which holds the monotonic reading.
func apart(t *testing.T, at time.Time, monotonic, wall time.Duration) time.Time {
	t.Helper()
	now := at.Add(wall)
	(*struct { // the layout of time.Time, which is checked below
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&now)).ext += int64(monotonic - wall)
	if got := now.Sub(at); got != monotonic || now.UnixNano()-at.UnixNano() != int64(wall) {
		t.Fatalf("the clocks advanced by %v and %v, want %v and %v", got, now.UnixNano()-at.UnixNano(), monotonic, wall)
	}
	return now
}

// An answer from another server ends the proof before its PING is sent.
func TestProveRefusesAnotherServer(t *testing.T) {
	t.Parallel()
	key, err := parseTemplate(DefaultKeyTemplate)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		answer answer
		want   error
	}{
		{answer{state: state{exists: true}, left: forever}, errElsewhere},
		{answer{left: forever}, errElsewhere},
		{answer{announced: true, err: errReplica}, errReplica},
	} {
		s := &node{s: &Sessions{keys: []template{key}, now: time.Now}}
		s.questions = startBatcher(t, func(_ context.Context, batch []*question) {
			for _, q := range batch {
				q.settle(tt.answer)
			}
		})
		of := &stream{facts: newFacts(10), pings: make(map[string]time.Time)}
		func() {
			defer func() {
				if recover() != nil {
					t.Errorf("%+v: a PING was sent", tt.answer)
				}
			}()
			if err := s.prove(t.Context(), of); !errors.Is(err, tt.want) {
				t.Errorf("%+v: %v, want %v", tt.answer, err, tt.want)
			}
		}()
		if len(of.pings) > 0 {
			t.Errorf("%+v: a proof is in progress", tt.answer)
		}
	}
}

// Facts may be used for freshFor after the last proof.
func TestProofExpires(t *testing.T) {
	t.Parallel()
	at := time.Now()
	of := &stream{}
	if of.proven(at) {
		t.Error("proven before any proof")
	}
	of.proof.Store(&at)
	for _, tt := range []struct {
		want bool
		now  time.Time
	}{
		{true, at},
		{true, at.Add(freshFor - 1)},
		{false, at.Add(freshFor)},
		{false, at.Round(0).Add(time.Hour)}, // wall clock only
		{true, apart(t, at, 0, freshFor-1)}, // below, each clock alone can expire the proof
		{false, apart(t, at, 0, freshFor)},  // the monotonic clock stood still
		{false, apart(t, at, time.Hour, 0)}, // the wall clock was set back
		{false, apart(t, at, freshFor, -freshFor)},
	} {
		if got := of.proven(tt.now); got != tt.want {
			t.Errorf("proven(%v) = %v, want %v", tt.now.Sub(at), got, tt.want)
		}
	}
	if freshFor+beat > time.Second || freshFor <= 2*beat {
		t.Errorf("a proof lasts %v and is renewed every %v", freshFor, beat)
	}
}

func TestFacts(t *testing.T) {
	t.Parallel()
	of := &stream{facts: newFacts(100)}
	at := time.Now()
	k := subject{key: "k"}
	fill := func(a answer, meanwhile func()) (found state, known bool) {
		t.Helper()
		f, first := of.facts.join(k, settled, at, of)
		if !first {
			t.Fatal("another fill is in progress")
		}
		if again, first := of.facts.join(k, settled, at, of); first || again != f {
			t.Fatal("two fills of the same key")
		}
		meanwhile()
		f.settle(a)
		<-f.done
		return of.facts.get(k, settled, at)
	}
	nothing := func() {}
	for _, tt := range []struct {
		name         string
		alive, known bool
		a            answer
		meanwhile    func()
	}{
		{"alive", true, true, answer{state: state{exists: true}, left: forever, announced: true}, nothing},
		{"missing", false, true, answer{left: forever, announced: true}, nothing},
		{"an error", false, false, answer{state: state{exists: true}, left: forever, announced: true, err: errFull}, nothing},
		{"from another server", false, false, answer{state: state{exists: true}, left: forever}, nothing},
		{"the key has expired", false, false, answer{state: state{exists: true}, announced: true}, nothing},
		{"the key has changed", false, false, answer{state: state{exists: true}, left: forever, announced: true}, func() { of.facts.forget("k") }},
		{"another key has changed", true, true, answer{state: state{exists: true}, left: forever, announced: true}, func() { of.facts.forget("k2") }},
	} {
		of.facts.forget("k")
		if found, known := fill(tt.a, tt.meanwhile); found.exists != tt.alive || known != tt.known {
			t.Errorf("%s: %v, known %v; want %v, %v", tt.name, found, known, tt.alive, tt.known)
		}
	}
	// An older fill ends after a newer one that began after the change.
	of.facts.forget("k")
	older, _ := of.facts.join(k, settled, at, of)
	of.facts.forget("k")
	newer, first := of.facts.join(k, settled, at, of)
	if !first {
		t.Fatal("a fill from before a change was joined")
	}
	newer.settle(answer{left: forever, announced: true})
	older.settle(answer{state: state{exists: true}, left: forever, announced: true})
	if found, known := of.facts.get(k, settled, at); found.exists || !known {
		t.Errorf("the older answer was stored: %v, known %v", found, known)
	}
	// A fact, and a fill in progress, are of a tenure.
	of.facts.forget("k")
	older, _ = of.facts.join(k, settled, at, of)
	if _, first = of.facts.join(k, settled+1, at, of); !first {
		t.Fatal("a fill of an earlier tenure was joined")
	}
	older.settle(answer{state: state{exists: true}, left: forever, announced: true})
	if _, known := of.facts.get(k, settled+1, at); known {
		t.Error("a fact of an earlier tenure is used")
	}
	if _, known := of.facts.get(k, unsettled, at); known {
		t.Error("a fact is used while another server gets the key")
	}
	// A fact, and a fill in progress, are about the existence of a key or about its value too.
	of.facts.forget("k")
	fill(answer{state: state{exists: true}, left: forever, announced: true}, nothing)
	if _, known := of.facts.get(subject{key: "k", timed: true}, settled, at); known {
		t.Error("a fact without the value of the key is used for it")
	}
	of.facts.forget("k")
	older, _ = of.facts.join(k, settled, at, of)
	newer, first = of.facts.join(subject{key: "k", timed: true}, settled, at, of)
	if !first {
		t.Fatal("a fill without the value of the key was joined for it")
	}
	// A change makes both stale.
	of.facts.forget("k")
	older.settle(answer{state: state{exists: true}, left: forever, announced: true})
	if _, known := of.facts.get(k, settled, at); known {
		t.Error("an answer from before a change was stored")
	}
	newer.settle(answer{state: state{exists: true, value: 1}, left: forever, announced: true})
	if _, known := of.facts.get(subject{key: "k", timed: true}, settled, at); known {
		t.Error("an answer from before a change was stored, with its value")
	}
	// So does a fill of a later tenure, which takes its place.
	older, _ = of.facts.join(k, settled, at, of)
	newer, _ = of.facts.join(k, settled+1, at, of)
	of.facts.forget("k")
	older.settle(answer{state: state{exists: true}, left: forever, announced: true})
	newer.settle(answer{err: errClosed})
	if _, known := of.facts.get(k, settled, at); known {
		t.Error("an answer of an earlier tenure from before a change was stored")
	}
	// Facts expire.
	for _, left := range []time.Duration{time.Second, 2 * maxFactAge, forever} {
		of.facts.forget("k")
		fill(answer{state: state{exists: true}, left: left, announced: true}, nothing)
		ends := at.Add(maxFactAge)
		if left == time.Second {
			ends = at.Add(left)
		}
		if found, _ := of.facts.get(k, settled, ends.Add(-1)); !found.exists {
			t.Errorf("with %v left the fact expires too early", left)
		}
		if _, known := of.facts.get(k, settled, ends); known {
			t.Errorf("with %v left the fact expires too late", left)
		}
	}
	// Their number is bounded.
	for i := range 10_000 {
		f, _ := of.facts.join(subject{key: fmt.Sprint(i)}, settled, at, of)
		f.settle(answer{left: forever, announced: true})
	}
	if n := of.facts.cache.Len(); n > 100 {
		t.Errorf("%d facts are kept, want 100", n)
	}
	for i := range of.facts.shards {
		if n := len(of.facts.shards[i].fills); n > 0 {
			t.Errorf("%d fills are left", n)
		}
	}
}
