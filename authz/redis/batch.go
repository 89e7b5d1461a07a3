package redis

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"warder/authz"
)

const (
	// maxBatch is the greatest number of questions in a pipeline. They all fail if its
	// connection fails.
	maxBatch = 128
	// maxWaiting is the greatest number of questions waiting for a pipeline. Another one
	// fails at once. It bounds the memory used while Redis does not answer.
	maxWaiting = 4096
	// workers is the greatest number of concurrent pipelines. With one, all questions
	// would wait for a dead connection. More workers make shorter pipelines.
	workers = 4
)

var (
	errFull   = fmt.Errorf("redis is slow: too many questions are waiting: %w", authz.ErrOverloaded)
	errSlow   = fmt.Errorf("redis is slow: the questions that wait already take the time for another: %w", authz.ErrOverloaded)
	errClosed = errors.New("redis was not asked: closed")
)

// A question asks Redis about one key. It is asked once. Whoever asks it does not touch
// it after settling it.
type question struct {
	subject
	asked time.Time // when it was made, by Sessions.now

	// fill receives the answer if it may become a fact. If fill is nil, the answer goes
	// to the channel, which has a buffer of one.
	fill   *fill
	answer chan answer
	limit  *time.Timer
}

// A subject is what a question is about.
type subject struct {
	key   string
	timed bool // the value of the key is a time, which is asked for too
}

// A state is that of a key.
type state struct {
	exists bool
	value  int64 // of a timed key that exists: the time in seconds since 1970
}

// An answer is the state of one key in Redis at some time after question.asked.
type answer struct {
	state
	// For a fill only: the key's time to live, or forever, and whether the server that
	// answered is the one that sends the fill's stream its invalidation messages.
	left      time.Duration
	announced bool
	err       error
}

// forever is the time to live of a key that does not expire.
const forever = time.Duration(-1)

// A batcher sends questions that are asked at about the same time in one pipeline. When
// a worker becomes free it sends all waiting questions, and it never delays a question to
// wait for others. Under load many questions share a round trip. When no pipeline is in
// progress, a caller sends its question itself, without a worker. A later question never
// joins one that was already sent, so a question asked after a logout reaches Redis after
// the logout.
type batcher struct {
	queue chan *question
	busy  atomic.Int32                       // pipelines in progress
	began [workers]atomic.Pointer[time.Time] // when each worker began its pipeline; nil while it has none
	took  authz.ServiceTime                  // of a worker's pipeline
	done  chan struct{}                      // closed by close
	spare sync.Pool                          // of unused *question with channel and timer
	most  atomic.Int32                       // questions in a pipeline; maxBatch or less
	now   func() time.Time
	limit time.Duration
	ask   func(context.Context, []*question) // asks and settles all questions

	running sync.WaitGroup
	closing sync.Once
}

func newBatcher(limit time.Duration, now func() time.Time, ask func(context.Context, []*question)) *batcher {
	b := &batcher{
		queue: make(chan *question, maxWaiting),
		done:  make(chan struct{}),
		now:   now,
		limit: limit,
		ask:   ask,
	}
	b.most.Store(maxBatch)
	for n := range workers {
		b.running.Go(func() { b.work(n) })
	}
	return b
}

// close stops the workers after their current pipelines. Callers that are still waiting
// get errClosed.
func (b *batcher) close() {
	b.closing.Do(func() { close(b.done) })
	b.running.Wait()
}

// put queues a question for the workers. It does not block.
func (b *batcher) put(q *question) error {
	select {
	case <-b.done:
		return errClosed
	default:
	}
	select {
	case b.queue <- q:
		return nil
	default:
		return errFull
	}
}

// putInTime is put for a question that is refused at once if it will probably not be answered
// in time.
func (b *batcher) putInTime(ctx context.Context, q *question) error {
	now := b.now()
	left := b.limit - now.Sub(q.asked)
	if end, ok := ctx.Deadline(); ok {
		left = min(left, end.Sub(now))
	}
	if wait := b.waits(now); wait > 0 && !b.took.InTime(wait, left) {
		return errSlow
	}
	return b.put(q)
}

// waits returns how long another question will probably wait for a worker.
func (b *batcher) waits(now time.Time) time.Duration {
	var free [workers]time.Duration // when each worker ends its pipeline, from now on
	took := b.took.Mean()
	for i := range b.began {
		began := b.began[i].Load()
		if began == nil {
			return 0
		}
		free[i] = max(0, took-now.Sub(*began))
	}
	slices.Sort(free[:])
	before := len(b.queue) / int(b.most.Load()) // pipelines
	return free[before%workers] + time.Duration(before/workers)*took
}

// get asks for the state of a key. It waits for the answer until ctx ends or until
// b.limit after asked.
func (b *batcher) get(ctx context.Context, about subject, asked time.Time) (state, error) {
	q, _ := b.spare.Get().(*question)
	if q == nil {
		q = &question{answer: make(chan answer, 1), limit: time.NewTimer(b.limit)}
		q.limit.Stop()
	}
	q.subject, q.asked = about, asked
	if b.busy.CompareAndSwap(0, 1) {
		return b.alone(ctx, q)
	}
	if err := b.putInTime(ctx, q); err != nil {
		b.keep(q)
		return state{}, err
	}
	q.limit.Reset(b.limit - b.now().Sub(asked))
	select {
	case a := <-q.answer:
		q.limit.Stop()
		b.keep(q)
		return a.state, a.err
	// After giving up, do not reuse the question: a worker may still answer it.
	case <-ctx.Done():
		q.limit.Stop()
		return state{}, timedOut(ctx.Err())
	case <-q.limit.C:
		return state{}, timedOut(context.DeadlineExceeded)
	case <-b.done:
		q.limit.Stop()
		return state{}, errClosed
	}
}

// alone sends one question without a worker. Its caller has set b.busy to 1, so that
// other questions go to the workers.
func (b *batcher) alone(ctx context.Context, q *question) (state, error) {
	defer b.busy.Add(-1)
	select {
	case <-b.done:
		b.keep(q)
		return state{}, errClosed
	default:
	}
	ctx, cancel := context.WithDeadline(ctx, q.asked.Add(b.limit))
	defer cancel()
	b.ask(ctx, []*question{q})
	a := <-q.answer
	b.keep(q)
	return a.state, a.err
}

func (b *batcher) keep(q *question) {
	q.subject = subject{}
	b.spare.Put(q)
}

func (b *batcher) work(n int) {
	batch := make([]*question, 0, maxBatch)
	for {
		var q *question
		select {
		case <-b.done:
			return
		case q = <-b.queue:
		}
		// Yield, so that goroutines about to ask can join this batch. This is not a delay.
		runtime.Gosched()
		if batch = b.fill(batch, q); len(batch) > 0 {
			b.askTogether(n, batch)
		}
		clear(batch)
		batch = batch[:0]
	}
}

// askTogether sends a batch as worker n. It uses a context of its own, because the questions
// belong to different callers.
func (b *batcher) askTogether(n int, batch []*question) {
	b.busy.Add(1)
	defer b.busy.Add(-1)
	ctx, cancel := context.WithTimeout(context.Background(), b.limit)
	defer cancel()
	began := b.now()
	b.began[n].Store(&began)
	defer b.began[n].Store(nil)
	b.ask(ctx, batch)
	took := b.now().Sub(began)
	b.fit(len(batch), took)
	if ctx.Err() == nil { // a pipeline without an answer says nothing about those with one
		b.took.Took(took)
	}
}

// fit makes pipelines shorter if long ones take most of the limit, and longer again if they
// take little of it. If Redis takes its time for each question, long pipelines would all time out.
func (b *batcher) fit(size int, took time.Duration) {
	most := int(b.most.Load())
	switch {
	case took > b.limit*3/4 && size > 1:
		most = size * 3 / 4
	case took < b.limit/4 && size == most:
		most = min(most+1+most/4, maxBatch)
	case took < b.limit/2 && size == most:
		most = min(most+1, maxBatch)
	}
	b.most.Store(int32(most)) //nolint:gosec // at most maxBatch
}

// fill adds the first question and those that wait to the batch. It drops those that can no
// longer be answered in time, so that Redis works for callers that still wait. If that is so for
// all, it adds the last one that has time left: Redis may have become faster.
func (b *batcher) fill(batch []*question, first *question) []*question {
	var last *question
	now, most := b.now(), int(b.most.Load())
	for q, more := first, true; more; {
		switch left := b.limit - now.Sub(q.asked); {
		case left <= 0:
			q.settle(answer{err: timedOut(context.DeadlineExceeded)})
		case b.took.InTime(0, left):
			batch = append(batch, q)
		default:
			if last != nil {
				last.settle(answer{err: errSlow})
			}
			last = q
		}
		if more = len(batch) < most; more {
			select {
			case q = <-b.queue:
			default:
				more = false
			}
		}
	}
	switch {
	case last == nil:
	case len(batch) == 0:
		batch = append(batch, last)
	default:
		last.settle(answer{err: errSlow})
	}
	return batch
}

// settle delivers the answer. The question must not be used after it.
func (q *question) settle(a answer) {
	if q.fill != nil {
		q.fill.settle(a)
		return
	}
	q.answer <- a
}
