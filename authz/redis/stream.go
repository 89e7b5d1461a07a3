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
	// invalidations is the channel on which Redis sends invalidation messages to RESP 2
	// clients. A stream's own channel has the same prefix, so that one ACL pattern covers
	// both.
	invalidations = "__redis__:invalidate"
	// beat is the interval between two proofs.
	beat = 200 * time.Millisecond
	// freshFor is how long facts may be used after a proof. It bounds how late a logout
	// can be seen, and is below the documented second.
	freshFor = 800 * time.Millisecond
	// silence is the time without a proof after which the stream ends. It is longer than
	// freshFor, so that a short stall only suspends the use of facts.
	silence = 2 * time.Second
	// setUpTime bounds the start of a stream: dialing, authenticating and the first proof.
	setUpTime = 2 * time.Second
	// firstBackoff and maxBackoff bound the pause between two attempts to start a stream.
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = time.Second
	// refusedBackoff is the pause after a refusal. Permissions and versions rarely change.
	refusedBackoff = 10 * time.Second
)

var (
	// errElsewhere means that the server that answers questions is not the one that sends
	// the invalidation messages.
	errElsewhere = errors.New("answers and invalidation messages come from different servers, or the subscription was lost")
	errFlushed   = errors.New("all keys were flushed")
	errSilent    = errors.New("redis does not answer on the connection for invalidation messages")
	errPing      = errors.New("the connection for invalidation messages broke")
	errStrange   = errors.New("redis sent an unexpected message; is it Redis?")
	errSecond    = errors.New("the connection for invalidation messages is not reopened")
)

// A stream is one connection on which Redis sends invalidation messages, and the facts
// that they keep current. Tracking is enabled on that connection and redirected to the
// same connection, so that the messages, the subscription to them and the PING that
// proves their delivery all end together. A stream ends with its first error, and its
// facts are discarded.
type stream struct {
	// channel has no other subscriber. A server on which it has one is the server of
	// this stream.
	channel string
	facts   *facts
	pubsub  *redis.PubSub
	// proof is the latest time T for which it is proven that every change acknowledged by
	// Redis before T has been applied to facts.
	proof atomic.Pointer[time.Time]

	ctx     context.Context // until end
	cancel  context.CancelCauseFunc
	running sync.WaitGroup

	subscribed int // confirmed channels; used only by the receiving goroutine
	mu         sync.Mutex
	sent       int                  // number of pings
	pings      map[string]time.Time // start of the proof of each unanswered ping, by payload
}

// proven reports whether facts may be used at the time now.
func (of *stream) proven(now time.Time) bool {
	p := of.proof.Load()
	return p != nil && within(*p, now, freshFor)
}

// within reports whether less than a duration has passed from then to now. It compares the wall
// clock too, because the monotonic clock stops while the machine is suspended.
func within(then, now time.Time, d time.Duration) bool {
	return now.Sub(then) < d && now.UnixNano()-then.UnixNano() < int64(d)
}

// end ends the stream. It reports whether the stream was still running.
func (of *stream) end(why error) bool {
	news := of.ctx.Err() == nil
	of.cancel(why)
	return news
}

// track keeps a stream running until Close.
func (n *node) track() {
	backoff, broken := firstBackoff, false
	for n.running.Err() == nil {
		began := n.s.now()
		lived, err := n.follow(n.running)
		if n.running.Err() != nil {
			return
		}
		if lived || !broken {
			// Log once for each interruption, not for each failed attempt to reconnect.
			n.s.log.Warn("no invalidation messages from Redis; every check asks Redis until they resume", "error", err)
		}
		broken = true
		if lived && n.s.now().Sub(began) > maxBackoff {
			backoff = firstBackoff
		}
		wait := backoff
		if _, refused := errors.AsType[*refusal](err); refused {
			wait = refusedBackoff
		}
		backoff = min(2*backoff, maxBackoff)
		again := time.NewTimer(wait)
		select {
		case <-n.running.Done():
		case <-again.C:
		}
		again.Stop()
	}
}

// follow opens a stream, puts it to use, and returns when it has ended. lived reports
// whether it was in use.
func (n *node) follow(ctx context.Context) (lived bool, err error) {
	of, err := n.open(ctx)
	if err != nil {
		return false, err
	}
	n.stream.Store(of)
	n.s.log.Info("receiving invalidation messages from Redis; sessions are cached")
	err = of.wait()
	n.stream.CompareAndSwap(of, nil)
	return true, err
}

// CheckTracking returns an error if Tracked cannot work with the configured server and
// user. In that case Sessions still works, and every question goes to Redis.
func (s *Sessions) CheckTracking(ctx context.Context) error {
	nodes, err := s.servers.Load().nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		of, err := n.open(ctx)
		if err != nil {
			return err
		}
		of.end(errClosed)
		_ = of.wait()
	}
	return nil
}

// open starts a stream and returns it after its first proof.
func (n *node) open(ctx context.Context) (*stream, error) {
	client := redis.NewClient(n.streamOptions())
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
		_ = of.pubsub.Close() // unblocks receive
		_ = client.Close()
	})
	of.running.Go(func() { <-closed })

	if err := n.setUp(of); err != nil {
		of.end(err)
		return nil, of.wait()
	}
	of.running.Go(func() { of.end(of.receive()) })
	of.running.Go(func() { of.end(n.beat(of)) })
	return of, nil
}

// streamOptions returns the options for a client with one connection that tracks.
func (n *node) streamOptions() *redis.Options {
	o := n.s.access.options(n.s.access.current.Load(), n.address, n.startTracking)
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = setUpTime, setUpTime, setUpTime
	dial, dialed := o.Dialer, false
	// The client would silently reconnect, and messages sent in between would be lost.
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dialed {
			return nil, errSecond
		}
		dialed = true
		return dial(ctx, network, addr)
	}
	return o
}

// startTracking enables client tracking on a connection and redirects the invalidation
// messages to the same connection. It uses broadcasting mode, in which Redis remembers
// key prefixes and not keys.
func (n *node) startTracking(ctx context.Context, conn *redis.Conn) error {
	if err := roleError(conn.Do(ctx, "ROLE")); err != nil {
		return err
	}
	id, err := conn.ClientID(ctx).Result()
	if err != nil {
		return err
	}
	command := []any{"CLIENT", "TRACKING", "ON", "REDIRECT", id, "BCAST"}
	for _, prefix := range prefixes(n.s.keys) {
		command = append(command, "PREFIX", prefix)
	}
	return conn.Do(ctx, command...).Err()
}

// setUp subscribes and waits for the first proof.
func (n *node) setUp(of *stream) error {
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
	if err := n.prove(ctx, of); err != nil {
		return err
	}
	for of.proof.Load() == nil {
		if err := of.next(ctx); err != nil {
			return err
		}
	}
	return nil
}

// wait waits until the stream has ended and its goroutines have returned. It returns the
// error that ended the stream.
func (of *stream) wait() error {
	of.running.Wait()
	return context.Cause(of.ctx)
}

// receive applies invalidation messages until there is an error.
func (of *stream) receive() error {
	for {
		if err := of.next(of.ctx); err != nil {
			return err
		}
	}
}

// next receives and applies one message. It recovers, because the client panics on some
// invalid replies and no server may end the process.
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
			of.facts.forget(m.Payload) // sent with PUBLISH by another client
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

// beat starts a proof at each interval until the stream ends.
func (n *node) beat(of *stream) error {
	again := time.NewTicker(beat)
	defer again.Stop()
	for {
		select {
		case <-of.ctx.Done():
			return errClosed
		case <-again.C:
		}
		if n.s.now().Sub(*of.proof.Load()) > silence {
			return errSilent
		}
		ctx, cancel := context.WithTimeout(of.ctx, freshFor/2)
		err := n.prove(ctx, of)
		cancel()
		if errors.Is(err, errReplica) || errors.Is(err, errPing) {
			return err
		}
		// Other errors may be temporary. Without a new proof, facts go out of use after
		// freshFor.
	}
}

// prove starts a proof, which is complete when the PING is answered. Redis writes to a
// connection in order and sends the invalidation message for a change no later than it
// acknowledges the change. So the PONG follows the messages for every change acknowledged
// before the PING was sent.
//
// Before the PING, a question on the connections that facts come from checks that the
// server is still a primary and that it is the server of the stream.
func (n *node) prove(ctx context.Context, of *stream) error {
	now := n.s.now()
	at := &fill{stream: of, subject: subject{key: n.checkKey()}, asked: now, done: make(chan struct{})}
	if err := n.questions.put(&question{subject: at.subject, asked: now, fill: at}); err != nil {
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

// pong completes the proof that the PING with this payload started.
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
