package redis

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxBatch is how many questions share a pipeline at most, and so a connection
	// and its fate.
	maxBatch = 128
	// maxWaiting bounds the questions that wait for a pipeline: one more is an error,
	// at once. It is what a frozen Redis can cost in memory.
	maxWaiting = 4096
	// workers is how many pipelines are under way at most. One would make all wait for
	// a connection that has died; each more makes the pipelines shorter.
	workers = 4
)

var (
	errFull   = errors.New("redis is slow: too many questions are waiting")
	errClosed = errors.New("redis is not asked any more: closed")
)

// A question about one key. It is asked once, by a worker, which gives the answer to
// whoever waits for it and does not touch it after that.
type question struct {
	key   string
	asked time.Time // when it was put, by the clock of the sessions

	// fill is what waits for the answer, when that may become a fact; else somebody
	// waits for the channel, which takes one answer without a reader.
	fill   *fill
	answer chan answer
	limit  *time.Timer
}

// An answer is what Redis said of one key at some time after the question was put.
type answer struct {
	alive bool
	// Only for a fill: how long the key still lives, or forever, and whether the server
	// that said it is the one that announces changes to the fill's stream.
	left      time.Duration
	announced bool
	err       error
}

// forever is the time left to a key without an end.
const forever = time.Duration(-1)

// A batcher lets questions that are put at about the same time share a pipeline:
// whatever waits when a worker is free goes together, and nothing waits for company.
// So under load the cost of a round trip is shared by many, and a question that finds
// nobody asking is asked at once by whoever has it, without a worker. A question that
// was sent is never joined by a later one, so that whoever asks after a logout asks
// Redis after it.
type batcher struct {
	queue chan *question
	busy  atomic.Int32  // pipelines under way
	done  chan struct{} // closed by close
	spare sync.Pool     // of *question with channel and timer, nobody's
	now   func() time.Time
	limit time.Duration
	ask   func(context.Context, []*question) // asks all and answers each

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

// close ends the workers when they are done with what they are asking. Whoever still
// waits gets an error.
func (b *batcher) close() {
	b.closing.Do(func() { close(b.done) })
	b.running.Wait()
}

// put hands a question to the workers, or says why not.
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

// alive asks whether a key is there and waits for the answer until the context ends
// or the limit, counted from asked, is over.
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
	// Whoever gives up leaves the question to the worker, so that the late answer is
	// nobody's.
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

// alone asks one question. Others find it busy, and a worker.
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
		// Whoever is about to ask gets to: a yield, not a delay.
		runtime.Gosched()
		batch = b.more(batch)
		if batch = b.inTime(batch); len(batch) > 0 {
			b.askTogether(batch)
		}
		clear(batch)
		batch = batch[:0]
	}
}

// askTogether asks for many, so no one's context ends it.
func (b *batcher) askTogether(batch []*question) {
	b.busy.Add(1)
	defer b.busy.Add(-1)
	ctx, cancel := context.WithTimeout(context.Background(), b.limit)
	defer cancel()
	b.ask(ctx, batch)
}

// more takes what else is waiting.
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

// inTime drops the questions that waited so long that nobody waits for them: after
// an outage the first pipelines are for those who came last.
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

// settle gives the answer to whoever waits for it. The question is theirs from then on.
func (q *question) settle(a answer) {
	if q.fill != nil {
		q.fill.settle(a)
		return
	}
	q.answer <- a
}
