package redis

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// trustFor is how long a primary is believed to be one after a majority of those who
	// decide it was heard. It bounds how long a primary that has been replaced is asked.
	trustFor = time.Second
	// soonest is the shortest time between two questions to the same member.
	soonest = 50 * time.Millisecond
	// listEvery is the number of questions to a member between two about the other members.
	listEvery = 25
)

// A council is the servers that say together which server is a primary. They are asked all the
// time. V is what one of them says.
type council[V any] struct {
	s     *Sessions
	seeds []string
	most  int // members
	// ask asks a member for its view, and for the addresses of others if it lists.
	ask     func(context.Context, *member[V]) (V, []string, error)
	connect func(address string) *redis.Client
	// conclude uses what the members say now. The error says why that is not enough. The lock is
	// held.
	conclude func() error

	mu       sync.Mutex
	members  map[string]*member[V] // by address
	changed  chan struct{}         // closed when a member was asked
	problem  error                 // why nothing is known
	running  context.Context       // until dissolve
	stop     context.CancelFunc
	watching sync.WaitGroup
}

// A member is a server at an address. With the lock of the council, except of questions.
type member[V any] struct {
	address   string
	client    *redis.Client
	wanted    chan struct{} // it is to be asked now
	leave     context.CancelFunc
	questions int // of the goroutine that asks

	view   V
	asked  time.Time // before it gave its view
	others []string  // the addresses of others that it knows
	err    error     // of the last question
}

// lists reports whether the question that is asked is one about the other members too.
func (m *member[V]) lists() bool { return m.questions%listEvery == 0 }

func newCouncil[V any](s *Sessions, seeds []string, most int) *council[V] {
	c := &council[V]{s: s, seeds: seeds, most: most, members: map[string]*member[V]{}, changed: make(chan struct{})}
	c.running, c.stop = context.WithCancel(context.Background()) //nolint:gosec // dissolve stops it
	return c
}

// convene begins to ask.
func (c *council[V]) convene() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, address := range c.seeds {
		c.join(address)
	}
}

// dissolve ends the questions.
func (c *council[V]) dissolve() {
	c.stop()
	c.watching.Wait()
}

// join begins to ask the member at an address. The lock is held.
func (c *council[V]) join(address string) {
	if c.members[address] != nil || len(c.members) >= c.most || c.running.Err() != nil {
		return
	}
	m := &member[V]{address: address, client: c.connect(address), wanted: make(chan struct{}, 1)}
	var running context.Context
	running, m.leave = context.WithCancel(c.running) //nolint:gosec // dissolve or relist ends it
	c.members[address] = m
	c.watching.Go(func() {
		defer m.client.Close()
		c.follow(running, m)
	})
}

// follow asks a member until ctx ends.
func (c *council[V]) follow(ctx context.Context, m *member[V]) {
	again, least := time.NewTicker(beat), time.NewTimer(0)
	defer again.Stop()
	defer least.Stop()
	for ; ctx.Err() == nil; m.questions++ {
		asked := c.s.now()
		asking, cancel := context.WithTimeout(ctx, trustFor/2)
		v, others, err := c.ask(asking, m)
		cancel()
		if ctx.Err() != nil {
			return
		}
		c.heard(m, v, asked, others, err)
		if err != nil {
			m.questions = -1 // the next one is about the others too
		}
		least.Reset(soonest)
		select {
		case <-ctx.Done():
		case <-least.C:
		}
		select {
		case <-ctx.Done():
		case <-again.C:
		case <-m.wanted:
		}
	}
}

// heard records what a member said, and concludes.
func (c *council[V]) heard(m *member[V], v V, asked time.Time, others []string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.members[m.address] != m {
		return
	}
	if m.err = err; err == nil {
		m.view, m.asked = v, asked
		if others != nil {
			m.others = others
			c.relist()
		}
	}
	c.problem = c.reason(c.conclude())
	close(c.changed)
	c.changed = make(chan struct{})
}

// relist asks those that others know, and leaves those that nobody knows any more. The lock is
// held.
func (c *council[V]) relist() {
	known := map[string]bool{}
	for _, address := range c.seeds {
		known[address] = true
	}
	for _, m := range c.members {
		for _, address := range m.others {
			known[address] = true
		}
		// A Sentinel does not name itself.
		known[m.address] = known[m.address] || m.err == nil && within(m.asked, c.s.now(), trustFor)
	}
	for address, m := range c.members {
		if !known[address] {
			m.leave()
			delete(c.members, address)
		}
	}
	for _, address := range slices.Sorted(maps.Keys(known)) {
		if known[address] {
			c.join(address)
		}
	}
}

// reason returns why nothing is known: err, and what members answered instead. The lock is held.
func (c *council[V]) reason(err error) error {
	if err == nil {
		return nil
	}
	texts := map[string]bool{}
	for _, m := range c.members {
		if m.err != nil {
			texts[m.err.Error()] = true
		}
	}
	said := append([]string{err.Error()}, slices.Sorted(maps.Keys(texts))...)
	return errors.New("redis was not asked: " + strings.Join(said, "; "))
}

// byMajority returns the latest time by which a majority of the voters was heard, or false if no
// majority was. times are those at which voters were asked, one for each.
func byMajority(times []time.Time, voters int) (proof time.Time, enough bool) {
	need := voters/2 + 1
	if len(times) < need {
		return time.Time{}, false
	}
	slices.SortFunc(times, time.Time.Compare)
	return times[len(times)-need], true
}

// askNow asks all members without waiting for the next interval.
func (c *council[V]) askNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		select {
		case m.wanted <- struct{}{}:
		default:
		}
	}
}

// await waits until look finds a place. The error says why there is none.
func (c *council[V]) await(ctx context.Context, until time.Time, look func() place) (place, error) {
	limit := time.NewTimer(until.Sub(c.s.now()))
	defer limit.Stop()
	for {
		c.mu.Lock()
		changed := c.changed
		c.mu.Unlock()
		if at := look(); at.node != nil {
			return at, nil
		}
		c.askNow()
		select {
		case <-changed:
		case <-ctx.Done():
			return place{}, c.why(ctx.Err())
		case <-limit.C:
			return place{}, c.why(context.DeadlineExceeded)
		case <-c.running.Done():
			return place{}, errClosed
		}
	}
}

// why returns why nothing is known, after a wait that ended with err.
func (c *council[V]) why(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cmp.Or(c.problem, timedOut(err))
}
