package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// askRedis asks all of the questions in one pipeline, and in the same packet whether
// the server is still a primary: one that is demoted keeps its connections, and
// sessions that the new primary has ended.
func (s *Sessions) askRedis(ctx context.Context, batch []*question) {
	client := s.client.Load()
	p := packet{pipe: client.Pipeline()}
	cmds := make([]*redis.IntCmd, len(batch))
	for i, q := range batch {
		cmds[i] = p.about(ctx, q, len(batch))
	}
	role := p.role(ctx, s.tellsRole.Load())
	subscribers := p.subscribers(ctx)
	sent, err := p.exec(ctx)

	var failed error // all of them
	if err != nil && !slices.ContainsFunc(sent, func(cmd redis.Cmder) bool { return cmd.Err() != nil }) {
		// The client tells nobody else that a connection could not be made for lack
		// of a password: the commands would look answered.
		failed = err
		if errors.Is(err, errStrange) {
			s.reconnect(client)
		}
	} else if role != nil {
		if failed = roleError(role); errors.Is(failed, errReplica) {
			s.reconnect(client)
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
			// One name stands for two servers, or Redis has just lost the stream:
			// whichever it is, both begin anew.
			s.reconnect(client)
		}
	}
}

// A packet is one pipeline in the making.
type packet struct {
	pipe    redis.Pipeliner
	streams []*stream // of the fills in it, nearly always one
	asked   map[subject]*redis.IntCmd
}

// A subject is what a command asks: nobody has to ask it twice in one packet.
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

// subscribers asks whether the server has the subscriptions of the streams: then it
// is the one that announces its changes there, whatever its address stands for.
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

// exec sends the packet. The client panics over some replies that Redis never sends, and
// then may have lost the connection's place in its pool; no server may end the process.
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
		return answer{} // its last millisecond; and the zero value says no
	case ms == -1:
		return answer{alive: true, left: forever}
	case ms > 0:
		// Redis counts whole milliseconds, of which this one may be over.
		return answer{alive: true, left: time.Duration(min(ms-1, maxFactAge.Milliseconds())) * time.Millisecond}
	}
	return answer{err: fmt.Errorf("redis answers %d to PTTL; is it Redis?", ms)}
}

// isSubscribed reads whether the stream is subscribed on the server that answered.
func isSubscribed(ctx context.Context, reply *redis.MapStringIntCmd, of *stream) (bool, error) {
	counts, err := reply.Result()
	if err != nil {
		return false, explainTracking(ctx, err)
	}
	return counts[of.channel] == 1, nil
}
