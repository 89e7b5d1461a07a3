package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// askRedis asks all questions of the batch in one pipeline and settles them. The same
// pipeline checks that the server is still a primary: a demoted server keeps its
// connections open and may still have sessions that the new primary has deleted.
func (n *node) askRedis(ctx context.Context, batch []*question) {
	client := n.client.Load()
	p := packet{pipe: client.Pipeline()}
	cmds := make([]*redis.IntCmd, len(batch))
	for i, q := range batch {
		cmds[i] = p.about(ctx, q, len(batch))
	}
	role := p.role(ctx, n.tellsRole.Load())
	subscribers := p.subscribers(ctx)
	sent, err := p.exec(ctx)

	var failed error // for all questions
	if err != nil && !slices.ContainsFunc(sent, func(cmd redis.Cmder) bool { return cmd.Err() != nil }) {
		// When a connection cannot be set up, for example without a password, the client
		// returns the error only here. The commands themselves have no error.
		failed = err
		if errors.Is(err, errStrange) {
			n.reconnect(client)
		}
	} else if role != nil {
		if failed = roleError(role); errors.Is(failed, errReplica) {
			n.reconnect(client)
		}
	}
	for i, q := range batch {
		err := cmds[i].Err()
		if err == nil {
			err = failed
		}
		switch {
		case err != nil && q.fill != nil:
			q.settle(answer{err: explainTracking(ctx, err)})
		case err != nil:
			q.settle(answer{err: explain(ctx, err)})
		case q.fill == nil:
			q.settle(readExists(cmds[i].Val()))
		default:
			a := readTTL(cmds[i].Val())
			if a.err == nil {
				a.announced, a.err = isSubscribed(ctx, subscribers, q.fill.stream)
			}
			q.settle(a)
		}
	}
	if failed != nil {
		return
	}
	for _, of := range p.streams {
		if announced, err := isSubscribed(ctx, subscribers, of); err == nil && !announced && of.end(errElsewhere) {
			// The host name resolves to two servers, or Redis has just lost the stream.
			// In both cases the stream and the client reconnect.
			n.reconnect(client)
		}
	}
}

// A packet is a pipeline that is being built.
type packet struct {
	pipe    redis.Pipeliner
	streams []*stream // of the fills in it, nearly always one
	asked   map[subject]*redis.IntCmd
}

// A subject identifies a command, so that a packet contains it only once.
type subject struct {
	key  string
	fill bool
}

func (p *packet) about(ctx context.Context, q *question, size int) *redis.IntCmd {
	about := subject{q.key, q.fill != nil}
	if cmd, ok := p.asked[about]; ok {
		return cmd
	}
	command := "exists"
	if about.fill {
		command = "pttl"
		if !slices.Contains(p.streams, q.fill.stream) {
			p.streams = append(p.streams, q.fill.stream)
		}
	}
	cmd := redis.NewIntCmd(ctx, command, q.key)
	_ = p.pipe.Process(ctx, cmd) // only queued
	if size > 1 {
		if p.asked == nil {
			p.asked = make(map[subject]*redis.IntCmd, size)
		}
		p.asked[about] = cmd
	}
	return cmd
}

func (p *packet) role(ctx context.Context, told bool) *redis.Cmd {
	if !told {
		return nil
	}
	return p.pipe.Do(ctx, "ROLE")
}

// subscribers asks whether the server has the subscriptions of the streams. If so, it is
// the server that sends their invalidation messages.
func (p *packet) subscribers(ctx context.Context) *redis.MapStringIntCmd {
	if len(p.streams) == 0 {
		return nil
	}
	channels := make([]string, len(p.streams))
	for i, of := range p.streams {
		channels[i] = of.channel
	}
	return p.pipe.PubSubNumSub(ctx, channels...)
}

// exec sends the packet. It recovers, because the client panics on some invalid replies
// and no server may end the process. After a panic the connection may still occupy its
// place in the client's pool.
func (p *packet) exec(ctx context.Context) (sent []redis.Cmder, err error) {
	defer func() {
		if recover() != nil {
			sent, err = nil, errStrange
		}
	}()
	return p.pipe.Exec(ctx)
}

func readExists(n int64) answer {
	switch n {
	case 0:
		return answer{}
	case 1:
		return answer{alive: true}
	}
	return answer{err: fmt.Errorf("redis answers %d to EXISTS of one key; is it Redis?", n)}
}

func readTTL(ms int64) answer {
	switch {
	case ms == -2:
		return answer{left: forever}
	case ms == 0:
		return answer{} // less than a millisecond left; not alive
	case ms == -1:
		return answer{alive: true, left: forever}
	case ms > 0:
		// Redis returns whole milliseconds. The last one may be over already.
		return answer{alive: true, left: time.Duration(min(ms-1, maxFactAge.Milliseconds())) * time.Millisecond}
	}
	return answer{err: fmt.Errorf("redis answers %d to PTTL; is it Redis?", ms)}
}

// isSubscribed reports whether the server that answered has the stream's subscription.
func isSubscribed(ctx context.Context, reply *redis.MapStringIntCmd, of *stream) (bool, error) {
	counts, err := reply.Result()
	if err != nil {
		return false, explainTracking(ctx, err)
	}
	return counts[of.channel] == 1, nil
}
