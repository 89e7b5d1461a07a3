package redis

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"warder/authz"
)

// A node is one server that answers questions: the connections to it, and with tracked the
// stream that keeps facts about its keys current.
type node struct {
	s       *Sessions
	address string
	client  atomic.Pointer[redis.Client]
	// tellsRole reports whether the server accepted ROLE on the newest connection.
	tellsRole atomic.Bool
	questions *batcher
	breaker   *authz.Breaker[subject]
	// check is the key that proofs ask about, or nil for the usual one.
	check atomic.Pointer[string]
	// stream holds the facts and keeps them current. It is nil while there is none.
	stream atomic.Pointer[stream]

	running    context.Context // until close
	stop       context.CancelFunc
	background sync.WaitGroup
}

// newNode starts to use the server at an address. It does not wait for a connection.
func (s *Sessions) newNode(address string) *node {
	n := &node{s: s, address: address}
	n.running, n.stop = context.WithCancel(context.Background())
	n.client.Store(n.newClient())
	n.questions = newBatcher(s.timeout, s.now, n.askRedis)
	n.breaker = authz.NewBreaker(authz.BreakerConfig[subject]{Store: "sessions", Ask: n.probe, Failed: isOutage, Timeout: s.timeout, Log: s.log, Now: s.now})
	if s.tracked {
		n.background.Go(n.track)
	}
	return n
}

// probe asks the server for the breaker, which hears of the result.
func (n *node) probe(ctx context.Context, about subject) error {
	now := n.s.now()
	found, err := n.questions.get(ctx, about, now)
	n.s.tell(now, found, err)
	return err
}

func (n *node) newClient() *redis.Client {
	return redis.NewClient(n.s.access.options(n.s.access.current.Load(), n.address, n.refuseReplica))
}

// reconnect replaces the client, because its host name may now resolve to another
// server. The old client is closed after the timeout, so that questions in progress are
// still answered.
func (n *node) reconnect(old *redis.Client) {
	fresh := n.newClient()
	if !n.client.CompareAndSwap(old, fresh) {
		_ = fresh.Close() // another goroutine has replaced it
		return
	}
	n.background.Go(func() {
		n.s.awaitAnswers(n.running)
		_ = old.Close()
	})
}

// close ends the stream and closes the connections. Later questions get errClosed.
func (n *node) close() {
	n.stop()
	n.breaker.Close()
	n.questions.close()
	n.background.Wait()
	_ = n.client.Load().Close()
}

// checkKey returns the key of a session that does not exist, of which the server would know.
func (n *node) checkKey() string {
	if key := n.check.Load(); key != nil {
		return *key
	}
	return n.s.checkKey()
}

// checkAmong makes checkKey one of the slots of the server, which are sorted.
func (n *node) checkAmong(slots []int) {
	for i := 0; ; i++ {
		key := n.checkKey()
		if i > 0 {
			number := strconv.Itoa(i) // in both, because braces can make one of them decide
			key = n.s.keys[0].key("warder-"+number, "check-"+number)
		}
		if _, found := slices.BinarySearch(slots, slotOf(key)); found {
			n.check.Store(&key)
			return
		}
	}
}

// integer sends a command about a key and returns the integer that the server replies. With
// asking, the server answers although another one has the key.
func (n *node) integer(ctx context.Context, asking bool, command, key string) (int64, error) {
	reply := redis.NewIntCmd(ctx, command, key)
	if err := n.send(ctx, asking, reply); err != nil {
		return 0, err
	}
	return reply.Val(), nil
}

// askThisTime asks the server about a key that another one has, which said so.
func (n *node) askThisTime(ctx context.Context, about subject) answer {
	p := n.packetOfOne(ctx, true)
	r := newReply(ctx, p.pipe, about, false)
	if _, err := p.exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return answer{err: explain(ctx, err)}
	}
	return r.read(false)
}

// packetOfOne returns a packet for one command, with asking as for integer.
func (n *node) packetOfOne(ctx context.Context, asking bool) packet {
	p := packet{pipe: n.client.Load().Pipeline()}
	if asking {
		p.pipe.Do(ctx, "asking") // it holds for one command
	}
	return p
}

// send sends a command by itself, with asking as for integer.
func (n *node) send(ctx context.Context, asking bool, cmd redis.Cmder) error {
	p := n.packetOfOne(ctx, asking)
	_ = p.pipe.Process(ctx, cmd) // only queued
	_, err := p.exec(ctx)
	return err
}

// refuseReplica rejects a new connection to a replica.
func (n *node) refuseReplica(ctx context.Context, conn *redis.Conn) error {
	role := conn.Do(ctx, "ROLE")
	n.tellsRole.Store(role.Err() == nil)
	return roleError(role)
}

// roleError returns errReplica when the reply to ROLE is that of a replica, and errSentinel
// when it is that of a Sentinel. When the ACL or the server rejects ROLE, the configured server
// is assumed to be a primary.
func roleError(reply *redis.Cmd) error {
	role, err := reply.Slice()
	if err != nil {
		if isType[redis.Error](err) {
			return nil
		}
		return err
	}
	if len(role) == 0 {
		return nil
	}
	switch role[0] {
	case "slave", "replica":
		return errReplica
	case "sentinel":
		return errSentinel
	}
	return nil
}
