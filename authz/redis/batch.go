package redis

import (
	"context"
	"errors"
	"fmt"
	"runtime"
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
	errClosed = errors.New("redis was not asked: closed")
)

// A question asks Redis about one key. It is asked once. Whoever asks it does not touch
// it after settling it.
type question struct {
	key   string
	asked time.Time // when it was made, by Sessions.now

	// fill receives the answer if it may become a fact. If fill is nil, the answer goes
	// to the channel, which has a buffer of one.
	fill   *fill
	answer chan answer
	limit  *time.Timer
}

// An answer is the state of one key in Redis at some time after question.asked.
type answer struct {
	alive bool
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
	busy  atomic.Int32  // pipelines in progress
	done  chan struct{} // closed by close
	spare sync.Pool     // of unused *question with channel and timer
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
	for range workers {
		b.running.Go(b.work)
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

// alive asks whether a key exists. It waits for the answer until ctx ends or until
// b.limit after asked.
func (b *batcher) alive(ctx context.Context, key string, asked time.Time) (bool, error) {
	q, _ := b.spare.Get().(*question)
	if q == nil {
		q = &question{answer: make(chan answer, 1), limit: time.NewTimer(b.limit)}
		q.limit.Stop()
	}
	q.key, q.asked = key, asked
	if b.busy.CompareAndSwap(0, 1) {
		return b.alone(ctx, q)
	}
	if err := b.put(q); err != nil {
		b.keep(q)
		return false, err
	}
	q.limit.Reset(b.limit - b.now().Sub(asked))
	select {
	case a := <-q.answer:
		q.limit.Stop()
		b.keep(q)
		return a.alive, a.err
	// After giving up, do not reuse the question: a worker may still answer it.
	case <-ctx.Done():
		q.limit.Stop()
		return false, timedOut(ctx.Err())
	case <-q.limit.C:
		return false, timedOut(context.DeadlineExceeded)
	case <-b.done:
		q.limit.Stop()
		return false, errClosed
	}
}

// alone sends one question without a worker. Its caller has set b.busy to 1, so that
// other questions go to the workers.
func (b *batcher) alone(ctx context.Context, q *question) (bool, error) {
	defer b.busy.Add(-1)
	select {
	case <-b.done:
		b.keep(q)
		return false, errClosed
	default:
	}
	ctx, cancel := context.WithDeadline(ctx, q.asked.Add(b.limit))
	defer cancel()
	b.ask(ctx, []*question{q})
	a := <-q.answer
	b.keep(q)
	return a.alive, a.err
}

func (b *batcher) keep(q *question) {
	q.key = ""
	b.spare.Put(q)
}

func (b *batcher) work() {
	batch := make([]*question, 0, maxBatch)
	for {
		select {
		case <-b.done:
			return
		case q := <-b.queue:
			batch = append(batch, q)
		}
		// Yield, so that goroutines about to ask can join this batch. This is not a delay.
		runtime.Gosched()
		batch = b.more(batch)
		if batch = b.inTime(batch); len(batch) > 0 {
			b.askTogether(batch)
		}
		clear(batch)
		batch = batch[:0]
	}
}

// askTogether sends a batch. It uses a context of its own, because the questions belong
// to different callers.
func (b *batcher) askTogether(batch []*question) {
	b.busy.Add(1)
	defer b.busy.Add(-1)
	ctx, cancel := context.WithTimeout(context.Background(), b.limit)
	defer cancel()
	b.ask(ctx, batch)
}

// more adds waiting questions to the batch, up to maxBatch.
func (b *batcher) more(batch []*question) []*question {
	for len(batch) < maxBatch {
		select {
		case q := <-b.queue:
			batch = append(batch, q)
		default:
			return batch
		}
	}
	return batch
}

// inTime drops the questions whose callers have timed out. After an outage this lets the
// first pipelines serve callers that are still waiting.
func (b *batcher) inTime(batch []*question) []*question {
	now, kept := b.now(), batch[:0]
	for _, q := range batch {
		if now.Sub(q.asked) < b.limit {
			kept = append(kept, q)
			continue
		}
		q.settle(answer{err: timedOut(context.DeadlineExceeded)})
	}
	return kept
}

// settle delivers the answer. The question must not be used after it.
func (q *question) settle(a answer) {
	if q.fill != nil {
		q.fill.settle(a)
		return
	}
	q.answer <- a
}
