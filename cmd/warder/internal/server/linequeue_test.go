package server

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"warder/authz"
	"warder/authz/authztest"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/server/metrics"
)

// TestDecisionLineIsMadeLater checks that a check only copies what its line needs. Masking and
// encoding happen when the line is written, and unused parts of the request are not retained.
func TestDecisionLineIsMadeLater(t *testing.T) {
	t.Parallel()
	pipe := &stuckPipe{open: make(chan struct{})}
	q := testLines(t, pipe, clitest.Discard())
	l := newDecisionLog(q.part(linesOfDecisions), config.LogAll, defaultSources(t), nil)
	l.Observed(t.Context(), observe("/first", ""))
	for len(q.lines) > 0 { // until the writer has taken it
		time.Sleep(time.Millisecond)
	}
	hostile := "/admin/" + strings.Repeat("%3DBearer", 6400)
	l.Observed(t.Context(), observe(hostile, hostile, authz.Header{Name: "x-api-key", Value: hostile}, authz.Header{Name: "authorization", Value: "Bearer " + hostile}))
	line := <-q.lines
	if line.text != nil || line.make == nil {
		t.Errorf("the line was made before the answer: %d bytes", len(line.text))
	}
	if line.size > 40<<10 {
		t.Errorf("%d bytes are kept of a request", line.size)
	}
	if text := string(line.make()); len(text) > 1<<10 || !strings.Contains(text, `…(cut)"`) {
		t.Errorf("the line has %d bytes: %.300s", len(text), text)
	}
	line.part.release(line)
	close(pipe.open)
	q.close(0)
}

// TestStuckReaderIsTold checks that a reader that does not read is reported once, while it is
// stuck. New lines are written when it reads again, and one log uses no room of another.
func TestStuckReaderIsTold(t *testing.T) {
	t.Parallel()
	pipe := &stuckPipe{open: make(chan struct{})}
	var own authztest.Buffer
	q := testLines(t, pipe, NewLogger(&own, config.Log{}))
	l := newDecisionLog(q.part(linesOfDecisions), config.LogAll, defaultSources(t), nil)
	for range 3 * lineBacklog {
		l.Observed(t.Context(), observe("/x", "")) // would hang here
	}
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(own.String(), "lines dropped") && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if n := strings.Count(own.String(), "lines dropped"); n != 1 {
		t.Errorf("told %d times: %s", n, own.String())
	}
	if n := testutil.ToFloat64(q.part(linesOfDecisions).total); n < 2*lineBacklog-1 || n > 2*lineBacklog {
		t.Errorf("%v lines are counted as dropped", n)
	}
	_, _ = q.part(linesOfAccess).Write([]byte("the other log\n"))
	close(pipe.open)
	for q.part(linesOfDecisions).entries.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	l.Observed(t.Context(), observe("/again", ""))
	q.close(0)
	for _, want := range []string{"the other log", "/again"} {
		if !strings.Contains(pipe.String(), want) {
			t.Errorf("%q is missing", want)
		}
	}
}

// A writeLog records each write. The first write waits until open is closed.
type writeLog struct {
	open   chan struct{}
	failAt int // the write that fails after half of its bytes, from 1; 0 for none

	mu     sync.Mutex
	writes []string
}

func (w *writeLog) Write(b []byte) (int, error) {
	<-w.open
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes = append(w.writes, string(b))
	if len(w.writes) == w.failAt {
		return len(b) / 2, io.ErrShortWrite
	}
	return len(b), nil
}

// TestLinesAreWrittenTogether checks that lines that wait are written together, each of them
// whole and in order, and that no write but that of a long line is larger than a pipe takes at
// once.
func TestLinesAreWrittenTogether(t *testing.T) {
	t.Parallel()
	const lines = 1000
	out := &writeLog{open: make(chan struct{})}
	q := testLines(t, out, clitest.Discard())
	var want strings.Builder
	for i := range lines {
		size := i % 700
		if i%300 == 7 {
			size = 3 * maxWrite
		}
		line := fmt.Sprintf("%d %s\n", i, strings.Repeat("x", size))
		want.WriteString(line)
		_, _ = q.part([]string{linesOfDecisions, linesOfAccess}[i%2]).Write([]byte(line))
	}
	close(out.open)
	q.close(0)
	if strings.Join(out.writes, "") != want.String() {
		t.Error("the lines are not those that were written, in their order")
	}
	for _, text := range out.writes {
		if !strings.HasSuffix(text, "\n") || len(text) > maxWrite && strings.Count(text, "\n") > 1 {
			t.Errorf("a write of %d bytes with %d lines that ends in %q", len(text), strings.Count(text, "\n"), text[len(text)-1:])
		}
	}
	if n := len(out.writes); n > lines/5 {
		t.Errorf("%d writes for %d lines that waited", n, lines)
	}
	for _, p := range q.parts {
		if p.entries.Load() != 0 || p.waiting.Load() != 0 {
			t.Errorf("%s: %d lines of %d bytes still count as waiting", p.name, p.entries.Load(), p.waiting.Load())
		}
	}
}

// TestLineIsNotDelayed checks that a line is written without a line that comes after it.
func TestLineIsNotDelayed(t *testing.T) {
	t.Parallel()
	var out authztest.Buffer
	q := testLines(t, &out, clitest.Discard())
	for i := range 20 {
		_, _ = q.part(linesOfAccess).Write([]byte("line\n"))
		for deadline := time.Now().Add(30 * time.Second); strings.Count(out.String(), "\n") <= i; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("line %d is not written", i)
			}
		}
	}
	q.close(0)
}

// TestFailedWrite checks that of lines that are written together, those that the reader did not
// get are counted, and that the failure is logged once.
func TestFailedWrite(t *testing.T) {
	t.Parallel()
	out := &writeLog{open: make(chan struct{}), failAt: 2}
	var own authztest.Buffer
	q := testLines(t, out, NewLogger(&own, config.Log{}))
	_, _ = q.part(linesOfAccess).Write([]byte("first\n"))
	for len(q.lines) > 0 { // until the writer has taken it
		time.Sleep(time.Millisecond)
	}
	for range 4 {
		_, _ = q.part(linesOfAccess).Write([]byte("access\n"))
	}
	for range 2 {
		_, _ = q.part(linesOfDecisions).Write([]byte("decisions\n"))
	}
	close(out.open)
	q.close(0)
	for name, want := range map[string]float64{linesOfAccess: 1, linesOfDecisions: 2} { // 24 of 48 bytes are written: 3 lines
		if got := testutil.ToFloat64(q.part(name).total); got != want {
			t.Errorf("%s: %v lines are counted as dropped, want %v", name, got, want)
		}
	}
	if n := strings.Count(own.String(), "cannot be written"); n != 1 {
		t.Errorf("told %d times: %s", n, own.String())
	}
}

// TestOwnLogNeverBlocks checks that warder's own log does not block, because checks write to it.
func TestOwnLogNeverBlocks(t *testing.T) {
	t.Parallel()
	pipe := &stuckPipe{open: make(chan struct{})}
	dropped := metrics.NewDroppedLines()
	log, q := newQueuedLogger(pipe, config.Log{}, dropped)
	for range 2 * lineBacklog {
		log.Error("a store does not answer") // would hang here
	}
	if n := testutil.ToFloat64(dropped.WithLabelValues(linesOfOwn)); n < lineBacklog-1 {
		t.Errorf("%v lines are counted as dropped", n)
	}
	close(pipe.open)
	q.close(0)
	if n := strings.Count(pipe.String(), "a store does not answer"); n < lineBacklog {
		t.Errorf("%d lines were kept", n)
	}
}

// TestLineThatPanics checks that only the line whose function panics is lost.
func TestLineThatPanics(t *testing.T) {
	t.Parallel()
	var out, own authztest.Buffer
	q := testLines(t, &out, NewLogger(&own, config.Log{}))
	q.part(linesOfDecisions).later(1, func() []byte { panic("token=c4n4ry") })
	_, _ = q.part(linesOfAccess).Write([]byte("next\n"))
	q.close(0)
	if out.String() != "next\n" || !strings.Contains(own.String(), `"panic"`) || strings.Contains(own.String(), "c4n4ry") {
		t.Errorf("%q, %s", out.String(), own.String())
	}
}

// TestTooManyCredentials checks that a request with more than maxCredentials credentials hides
// all texts of the client.
func TestTooManyCredentials(t *testing.T) {
	t.Parallel()
	var out authztest.Buffer
	q := testLines(t, &out, clitest.Discard())
	var headers []authz.Header
	for i := range maxCredentials + 1 {
		headers = append(headers, authz.Header{Name: "x-api-key", Value: "canary-key-" + string(rune('a'+i))})
	}
	newDecisionLog(q.part(linesOfDecisions), config.LogAll, defaultSources(t), nil).Observed(t.Context(), observe("/a/canary-key-"+string(rune('a'+maxCredentials)), "", headers...))
	q.close(0)
	if strings.Contains(out.String(), "canary") || !strings.Contains(out.String(), `"path":"***FILTERED***"`) {
		t.Error(out.String())
	}
}
