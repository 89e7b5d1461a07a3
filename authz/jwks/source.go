package jwks

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"warder/authz/token"
)

const (
	// defaultRefresh is the time between two fetches when Cache-Control says nothing. What it
	// says counts from minRefresh to maxRefresh. Half of the maximum age is not exceeded.
	defaultRefresh = 15 * time.Minute
	minRefresh     = time.Minute
	maxRefresh     = time.Hour

	// askEvery is the least time between two fetches because of unknown kids.
	askEvery = 10 * time.Second
	// maxWaiting is how many requests may wait for a fetch. Others do not wait.
	maxWaiting = 64

	// The times between attempts after a fetch that failed: with keys that can still be used,
	// and without.
	firstRetry    = 500 * time.Millisecond
	maxRetry      = 30 * time.Second
	maxRetryEmpty = 1500 * time.Millisecond
)

// A Source has the keys of one issuer. It is safe for concurrent use. Use [New].
type Source struct {
	config    Config
	transport http.RoundTripper // of tests; nil means a new one for each fetch
	base      context.Context   // of fetches
	cancel    context.CancelFunc
	waiting   chan struct{} // has an element for each request that waits
	wake      chan struct{} // an early fetch is wanted

	mu     sync.Mutex
	keys   []token.Key // nil: not known
	status Status
	asked  time.Time     // when an unknown kid last began a fetch
	flight *flight       // nil: there is no fetch
	first  chan struct{} // closed when the keys are known for the first time
	wanted bool          // an unknown kid came when none could begin a fetch
	said   string        // the last warning about keys of the set
	expire *time.Timer

	// Only the fetch in flight uses these.
	etag       string
	last       []token.Key // that came with etag
	url        string      // that discovery found
	discovered time.Time

	using sync.Mutex // held while Use is called
}

// A flight is one fetch.
type flight struct {
	done  chan struct{}
	asked bool // an unknown kid began it
	next  time.Duration
}

// A Status is the state of a Source.
type Status struct {
	Keys      int       // 0: not known
	Read      time.Time // when the keys were last read; zero: never
	Until     time.Time // how long they are used if they cannot be read again
	Failed    time.Time // when the last fetch failed; zero: it did not
	Fault     string    // why
	Successes uint64    // of fetches
	Failures  uint64
}

// New checks the configuration and returns a Source. It fetches nothing yet.
func New(c Config) (*Source, error) {
	if err := errors.Join(c.Validate()...); err != nil {
		return nil, err
	}
	c.MaxAge = cmp.Or(c.MaxAge, DefaultMaxAge)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Source{config: c, first: make(chan struct{}), waiting: make(chan struct{}, maxWaiting), wake: make(chan struct{}, 1)}
	s.base, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Issuer returns the iss of the tokens that the keys are for.
func (s *Source) Issuer() string { return s.config.Issuer }

// First returns a channel that is closed when the keys are known for the first time.
func (s *Source) First() <-chan struct{} { return s.first }

// Status returns the state of the keys.
func (s *Source) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.status
	out.Keys, out.Until = len(s.keys), out.Read.Add(s.config.MaxAge)
	return out
}

// Keys returns the keys, or nil if they are not known.
func (s *Source) Keys() []token.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}

// Run fetches the keys whenever they are due, until the context ends.
func (s *Source) Run(ctx context.Context) error {
	defer s.stop()
	retry, asked := firstRetry, false
	for {
		f := s.start(asked)
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil
		}
		next := f.next
		switch {
		case next > 0:
			retry = firstRetry
		case s.Keys() == nil:
			next = min(retry, maxRetryEmpty)
			retry = min(2*retry, maxRetry)
		default:
			next = min(retry, max(firstRetry, s.config.MaxAge/4))
			retry = min(2*retry, maxRetry)
		}
		if asked = s.wait(ctx, next); ctx.Err() != nil {
			return nil
		}
	}
}

// stop ends the fetch in flight and the timer.
func (s *Source) stop() {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.expire != nil {
		s.expire.Stop()
	}
}

// wait waits for d, or until a token with an unknown kid wants a fetch that may begin. It reports
// which of the two it was.
func (s *Source) wait(ctx context.Context, d time.Duration) (asked bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	early := time.NewTimer(d)
	defer early.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return false
		case <-s.wake:
		case <-early.C:
		}
		s.mu.Lock()
		wanted, left := s.wanted, askEvery-time.Since(s.asked)
		s.mu.Unlock()
		switch {
		case !wanted: // another token has begun a fetch meanwhile
		case left <= 0:
			return true
		default:
			early.Reset(left)
		}
	}
}

// Ask makes sure that the keys are current, because a token has a kid that none of them has. It
// fetches them, unless that was done for another such token within the last 10 seconds, and waits until
// the context ends. It reports whether the keys are current now: if not, the key of the token
// may be one that could not be read.
func (s *Source) Ask(ctx context.Context) (current bool) {
	for {
		s.mu.Lock()
		f := s.flight
		if f == nil {
			if since := time.Since(s.asked); !s.asked.IsZero() && since < askEvery {
				current := !s.status.Read.Before(s.asked)
				s.want()
				s.mu.Unlock()
				return current
			}
			f = s.startLocked(true)
		}
		s.mu.Unlock()
		select {
		case s.waiting <- struct{}{}:
		default:
			return false
		}
		select {
		case <-f.done:
			<-s.waiting
		case <-ctx.Done():
			<-s.waiting
			return false
		}
		if f.asked || f.next == 0 {
			return f.next > 0
		}
		// The fetch may have begun before the provider had the key.
	}
}

// want has Run fetch as soon as an unknown kid may begin a fetch again. s.mu is held.
func (s *Source) want() {
	if s.wanted {
		return
	}
	s.wanted = true
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// start begins a fetch unless there is one, and returns it.
func (s *Source) start(asked bool) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil {
		return s.flight
	}
	return s.startLocked(asked)
}

func (s *Source) startLocked(asked bool) *flight {
	f := &flight{done: make(chan struct{}), asked: asked}
	s.flight = f
	began := time.Now()
	if asked {
		s.asked, s.wanted = began, false
	}
	go func() {
		defer close(f.done)
		ctx, cancel := context.WithTimeout(s.base, fetchTimeout)
		defer cancel()
		f.next = s.fetch(ctx, began)
		s.mu.Lock()
		s.flight = nil
		s.mu.Unlock()
	}()
	return f
}

// fetch reads the keys. It returns the time until the next fetch, or 0 if it failed.
func (s *Source) fetch(ctx context.Context, began time.Time) (next time.Duration) {
	keys, got, err := s.read(ctx)
	if err != nil {
		s.failed(err)
		return 0
	}
	next = defaultRefresh
	if got.fresh >= 0 {
		next = min(max(got.fresh, minRefresh), maxRefresh)
	}
	next = min(next, s.config.MaxAge/2)
	s.good(keys, began)
	return next
}

// Fetch reads the keys once, for a command.
func (s *Source) Fetch(ctx context.Context) ([]token.Key, error) {
	f := s.start(false)
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer in time: %w", ctx.Err())
	}
	if keys := s.Keys(); f.next > 0 {
		return keys, nil
	}
	return nil, errors.New(s.Status().Fault)
}

// read reads the keys from the URL.
func (s *Source) read(ctx context.Context) ([]token.Key, answer, error) {
	client, err := s.client()
	if err != nil {
		return nil, answer{}, err
	}
	address := s.config.URL
	if address == "" {
		if s.url == "" || time.Since(s.discovered) > rediscover {
			found, err := s.discover(ctx, client)
			if err != nil {
				return nil, answer{}, err
			}
			if found != s.url {
				s.etag = ""
			}
			s.url, s.discovered = found, time.Now()
		}
		address = s.url
	}
	got, err := get(ctx, client, address, s.etag)
	if err != nil {
		s.url = "" // the provider may have moved its keys
		return nil, answer{}, err
	}
	if got.unchanged {
		return s.last, got, nil
	}
	set, err := token.ParseKeySet(got.body, s.config.Algorithms)
	if err != nil {
		return nil, answer{}, fmt.Errorf("the answer %w", err)
	}
	s.complain(set)
	if len(set.Keys) == 0 {
		return nil, answer{}, fmt.Errorf("the key set has no key that can be used%s", because(set))
	}
	s.etag, s.last = got.etag, set.Keys
	return set.Keys, got, nil
}

// because lists why no key can be used.
func because(set token.KeySet) string {
	all := slices.Concat(set.Refused, set.Unused)
	if len(all) == 0 {
		return ": it is empty"
	}
	const most = 3
	text := strings.Join(all[:min(len(all), most)], "; ")
	if len(all) > most {
		text += "; …"
	}
	return ": " + text
}

// complain logs keys that must not be in a key set. It says the same only once.
func (s *Source) complain(set token.KeySet) {
	text := strings.Join(set.Refused, "; ")
	s.mu.Lock()
	same := text == s.said
	s.said = text
	s.mu.Unlock()
	if same {
		return
	}
	for _, line := range set.Refused {
		s.config.Log.Warn("a key of the issuer is not used", "issuer", s.config.Issuer, "problem", line)
	}
}

// good takes the keys of a fetch that began at a time.
func (s *Source) good(keys []token.Key, began time.Time) {
	s.using.Lock()
	defer s.using.Unlock()
	s.mu.Lock()
	before := s.keys
	recovered := !s.status.Failed.IsZero()
	added, removed := missing(keys, before), missing(before, keys)
	changed := before == nil || added > 0 || removed > 0
	if changed {
		s.keys = keys
	}
	s.status.Read, s.status.Failed, s.status.Fault = began, time.Time{}, ""
	s.status.Successes++
	// The keys end when they are too old, whatever the fetches do meanwhile.
	if s.expire != nil {
		s.expire.Stop()
	}
	s.expire = time.AfterFunc(s.config.MaxAge-time.Since(began), func() { s.tooOld(began) })
	s.mu.Unlock()
	switch {
	case changed:
		s.config.Log.Info("keys of the issuer read", "issuer", s.config.Issuer, "keys", len(keys), "added", added, "removed", removed)
	case recovered:
		s.config.Log.Info("keys of the issuer can be read again", "issuer", s.config.Issuer)
	}
	if changed && s.config.Use != nil {
		s.config.Use(keys)
	}
	select {
	case <-s.first:
	default:
		close(s.first) // using is held
	}
}

// failed records that a fetch failed. It logs the same error only once.
func (s *Source) failed(err error) {
	text := err.Error()
	s.mu.Lock()
	same := !s.status.Failed.IsZero() && s.status.Fault == text
	s.status.Failed, s.status.Fault = time.Now(), text
	s.status.Failures++
	known, read := s.keys != nil, s.status.Read
	s.mu.Unlock()
	switch {
	case same:
	case known:
		s.config.Log.Error("keys of the issuer cannot be read, the last good ones stay", "issuer", s.config.Issuer, "error", text,
			"until", read.Add(s.config.MaxAge).UTC().Format(time.RFC3339))
	default:
		s.config.Log.Error("keys of the issuer cannot be read, so its tokens cannot be checked", "issuer", s.config.Issuer, "error", text)
	}
}

// tooOld drops the keys that were read by a fetch that began at a time.
func (s *Source) tooOld(read time.Time) {
	s.using.Lock()
	defer s.using.Unlock()
	s.mu.Lock()
	if !s.status.Read.Equal(read) || s.keys == nil {
		s.mu.Unlock()
		return
	}
	s.keys = nil
	s.mu.Unlock()
	s.config.Log.Error("keys of the issuer are too old and no longer used", "issuer", s.config.Issuer, "max_age", s.config.MaxAge.String())
	if s.config.Use != nil {
		s.config.Use(nil)
	}
}

// missing counts the keys of a that b has not.
func missing(a, b []token.Key) (n int) {
	for _, k := range a {
		if !slices.ContainsFunc(b, func(other token.Key) bool { return equal(k, other) }) {
			n++
		}
	}
	return n
}

func equal(a, b token.Key) bool {
	public, ok := a.Public.(interface{ Equal(crypto.PublicKey) bool })
	return a.ID == b.ID && a.Algorithm == b.Algorithm && ok && public.Equal(b.Public)
}
