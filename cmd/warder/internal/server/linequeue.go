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

// lineBacklog is how many lines of one log may wait for a slow reader. Further
// ones are dropped and counted: a log never holds up a check.
const lineBacklog = 4096

// backlogBytes is how much the lines of one log may hold together: far more than that
// many usual lines, of which an access log's carry what a client chose.
const backlogBytes = 8 << 20

// The logs that have a part of a line queue, as the metric names them.
const (
	linesOfDecisions = "decisions"
	linesOfAccess    = "access"
	linesOfOwn       = "own"
)

// A lineQueue writes lines in one goroutine, so that nobody else waits for the
// reader. Lines that find their part of the queue full are dropped and counted. The
// decision log and Envoy's access log share the one in front of standard output, so
// that no line is cut by another; each has a part of its own, so that neither takes
// the room of the other.
type lineQueue struct {
	name    string // of what is written to
	lines   chan queuedLine
	parts   []*linePart
	log     *slog.Logger
	out     io.Writer
	full    chan struct{} // lines were dropped
	stopped chan struct{}
	silent  chan struct{} // closed when the reporter has ended

	mu     sync.RWMutex // held for writing while closing
	closed bool
}

// A linePart is what one log may use of a [lineQueue].
type linePart struct {
	queue   *lineQueue
	name    string
	entries atomic.Int64 // in the queue
	waiting atomic.Int64 // bytes in the queue
	dropped atomic.Int64 // since this was last told
	total   prometheus.Counter
}

// A queuedLine is a line, or how to make it when it is its turn.
type queuedLine struct {
	part *linePart
	size int64
	text []byte
	make func() []byte // nil: text is the line
}

// newLineQueue makes a queue in front of out, which is called name in messages to
// log, with a part for each of the logs.
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

// part returns the part of a log, which the queue was made with.
func (q *lineQueue) part(name string) *linePart {
	for _, p := range q.parts {
		if p.name == name {
			return p
		}
	}
	return nil
}

// Write takes one whole line, as slog's handlers give it. It does not wait.
func (p *linePart) Write(line []byte) (int, error) {
	if p.admit(int64(len(line))) {
		p.put(queuedLine{part: p, size: int64(len(line)), text: bytes.Clone(line)})
	}
	return len(line), nil
}

// later takes what makes a line, and holds size bytes until then. It does not wait.
func (p *linePart) later(size int, line func() []byte) {
	if p.admit(int64(size)) {
		p.put(queuedLine{part: p, size: int64(size), make: line})
	}
}

// admit reserves room for a line, or drops it.
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

// drop counts lines that nobody will read.
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
	failed := false
	for line := range q.lines {
		text := q.textOf(line)
		if _, err := q.out.Write(text); err != nil {
			line.part.total.Inc()
			if !failed { // once: the reader is gone, and may be for good
				q.log.Error("a log cannot be written", "to", q.name, "error", cli.Cause(err))
			}
			failed = true
		} else {
			failed = false
		}
		line.part.release(line)
	}
}

// textOf makes a line. A panic loses the line and nothing else.
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

// reportTime is how often dropped lines are spoken of.
const reportTime = time.Minute

// report says that lines are dropped, when it begins and then now and then. It does so
// beside the writer, which may be stuck.
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

// flushTime is how long the end of the process waits at least for a reader that
// does not read.
const flushTime = 2 * time.Second

// Close writes what waits, and gives up after patience.
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

// lineHandler writes records as JSON lines, without level and message: what they are
// is in their fields.
func lineHandler(w io.Writer) slog.Handler {
	return slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{}
		}
		return a
	}})
}
