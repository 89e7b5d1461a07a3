package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"warder/authz"
	"warder/authz/mask"
	"warder/envoy"
)

const (
	// decisionQueue is how many lines may wait for a slow reader of standard
	// output. Further ones are dropped and counted: a log never holds up a check.
	decisionQueue = 4096
	maxLoggedPath = 512 // bytes
	maxLoggedWord = 128 // bytes, of the other texts that a client chooses
)

// A decisionLog writes one JSON line for each decision, or for each denial. What
// a client sent is cut, and masked where it may be a secret.
type decisionLog struct {
	onlyDeny     bool
	apiKeyHeader string
	lines        *slog.Logger
	queue        *lineQueue
}

// newDecisionLog returns nil when no decision is to be logged.
func newDecisionLog(w io.Writer, which logDecisions, apiKeyHeader string, log *slog.Logger) *decisionLog {
	if which == logNone {
		return nil
	}
	queue := newLineQueue(w, log)
	handler := slog.NewJSONHandler(queue, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{}
		}
		return a
	}})
	return &decisionLog{
		onlyDeny:     which == logDeny,
		apiKeyHeader: strings.ToLower(apiKeyHeader),
		lines:        slog.New(handler),
		queue:        queue,
	}
}

// Observed implements envoy.Observer.
func (l *decisionLog) Observed(ctx context.Context, o envoy.Observation) {
	if l.onlyDeny && o.Decision.Allowed() {
		return
	}
	verdict := "deny"
	if o.Decision.Allowed() {
		verdict = "allow"
	}
	clientIP := ""
	if ip := o.Decision.ClientIP(); ip.IsValid() {
		clientIP = ip.String()
	}
	who := o.Decision.Principal()
	secrets := l.credentials(o.Request)
	l.lines.LogAttrs(ctx, slog.LevelInfo, "",
		slog.String("decision", verdict),
		slog.String("reason", o.Decision.Reason().String()),
		slog.String("route", o.Decision.Route()),
		slog.String("method", clean(o.Method, secrets, maxLoggedWord)),
		slog.String("path", clean(o.Path, secrets, maxLoggedPath)),
		slog.String("client_ip", clientIP),
		slog.String("user", who.UserID),
		slog.String("auth_method", who.Method.String()),
		slog.String("key_prefix", who.KeyPrefix),
		slog.String("request_id", clean(o.ID, secrets, maxLoggedWord)),
		slog.Int64("duration_us", o.Duration.Microseconds()))
}

// close writes what waits.
func (l *decisionLog) close() { l.queue.close() }

// jwtShape is what a compact JWS looks like: a JSON object in base64url begins
// with eyJ.
var jwtShape = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*(\.[A-Za-z0-9_-]*)?`)

// credentials are what came with the request to prove somebody: a client that
// puts its key into the path too must not have it logged.
func (l *decisionLog) credentials(r *authz.Request) []string {
	var found []string
	for i := range r.Headers {
		h := &r.Headers[i]
		value := h.Value
		switch h.Name {
		case "authorization":
			if _, credentials, ok := strings.Cut(value, " "); ok {
				value = strings.TrimLeft(credentials, " ")
			}
		case l.apiKeyHeader:
		default:
			continue
		}
		if len(value) >= minMasked {
			found = append(found, value)
		}
	}
	return found
}

// minMasked is the length of the shortest API key. Anything shorter would mask
// half of the paths that there are.
const minMasked = 8

// clean makes a text of the client fit to be logged: without the credentials
// that came with the request, without anything shaped like a token, and cut.
func clean(s string, secrets []string, limit int) string {
	s = maskText(s, secrets)
	if strings.Contains(s, "%") {
		// A secret may hide behind escapes. Such a text is not worth keeping.
		if plain := unescape(s); maskText(plain, secrets) != plain {
			return mask.Replacement
		}
	}
	if len(s) <= limit {
		return s
	}
	cut := limit
	for cut > limit-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…(cut)"
}

func maskText(s string, secrets []string) string {
	for _, secret := range secrets {
		s = strings.ReplaceAll(s, secret, mask.Replacement)
	}
	if strings.Contains(s, "eyJ") {
		s = jwtShape.ReplaceAllString(s, mask.Replacement)
	}
	return s
}

// unescape decodes the escapes that can be decoded and leaves the others.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := url.PathUnescape(s[i : i+3]); err == nil {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// A lineQueue is a writer that never waits: one goroutine writes, and lines that
// find the queue full are dropped and counted.
type lineQueue struct {
	lines   chan []byte
	dropped atomic.Int64
	log     *slog.Logger
	out     io.Writer
	stopped chan struct{}

	mu     sync.RWMutex // held for writing while closing
	closed bool
}

func newLineQueue(out io.Writer, log *slog.Logger) *lineQueue {
	q := &lineQueue{lines: make(chan []byte, decisionQueue), log: log, out: out, stopped: make(chan struct{})}
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
	select {
	case q.lines <- bytes.Clone(line):
	default:
		q.dropped.Add(1)
	}
	return len(line), nil
}

func (q *lineQueue) drain() {
	defer close(q.stopped)
	failed := false
	for line := range q.lines {
		if _, err := q.out.Write(line); err != nil && !failed {
			failed = true // once: the reader is gone, and may be for good
			q.log.Error("decision log: cannot be written", "error", cause(err))
		} else if err == nil {
			failed = false
		}
		if len(q.lines) == 0 {
			q.reportDropped()
		}
	}
	q.reportDropped()
}

func (q *lineQueue) reportDropped() {
	if n := q.dropped.Swap(0); n > 0 {
		q.log.Warn("decision log: lines dropped, standard output is too slow", "lines", n)
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
		q.log.Warn("decision log: standard output is not read, the last lines are lost")
	}
}
