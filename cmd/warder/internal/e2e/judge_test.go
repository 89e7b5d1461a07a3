package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"warder/authz/authztest"
)

// This file judges the answers to requests while credentials come and go and stores fail. What
// decides whether a request was allowed is whether it reached the application, not what the client
// was told.

// A life says from when to when a credential is valid. Its times are those at which the stores
// acknowledged a change, or before which it was sent, so that no answer is judged by a change that
// may or may not have happened yet.
type life struct {
	begun  time.Time     // the facts were acknowledged; zero: the credential never was valid
	ending time.Time     // before the end was sent; zero: there is none
	ended  time.Time     // the end was acknowledged; zero: it is not known to have happened
	within time.Duration // how long after its end the credential may still be accepted
}

// A right is the right answer to a request.
type right int

const (
	eitherIsRight right = iota // the credential began or ended meanwhile
	allowIsRight
	denyIsRight
)

// right returns the right answer to a request that was sent and answered at the given times.
func (l life) right(sent, answered time.Time) right {
	if !l.ended.IsZero() && !sent.Before(l.ended.Add(l.within)) {
		return denyIsRight
	}
	if !l.begun.IsZero() && !sent.Before(l.begun) && (l.ending.IsZero() || answered.Before(l.ending)) {
		return allowIsRight
	}
	return eitherIsRight
}

var (
	always = life{begun: time.Unix(1, 0)}
	never  = life{ended: time.Unix(1, 0)}
)

func TestLifeIsJudged(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	session := life{begun: at(10), ending: at(20), ended: at(21), within: 2 * time.Second}
	unknown := life{begun: at(10), ending: at(20)} // whether the logout took effect is not known
	for _, tt := range []struct {
		want           right
		life           life
		sent, answered int
	}{
		{allowIsRight, always, 1, 2},
		{denyIsRight, never, 1, 2},
		{eitherIsRight, life{}, 1, 2}, // the login was not acknowledged
		{eitherIsRight, session, 9, 12},
		{allowIsRight, session, 10, 12},
		{allowIsRight, session, 12, 19},
		{eitherIsRight, session, 12, 20}, // the logout may have come first
		{eitherIsRight, session, 22, 23},
		{denyIsRight, session, 23, 24},
		{allowIsRight, unknown, 12, 19},
		{eitherIsRight, unknown, 30, 31},
	} {
		if got := tt.life.right(at(tt.sent), at(tt.answered)); got != tt.want {
			t.Errorf("%+v from %d to %d: %v, want %v", tt.life, tt.sent, tt.answered, got, tt.want)
		}
	}
}

// A credential is what a request carries, with its life.
type credential struct {
	name    string // for messages
	path    string
	headers http.Header

	mu   sync.Mutex
	life life
	// end ends the life at the store, and returns how long the facts may still be used.
	end func(context.Context) (within time.Duration, err error)
}

func fixed(name, path string, headers map[string]string, l life) *credential {
	c := &credential{name: name, path: path, headers: http.Header{}, life: l}
	for key, value := range headers {
		c.headers.Set(key, value)
	}
	return c
}

func (c *credential) lifetime() life {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.life
}

// isEnding records that the end is about to be sent to a store.
func (c *credential) isEnding() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.life.ending = time.Now()
}

// hasEnded records that a store has acknowledged the end.
func (c *credential) hasEnded(within time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.life.ended, c.life.within = time.Now(), within
}

// mayReturn records that from now on the end may be undone.
func (c *credential) mayReturn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.life.ended = time.Time{}
}

// An attempt is one request.
type attempt struct {
	with    *credential
	ledger  *ledger
	sent    time.Time
	reached atomic.Bool // the application
}

// A ledger counts the answers of one row.
type ledger struct {
	mu             sync.Mutex
	requests       int
	valid          int // requests whose right answer is an allow
	wronglyAllowed int
	// falselyRefused counts valid credentials that were answered with a 4xx: warder said that it
	// knew, and was wrong. A 503 says that it does not know.
	falselyRefused int
	statuses       map[int]int     // 0: no answer
	unanswered     []time.Time     // when the requests were sent that got a 503 or no answer
	refused        []time.Time     // when the valid requests were sent that were not allowed
	latencies      []time.Duration // of the valid requests that were answered
	slowest        time.Duration   // of all answers
	mistakes       []string        // the first ones, for messages
}

func newLedger() *ledger { return &ledger{statuses: map[int]int{}} }

func (l *ledger) mistake(format string, args ...any) {
	if len(l.mistakes) < 5 {
		l.mistakes = append(l.mistakes, fmt.Sprintf(format, args...))
	}
}

// enter judges the answer to a request. It returns the right answer.
func (l *ledger) enter(a *attempt, status int, due, answered time.Time) right {
	lifetime := a.with.lifetime()
	should := lifetime.right(a.sent, answered)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	l.statuses[status]++
	if status != 0 {
		l.slowest = max(l.slowest, answered.Sub(due))
	}
	if status == 0 || status >= 500 {
		l.unanswered = append(l.unanswered, a.sent)
	}
	switch should {
	case allowIsRight:
		l.valid++
		if status != 0 {
			l.latencies = append(l.latencies, answered.Sub(due))
		}
		if status != http.StatusOK {
			l.refused = append(l.refused, a.sent)
		}
		if status >= 400 && status < 500 {
			l.falselyRefused++
			l.mistake("%s was refused with %d", a.with.name, status)
		}
	case denyIsRight:
		l.caught(a, lifetime)
	case eitherIsRight:
	}
	return should
}

// caught counts a request that must be denied and reached the application.
func (l *ledger) caught(a *attempt, lifetime life) {
	if a.reached.Load() {
		l.wronglyAllowed++
		l.mistake("%s was allowed %v after its end, and %v was right", a.with.name, a.sent.Sub(lifetime.ended), lifetime.within)
	}
}

// late judges a request again that got no answer, because it may reach the application later.
func (l *ledger) late(a *attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.caught(a, a.with.lifetime())
}

// failures returns when the requests were sent, since a time, that were not answered, and those
// with valid credentials that were not allowed, both in order.
func (l *ledger) failures(since time.Time) (unanswered, refused []time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return from(since, l.unanswered), from(since, l.refused)
}

// from returns the times that are not before another, in order.
func from(since time.Time, all []time.Time) []time.Time {
	found := slices.DeleteFunc(slices.Clone(all), since.After)
	slices.SortFunc(found, time.Time.Compare)
	return found
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests
}

func (l *ledger) allowed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.valid - len(l.refused)
}

// TestLedger checks that the ledger counts by what reached the application and by what the client
// was told.
func TestLedger(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, tt := range []struct {
		name    string
		life    life
		reached bool
		late    bool // it reaches the application after the client has given up
		status  int

		wronglyAllowed, falselyRefused, unanswered, refused int
	}{
		{name: "allowed", life: always, reached: true, status: 200},
		{name: "denied", life: never, status: 401},
		{name: "not answered", life: always, status: 503, unanswered: 1, refused: 1},
		{name: "no answer", life: always, unanswered: 1, refused: 1},
		{name: "no answer, and allowed", life: never, reached: true, wronglyAllowed: 1, unanswered: 1},
		{name: "no answer, and allowed later", life: never, late: true, wronglyAllowed: 1, unanswered: 1},
		{name: "wrongly allowed", life: never, reached: true, status: 200, wronglyAllowed: 1},
		{name: "denied, but allowed", life: never, reached: true, status: 401, wronglyAllowed: 1},
		{name: "falsely refused", life: always, status: 401, falselyRefused: 1, refused: 1},
		{name: "ends meanwhile", life: life{begun: now.Add(-time.Hour), ending: now}, reached: true, status: 200},
	} {
		l := newLedger()
		a := &attempt{with: &credential{name: tt.name, life: tt.life}, ledger: l, sent: now.Add(-time.Second)}
		a.reached.Store(tt.reached)
		l.enter(a, tt.status, a.sent, now)
		if tt.late {
			a.reached.Store(true)
			l.late(a)
		}
		got := [...]int{l.requests, l.wronglyAllowed, l.falselyRefused, len(l.unanswered), len(l.refused)}
		if want := [...]int{1, tt.wronglyAllowed, tt.falselyRefused, tt.unanswered, tt.refused}; got != want {
			t.Errorf("%s: %v, want %v", tt.name, got, want)
		}
	}
}

// recovery returns when the first second without any of the failures began, from the end of a
// fault.
func recovery(ended time.Time, failures []time.Time) time.Time {
	last := ended
	for _, at := range failures {
		if at.Sub(last) >= time.Second {
			break
		}
		last = at
	}
	return last
}

func TestRecovery(t *testing.T) {
	t.Parallel()
	ended := time.Unix(100, 0)
	for _, tt := range []struct {
		failures []int // milliseconds after the end
		want     time.Duration
	}{
		{nil, 0},
		{[]int{1200}, 0},
		{[]int{10, 700, 1600}, 1600 * time.Millisecond},
		{[]int{10, 700, 1700, 1701}, 700 * time.Millisecond},
	} {
		var failures []time.Time
		for _, ms := range tt.failures {
			failures = append(failures, ended.Add(time.Duration(ms)*time.Millisecond))
		}
		if got := recovery(ended, failures).Sub(ended); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.failures, got, tt.want)
		}
	}
}

// attemptHeader carries the number of an attempt to the application.
const attemptHeader = "X-Attempt"

// giveUp is how long a client waits for an answer. It is far above the timeout of Envoy's question
// to warder, 0.5 s.
const giveUp = 3 * time.Second

// maxPending bounds the requests of a traffic that are not answered yet, as a fault must not
// exhaust the machine that runs the tests.
const maxPending = 2000

// A traffic sends requests through Envoy at a fixed rate and judges the answers.
type traffic struct {
	base     string // http://host:port
	rate     float64
	most     int // pending requests; those that are due beyond it are not sent
	next     func(n int) *credential
	client   *http.Client
	number   atomic.Int64
	open     sync.Map               // number -> *attempt: not answered yet, or without an answer
	ledger   atomic.Pointer[ledger] // the current one
	mu       sync.Mutex
	ledgers  []*ledger    // all
	dropped  atomic.Int64 // requests that were not sent
	stop     context.CancelFunc
	finished chan struct{}
}

// newTraffic returns traffic to base. With h2, it uses HTTP/2, where many requests share a
// connection.
func newTraffic(base string, rate float64, h2 bool, next func(n int) *credential) *traffic {
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	if h2 {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	tr := &traffic{base: base, rate: rate, most: maxPending, next: next, client: &http.Client{Timeout: giveUp, Transport: transport}}
	tr.number.Store(rand.Int64N(1 << 62)) // no other traffic has the same
	tr.turnLedger()
	return tr
}

// arrived is called by the application for each request.
func (tr *traffic) arrived(r *http.Request) {
	number, err := strconv.ParseInt(r.Header.Get(attemptHeader), 10, 64)
	if err != nil {
		return // it is not of this traffic
	}
	if a, found := tr.open.Load(number); found {
		a.(*attempt).reached.Store(true) //nolint:forcetypeassert // the map has nothing else
	}
}

// start begins to send, until the test ends. Each request is entered in the ledger that is current
// when it is sent.
func (tr *traffic) start(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	tr.stop, tr.finished = stop, make(chan struct{})
	var pending sync.WaitGroup
	places := make(chan struct{}, tr.most)
	go func() {
		defer close(tr.finished)
		authztest.Pace(ctx, tr.rate, func(n int, due time.Time) {
			select {
			case places <- struct{}{}:
			default:
				tr.dropped.Add(1)
				return
			}
			pending.Go(func() {
				tr.send(tr.next(n), due)
				<-places
			})
		})
		pending.Wait()
	}()
	t.Cleanup(func() { tr.end(t) })
}

// end stops to send, and waits for the answers. It judges requests without an answer again.
func (tr *traffic) end(t *testing.T) {
	tr.stop()
	<-tr.finished // for ever after the first call
	tr.open.Range(func(number, a any) bool {
		late := a.(*attempt) //nolint:forcetypeassert // the map has nothing else
		late.ledger.late(late)
		tr.open.Delete(number)
		return true
	})
	tr.client.CloseIdleConnections()
	if n := tr.wronglyAllowed(); n > 0 {
		t.Errorf("%d requests were wrongly allowed", n)
	}
}

// wronglyAllowed counts over all ledgers.
func (tr *traffic) wronglyAllowed() (n int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, l := range tr.ledgers {
		l.mu.Lock()
		n += l.wronglyAllowed
		l.mu.Unlock()
	}
	return n
}

func (tr *traffic) send(with *credential, due time.Time) {
	number := tr.number.Add(1)
	path, query, _ := strings.Cut(with.path, "?")
	request := &http.Request{
		Method: http.MethodGet, Header: with.headers.Clone(), Host: "app.example.com",
		// Opaque is sent as it is: hostile paths must not be cleaned by the client.
		URL: &url.URL{Scheme: "http", Host: tr.base[len("http://"):], Opaque: path, RawQuery: query},
	}
	request.Header.Set(attemptHeader, strconv.FormatInt(number, 10))
	a := &attempt{with: with, ledger: tr.ledger.Load(), sent: time.Now()}
	tr.open.Store(number, a)
	status := 0
	response, err := tr.client.Do(request)
	if err == nil {
		status = response.StatusCode
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			status = 0
		}
		response.Body.Close()
	}
	should := a.ledger.enter(a, status, due, time.Now())
	if status != 0 || should != denyIsRight || a.reached.Load() {
		tr.open.Delete(number)
	}
}

// turnLedger starts a new ledger.
func (tr *traffic) turnLedger() *ledger {
	l := newLedger()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.ledgers = append(tr.ledgers, l)
	tr.ledger.Store(l)
	return l
}

// anyOf returns a random element, or nil if there is none.
func anyOf[T any](all []*T) *T {
	if len(all) == 0 {
		return nil
	}
	return all[rand.IntN(len(all))]
}
