package server

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"warder/authz/mask"
	"warder/cmd/warder/internal/cli"
)

// lineBacklog is the maximum number of lines of one log that wait for a slow reader.
// Further lines are dropped and counted, so that a log never delays a check.
const lineBacklog = 4096

// backlogBytes bounds the total size of the waiting lines of one log. It is far more than
// lineBacklog lines of usual length need. Access log lines contain texts that clients
// choose, so they may be longer.
const backlogBytes = 8 << 20

// The names of the logs that use a line queue, as in the metric.
const (
	linesOfDecisions = "decisions"
	linesOfAccess    = "access"
	linesOfOwn       = "own"
)

// A lineQueue writes lines in its own goroutine, so that callers never wait for the
// reader. Lines that are waiting are written together. If a log's part of the queue is
// full, its lines are dropped and counted. The decision log and Envoy's access log share the
// queue of standard output, so that their lines do not interleave. Each has its own part, so
// that neither can use up the room of the other.
type lineQueue struct {
	name    string // name of the output, for messages
	lines   chan queuedLine
	parts   []*linePart
	log     *slog.Logger
	out     io.Writer
	full    chan struct{} // lines were dropped
	stopped chan struct{}
	silent  chan struct{} // closed when the reporter has ended
	failing bool          // the last write failed; only drain uses it

	mu     sync.RWMutex // write-locked while closing
	closed bool
}

// A linePart is the part of a [lineQueue] that one log may use.
type linePart struct {
	queue   *lineQueue
	name    string
	entries atomic.Int64 // number of lines in the queue
	waiting atomic.Int64 // bytes in the queue
	dropped atomic.Int64 // since the last report
	total   prometheus.Counter
}

// A queuedLine is a line, or a function that builds it when it is written.
type queuedLine struct {
	part *linePart
	size int64
	text []byte
	make func() []byte // if nil, text is the line
}

// newLineQueue returns a queue that writes to out, with a part for each of logs. Messages
// to log refer to out by name.
func newLineQueue(name string, out io.Writer, log *slog.Logger, dropped *prometheus.CounterVec, logs ...string) *lineQueue {
	q := &lineQueue{
		name: name, log: log, out: out, lines: make(chan queuedLine, lineBacklog*len(logs)),
		full: make(chan struct{}, 1), stopped: make(chan struct{}), silent: make(chan struct{}),
	}
	for _, l := range logs {
		q.parts = append(q.parts, &linePart{queue: q, name: l, total: dropped.WithLabelValues(l)})
	}
	go q.drain()
	go q.report()
	return q
}

// part returns the part of the log with this name, which must have been given to
// newLineQueue.
func (q *lineQueue) part(name string) *linePart {
	for _, p := range q.parts {
		if p.name == name {
			return p
		}
	}
	return nil
}

// Write queues one whole line, as slog's handlers write it. It does not block.
func (p *linePart) Write(line []byte) (int, error) {
	if p.admit(int64(len(line))) {
		p.put(queuedLine{part: p, size: int64(len(line)), text: bytes.Clone(line)})
	}
	return len(line), nil
}

// later queues a function that builds a line. It reserves size bytes until the line is
// written. It does not block.
func (p *linePart) later(size int, line func() []byte) {
	if p.admit(int64(size)) {
		p.put(queuedLine{part: p, size: int64(size), make: line})
	}
}

// admit reserves room for a line and reports whether there was any. If not, it drops the
// line.
func (p *linePart) admit(size int64) bool {
	waiting, entries := p.waiting.Add(size), p.entries.Add(1)
	if waiting <= backlogBytes && entries <= lineBacklog {
		return true
	}
	p.waiting.Add(-size)
	p.entries.Add(-1)
	p.drop(1)
	return false
}

// put queues a line that was admitted.
func (p *linePart) put(line queuedLine) {
	p.queue.mu.RLock()
	defer p.queue.mu.RUnlock()
	if !p.queue.closed {
		select {
		case p.queue.lines <- line:
			return
		default:
		}
	}
	p.release(line)
	p.drop(1)
}

func (p *linePart) release(line queuedLine) {
	p.waiting.Add(-line.size)
	p.entries.Add(-1)
}

// drop counts dropped lines.
func (p *linePart) drop(lines int) {
	p.total.Add(float64(lines))
	p.dropped.Add(int64(lines))
	select {
	case p.queue.full <- struct{}{}:
	default:
	}
}

func (q *lineQueue) drain() {
	defer close(q.stopped)
	var b lineBatch
	for line := range q.lines {
		text := q.textOf(line)
		if len(b.text)+len(text) > maxWrite {
			q.write(&b)
		}
		b.add(line, text)
		if len(q.lines) == 0 { // to wait for another line would delay this one
			q.write(&b)
		}
	}
}

// maxWrite bounds a write of several lines. A pipe takes that much as a whole (PIPE_BUF in
// Linux). With more, a line could end up inside a line of another log, if standard output and
// standard error are the same pipe.
const maxWrite = 4096

// maxBatchKept bounds the buffer that a lineBatch keeps after a long line.
const maxBatchKept = 64 << 10

// A lineBatch holds the lines that are written together.
type lineBatch struct {
	text  []byte
	lines []batchedLine
}

type batchedLine struct {
	queuedLine
	end int // where the line ends in the text of the batch
}

func (b *lineBatch) add(line queuedLine, text []byte) {
	b.text = append(b.text, text...)
	b.lines = append(b.lines, batchedLine{line, len(b.text)})
}

// write writes the lines of a batch and empties it.
func (q *lineQueue) write(b *lineBatch) {
	if len(b.lines) == 0 {
		return
	}
	n, err := q.out.Write(b.text)
	if err != nil && !q.failing { // log once, because the reader may be gone for good
		q.log.Error("a log cannot be written", "to", q.name, "error", cli.Cause(err))
	}
	q.failing = err != nil
	for _, line := range b.lines {
		if err != nil && line.end > n {
			line.part.total.Inc()
		}
		line.part.release(line.queuedLine)
	}
	clear(b.lines) // they hold what the client sent
	b.text, b.lines = b.text[:0], b.lines[:0]
	if cap(b.text) > maxBatchKept {
		b.text = nil
	}
}

// textOf returns the text of a line. If building it panics, only this line is lost.
func (q *lineQueue) textOf(line queuedLine) (text []byte) {
	if line.make == nil {
		return line.text
	}
	defer func() {
		if fault := recover(); fault != nil {
			mask.LogPanic(context.Background(), q.log, "log", fault)
			line.part.drop(1)
			text = nil
		}
	}()
	return line.make()
}

// reportTime is the minimum time between two reports of dropped lines.
const reportTime = time.Minute

// report logs that lines are dropped, first at once and then every reportTime. It runs in
// its own goroutine because the writer may be blocked.
func (q *lineQueue) report() {
	defer close(q.silent)
	for {
		select {
		case <-q.full:
			q.reportDropped()
		case <-q.stopped:
			q.reportDropped()
			return
		}
		timer := time.NewTimer(reportTime)
		select {
		case <-timer.C:
		case <-q.stopped:
			timer.Stop()
		}
	}
}

func (q *lineQueue) reportDropped() {
	for _, p := range q.parts {
		if n := p.dropped.Swap(0); n > 0 {
			q.log.Warn("lines dropped, its reader is too slow or they are too many or too large", "log", p.name, "to", q.name, "lines", n)
		}
	}
}

// flushTime is the minimum time that the process waits at its end for a reader that does
// not read.
const flushTime = 2 * time.Second

// close writes the waiting lines, and gives up after patience.
func (q *lineQueue) close(patience time.Duration) {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.lines)
	}
	q.mu.Unlock()
	select {
	case <-q.stopped:
		<-q.silent
	case <-time.After(max(patience, flushTime)):
		q.log.Warn("a log is not read, its last lines are lost", "to", q.name)
	}
}

// lineHandler returns a handler that writes records as JSON lines, without level and message.
// The attributes of a record contain everything.
func lineHandler(w io.Writer) slog.Handler {
	return slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{}
		}
		return a
	}})
}
