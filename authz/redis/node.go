package redis

import (
	"context"
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
	breaker   *authz.Breaker[string] // by key
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
	n.breaker = authz.NewBreaker(authz.BreakerConfig[string]{Store: "sessions", Ask: n.probe, Failed: isOutage, Timeout: s.timeout, Log: s.log, Now: s.now})
	if s.tracked {
		n.background.Go(n.track)
	}
	return n
}

// probe asks the server for the breaker, which hears of the result.
func (n *node) probe(ctx context.Context, key string) error {
	now := n.s.now()
	alive, err := n.questions.alive(ctx, key, now)
	n.s.tell(now, alive, err)
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
			key = n.s.key.key("warder-"+number, "check-"+number)
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
	p := packet{pipe: n.client.Load().Pipeline()}
	if asking {
		p.pipe.Do(ctx, "asking")
	}
	reply := redis.NewIntCmd(ctx, command, key)
	_ = p.pipe.Process(ctx, reply) // only queued
	if _, err := p.exec(ctx); err != nil {
		return 0, err
	}
	return reply.Val(), nil
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
