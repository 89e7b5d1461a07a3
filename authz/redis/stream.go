package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// invalidations is the channel on which Redis announces changed keys to clients of
	// RESP 2. A stream's own channel begins with it too, so that one pattern of an ACL
	// covers both.
	invalidations = "__redis__:invalidate"
	// beat is how often it is proven that announcements come through.
	beat = 200 * time.Millisecond
	// freshFor is how long such a proof lets facts be used. It is the bound of how late
	// a logout can be seen, and leaves some of the second that is promised.
	freshFor = 800 * time.Millisecond
	// silence is how long a connection may owe a proof before another is made. Facts
	// are not used meanwhile, but are not lost either to a short stall.
	silence = 2 * time.Second
	// setUpTime bounds making a stream: dialing, signing in and the first proof.
	setUpTime = 2 * time.Second
	// Between two attempts to make a stream.
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = time.Second
	// A server that refuses will do so again: rights and versions change rarely.
	refusedBackoff = 10 * time.Second
)

var (
	// errElsewhere: what changes there is not announced here.
	errElsewhere = errors.New("announcements and answers come from two servers, or the subscription was lost")
	errFlushed   = errors.New("all keys were flushed")
	errSilent    = errors.New("redis does not answer on the connection with announcements")
	errPing      = errors.New("the connection with announcements has broken")
	errStrange   = errors.New("redis sent what is no announcement; is it Redis?")
	errSecond    = errors.New("a stream has one connection")
)

// A stream is one connection on which Redis announces changed keys, and what is known
// by it. Tracking is switched on in that very connection and redirected to itself, so
// that announcements, the subscription to them and the PING that proves them live and die
// together. It ends with the first error, and all that is known by it with it.
type stream struct {
	channel string // its own and nobody else's: who has this subscriber has this stream
	facts   *facts
	pubsub  *redis.PubSub
	// proof is the latest time of which it is proven that all changes that Redis had
	// acknowledged before have been applied to facts.
	proof atomic.Pointer[time.Time]

	ctx     context.Context // until end
	cancel  context.CancelCauseFunc
	running sync.WaitGroup

	subscribed int // confirmed channels, for who receives
	mu         sync.Mutex
	sent       int                  // pings
	pings      map[string]time.Time // unanswered ones, by payload: when the proof was begun
}

// proven reports whether facts may be used at the time now. A machine that was
// suspended has a clock that stood still, the other of the two readings shows it.
func (of *stream) proven(now time.Time) bool {
	p := of.proof.Load()
	return p != nil && now.Sub(*p) < freshFor && now.UnixNano()-p.UnixNano() < int64(freshFor)
}

// end ends the stream, and reports whether that was news.
func (of *stream) end(why error) bool {
	news := of.ctx.Err() == nil
	of.cancel(why)
	return news
}

// track keeps a stream until Close.
func (s *Sessions) track() {
	backoff, broken := firstBackoff, false
	for s.running.Err() == nil {
		began := s.now()
		lived, err := s.follow(s.running)
		if s.running.Err() != nil {
			return
		}
		if lived || !broken {
			// Once for each time that it breaks, not for each attempt to mend it.
			s.log.Warn("Redis announces no changes, each check asks it until it does", "error", err)
		}
		broken = true
		if lived && s.now().Sub(began) > maxBackoff {
			backoff = firstBackoff
		}
		wait := backoff
		if _, refused := errors.AsType[*refusal](err); refused {
			wait = refusedBackoff
		}
		backoff = min(2*backoff, maxBackoff)
		again := time.NewTimer(wait)
		select {
		case <-s.running.Done():
		case <-again.C:
		}
		again.Stop()
	}
}

// follow makes a stream, lets it keep facts, and returns when it has ended.
func (s *Sessions) follow(ctx context.Context) (lived bool, err error) {
	of, err := s.open(ctx)
	if err != nil {
		return false, err
	}
	s.stream.Store(of)
	s.log.Info("Redis announces changes, facts are kept")
	err = of.wait()
	s.stream.CompareAndSwap(of, nil)
	return true, err
}

// CheckTracking reports why facts cannot be kept with what is configured. Then every
// question is asked of Redis, and warder works all the same.
func (s *Sessions) CheckTracking(ctx context.Context) error {
	of, err := s.open(ctx)
	if err != nil {
		return err
	}
	of.end(errClosed)
	_ = of.wait()
	return nil
}

// open makes a stream and returns it when it was proven once.
func (s *Sessions) open(ctx context.Context) (*stream, error) {
	client := redis.NewClient(s.streamOptions())
	of := &stream{
		channel: invalidations + ":warder:" + rand.Text(),
		facts:   newFacts(maxFacts),
		pings:   make(map[string]time.Time),
	}
	of.ctx, of.cancel = context.WithCancelCause(ctx)
	of.pubsub = client.Subscribe(of.ctx)
	closed := make(chan struct{})
	context.AfterFunc(of.ctx, func() {
		defer close(closed)
		_ = of.pubsub.Close() // whoever reads from it wakes up
		_ = client.Close()
	})
	of.running.Go(func() { <-closed })

	if err := s.setUp(of); err != nil {
		of.end(err)
		return nil, of.wait()
	}
	of.running.Go(func() { of.end(of.receive()) })
	of.running.Go(func() { of.end(s.beat(of)) })
	return of, nil
}

// streamOptions are those of the sessions, for one connection that tracks.
func (s *Sessions) streamOptions() *redis.Options {
	o := *s.options
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = setUpTime, setUpTime, setUpTime
	o.OnConnect = s.startTracking
	dial, dialed := o.Dialer, false
	// The client would mend a broken connection on its own, without a word of what was
	// lost meanwhile.
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dialed {
			return nil, errSecond
		}
		dialed = true
		return dial(ctx, network, addr)
	}
	return &o
}

// startTracking makes Redis announce on a connection what changes. It is broadcasting
// mode, so that Redis remembers prefixes and not keys, and the announcements are sent to
// the connection itself.
func (s *Sessions) startTracking(ctx context.Context, conn *redis.Conn) error {
	if err := roleError(conn.Do(ctx, "ROLE")); err != nil {
		return err
	}
	id, err := conn.ClientID(ctx).Result()
	if err != nil {
		return err
	}
	command := []any{"CLIENT", "TRACKING", "ON", "REDIRECT", id, "BCAST"}
	if s.key.before != "" {
		command = append(command, "PREFIX", s.key.before)
	}
	return conn.Do(ctx, command...).Err()
}

// setUp subscribes and waits for the first proof.
func (s *Sessions) setUp(of *stream) error {
	ctx, cancel := context.WithTimeout(of.ctx, setUpTime)
	defer cancel()
	if err := of.pubsub.Subscribe(ctx, invalidations, of.channel); err != nil {
		return explainTracking(ctx, err)
	}
	for of.subscribed < 2 {
		if err := of.next(ctx); err != nil {
			return err
		}
	}
	if err := s.prove(ctx, of); err != nil {
		return err
	}
	for of.proof.Load() == nil {
		if err := of.next(ctx); err != nil {
			return err
		}
	}
	return nil
}

// wait returns when the stream has ended and all of it is gone, and says why.
func (of *stream) wait() error {
	of.running.Wait()
	return context.Cause(of.ctx)
}

// receive applies announcements until there is an error.
func (of *stream) receive() error {
	for {
		if err := of.next(of.ctx); err != nil {
			return err
		}
	}
}

// next receives one message and applies it. The client panics over some replies that
// Redis never sends; no server may end the process.
func (of *stream) next(ctx context.Context) (err error) {
	defer func() {
		if recover() != nil {
			err = errStrange
		}
	}()
	message, err := of.pubsub.Receive(ctx)
	if err != nil {
		return explainTracking(ctx, err)
	}
	switch m := message.(type) {
	case *redis.Message:
		if m.Channel != invalidations {
			return nil
		}
		for _, key := range m.PayloadSlice {
			of.facts.forget(key)
		}
		if m.PayloadSlice == nil {
			of.facts.forget(m.Payload) // somebody's PUBLISH, whoever may do that
		}
		return nil
	case *redis.Pong:
		return of.pong(m.Payload)
	case *redis.Subscription:
		if m.Kind == "subscribe" && of.subscribed < 2 {
			of.subscribed++
			return nil
		}
	}
	return errStrange
}

// beat proves again and again that announcements come through.
func (s *Sessions) beat(of *stream) error {
	again := time.NewTicker(beat)
	defer again.Stop()
	for {
		select {
		case <-of.ctx.Done():
			return errClosed
		case <-again.C:
		}
		if s.now().Sub(*of.proof.Load()) > silence {
			return errSilent
		}
		ctx, cancel := context.WithTimeout(of.ctx, freshFor/2)
		err := s.prove(ctx, of)
		cancel()
		if errors.Is(err, errReplica) || errors.Is(err, errPing) {
			return err
		}
		// Any other is Redis's or the network's for now: the proof grows old, and
		// with it all facts go out of use.
	}
}

// prove begins a proof, which is there when the PING is answered: Redis serves a
// connection in order, and announces a change no later than it acknowledges it. So the
// PONG comes after the announcements of all that was acknowledged before the PING was sent.
//
// Before that a question shows, on the connections that facts come from, that the
// server still is a primary and that it is the server of the stream.
func (s *Sessions) prove(ctx context.Context, of *stream) error {
	now := s.now()
	at := &fill{stream: of, key: s.checkKey(), asked: now, done: make(chan struct{})}
	if err := s.questions.put(&question{key: at.key, asked: now, fill: at}); err != nil {
		return err
	}
	select {
	case <-at.done:
	case <-ctx.Done():
		return timedOut(ctx.Err())
	}
	switch {
	case at.answer.err != nil:
		return at.answer.err
	case !at.answer.announced:
		return errElsewhere
	}
	of.mu.Lock()
	of.sent++
	payload := strconv.Itoa(of.sent)
	of.pings[payload] = now
	of.mu.Unlock()
	if err := of.pubsub.Ping(ctx, payload); err != nil {
		return errPing
	}
	return nil
}

// pong completes a proof.
func (of *stream) pong(payload string) error {
	of.mu.Lock()
	began, ok := of.pings[payload]
	delete(of.pings, payload)
	of.mu.Unlock()
	if !ok {
		return errStrange
	}
	of.proof.Store(&began)
	return nil
}
