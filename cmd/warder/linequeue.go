package main

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// lineBacklog is how many lines may wait for a slow reader of standard output.
// Further ones are dropped and counted: a log never holds up a check.
const lineBacklog = 4096

// backlogBytes is how much they may hold together: far more than that many usual lines,
// of which an access log's carry what a client chose.
const backlogBytes = 16 << 20

// A lineQueue is a writer that never waits: one goroutine writes, and lines that
// find the queue full are dropped and counted. The decision log and Envoy's access log
// share the one in front of standard output, so that no line is cut by another.
type lineQueue struct {
	lines   chan []byte
	waiting atomic.Int64 // bytes in lines
	dropped atomic.Int64
	log     *slog.Logger
	out     io.Writer
	stopped chan struct{}

	mu     sync.RWMutex // held for writing while closing
	closed bool
}

func newLineQueue(out io.Writer, log *slog.Logger) *lineQueue {
	q := &lineQueue{lines: make(chan []byte, lineBacklog), log: log, out: out, stopped: make(chan struct{})}
	go q.drain()
	return q
}

// Write takes one whole line, as slog's handlers give it.
func (q *lineQueue) Write(line []byte) (int, error) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if q.closed {
		return len(line), nil
	}
	size := int64(len(line))
	if q.waiting.Add(size) <= backlogBytes {
		select {
		case q.lines <- bytes.Clone(line):
			return len(line), nil
		default:
		}
	}
	q.waiting.Add(-size)
	q.dropped.Add(1)
	return len(line), nil
}

func (q *lineQueue) drain() {
	defer close(q.stopped)
	failed := false
	for line := range q.lines {
		if _, err := q.out.Write(line); err != nil && !failed {
			failed = true // once: the reader is gone, and may be for good
			q.log.Error("standard output cannot be written", "error", cause(err))
		} else if err == nil {
			failed = false
		}
		q.waiting.Add(-int64(len(line)))
		if len(q.lines) == 0 {
			q.reportDropped()
		}
	}
	q.reportDropped()
}

func (q *lineQueue) reportDropped() {
	if n := q.dropped.Swap(0); n > 0 {
		q.log.Warn("lines dropped, standard output is too slow", "lines", n)
	}
}

// flushTime bounds how long the end of the process waits for a reader of
// standard output that does not read.
const flushTime = 2 * time.Second

func (q *lineQueue) close() {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.lines)
	}
	q.mu.Unlock()
	select {
	case <-q.stopped:
	case <-time.After(flushTime):
		q.log.Warn("standard output is not read, the last lines are lost")
	}
}

// handler writes records as JSON lines, without level and message: what they are
// is in their fields.
func (q *lineQueue) handler() slog.Handler {
	return slog.NewJSONHandler(q, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{}
		}
		return a
	}})
}
