package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// askRedis asks all questions of the batch in one pipeline and settles them. The same
// pipeline checks that the server is still a primary: a demoted server keeps its
// connections open and may still have sessions that the new primary has deleted.
func (n *node) askRedis(ctx context.Context, batch []*question) {
	client := n.client.Load()
	p := packet{pipe: client.Pipeline()}
	cmds := make([]reply, len(batch))
	for i, q := range batch {
		cmds[i] = p.about(ctx, q, len(batch))
	}
	role := p.role(ctx, n.tellsRole.Load())
	subscribers := p.subscribers(ctx)
	executed, err := p.exec(ctx)

	var failed error // for all questions
	if err != nil && !slices.ContainsFunc(executed, func(cmd redis.Cmder) bool { return cmd.Err() != nil }) {
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
		err := cmds[i].err()
		if err == nil {
			err = failed
		}
		switch {
		case err != nil && q.fill != nil:
			q.settle(answer{err: explainTracking(ctx, err)})
		case err != nil:
			q.settle(answer{err: explain(ctx, err)})
		case q.fill == nil:
			q.settle(cmds[i].read(false))
		default:
			a := cmds[i].read(true)
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
	asked   map[sent]reply
}

// A sent identifies the commands of a question, so that a packet contains them only once.
type sent struct {
	subject
	fill bool
}

// A reply has the commands of a question.
type reply struct {
	count *redis.IntCmd    // EXISTS, or PTTL for a fill; nil for a timed key without a fill
	value *redis.StringCmd // GET, for a timed key
}

// newReply returns the commands that ask about a subject, and queues them in pipe.
func newReply(ctx context.Context, pipe redis.Pipeliner, about subject, fill bool) reply {
	var r reply
	switch {
	case fill:
		r.count = redis.NewIntCmd(ctx, "pttl", about.key)
	case !about.timed:
		r.count = redis.NewIntCmd(ctx, "exists", about.key)
	}
	if r.count != nil {
		_ = pipe.Process(ctx, r.count) // only queued
	}
	if about.timed {
		r.value = redis.NewStringCmd(ctx, "get", about.key)
		_ = pipe.Process(ctx, r.value)
	}
	return r
}

func (p *packet) about(ctx context.Context, q *question, size int) reply {
	about := sent{q.subject, q.fill != nil}
	if r, ok := p.asked[about]; ok {
		return r
	}
	r := newReply(ctx, p.pipe, q.subject, about.fill)
	if about.fill && !slices.Contains(p.streams, q.fill.stream) {
		p.streams = append(p.streams, q.fill.stream)
	}
	if size > 1 {
		if p.asked == nil {
			p.asked = make(map[sent]reply, size)
		}
		p.asked[about] = r
	}
	return r
}

func (r reply) err() error {
	if r.count != nil && r.count.Err() != nil {
		return r.count.Err()
	}
	if r.value != nil && !errors.Is(r.value.Err(), redis.Nil) {
		return r.value.Err()
	}
	return nil
}

// read returns the answer of a reply without an error.
func (r reply) read(fill bool) answer {
	var a answer
	switch {
	case fill:
		a = readTTL(r.count.Val())
	case r.count != nil:
		a = readExists(r.count.Val())
	}
	if r.value == nil || a.err != nil {
		return a
	}
	timed := readTime(r.value)
	if timed.exists != a.exists {
		a.left = 0 // the key changed between the two commands
	}
	a.state, a.err = timed.state, timed.err
	return a
}

// latestSeconds is the last second of the year 9999. A greater number is in milliseconds.
const latestSeconds = 253402300799

// readTime reads a value that is a time: seconds or milliseconds since 1970, or RFC 3339. Of
// fractions it keeps whole seconds.
func readTime(reply *redis.StringCmd) answer {
	text, err := reply.Result()
	if errors.Is(err, redis.Nil) {
		return answer{}
	}
	whole, fraction, _ := strings.Cut(text, ".")
	digits := func(s string) bool { return strings.Trim(s, "0123456789") == "" }
	if whole != "" && len(whole) <= 15 && len(fraction) <= 20 && digits(whole) && digits(fraction) {
		seconds, _ := strconv.ParseInt(whole, 10, 64) // at most 15 digits
		if seconds > latestSeconds {
			seconds /= 1000
		}
		return answer{state: state{exists: true, value: seconds}}
	}
	if len(text) <= 64 {
		if at, err := time.Parse(time.RFC3339, text); err == nil {
			return answer{state: state{exists: true, value: at.Unix()}}
		}
	}
	return answer{err: errNoTime}
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
		return answer{state: state{exists: true}}
	}
	return answer{err: fmt.Errorf("redis answers %d to EXISTS of one key; is it Redis?", n)}
}

func readTTL(ms int64) answer {
	switch {
	case ms == -2:
		return answer{left: forever}
	case ms == 0:
		return answer{} // less than a millisecond left; it counts as gone
	case ms == -1:
		return answer{state: state{exists: true}, left: forever}
	case ms > 0:
		// Redis returns whole milliseconds. The last one may be over already.
		return answer{state: state{exists: true}, left: time.Duration(min(ms-1, maxFactAge.Milliseconds())) * time.Millisecond}
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
