package envoy

import (
	"container/list"
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// Memory of peers. All connections of a process share its pools, so that large calls,
// logs and streams cannot take the room of usual calls.
const (
	// patience is how long a connection waits for room among the usual calls, at most.
	patience = 50 * time.Millisecond
	// callBytes is what a check costs beside its message while it is decided: its goroutine,
	// its stream in gRPC, its request and its answer.
	callBytes = 10 << 10
	// copies is how many times the bytes of a message are there at most: as received, as
	// texts, and as the list of its headers.
	copies = 2
	// messageBytes is what a message costs beside its bytes.
	messageBytes = 512
	// answerBytes is what an answer costs until its peer takes it: its stream in gRPC, its
	// header fields and its buffer.
	answerBytes = 6 << 10
	// few is how many checks a connection may have in flight although too many answers are
	// unsent.
	few = 8
	// usualBytes is the size of messages up to which they count as usual.
	usualBytes = 64 << 10
	// unlimitedMemory stands for the limit of a process that has none.
	unlimitedMemory = 1 << 30
)

// A fault is why a call is answered without being read. The zero fault is none.
type fault uint8

const (
	faultNone fault = iota
	// faultMalformed: the call is no call with exactly one message that can be read.
	faultMalformed
	// faultOverloaded: there was no memory left for it.
	faultOverloaded
)

// calls holds the messages of all connections until they are decided. gRPC
// sees a ticket in place of each, which no peer can make: what a peer sends on
// such a stream never reaches gRPC.
type calls struct {
	now     func() time.Time
	buffers largePool

	mu    sync.Mutex
	next  uint64
	ready map[uint64][]*inbound // by ticket, in order

	usual, large, access pool
	logs, others         pool // streams of the access log, and of what is no check
	unsent, maxUnsent    int  // answers that their peers have not taken

	waiting []chan struct{} // calls that wait for room, the first one first
}

// A pool is a part of the memory.
type pool struct {
	limit, used int // in bytes
	// unfinished are the messages that are not complete, and streams that take a moment when
	// the peer is honest, the oldest first. They make room for others: a peer that stops in
	// the middle must not keep it.
	unfinished list.List
}

// An inbound is one message of a peer, from its first bytes on. Its fields belong to calls.
type inbound struct {
	data    []byte
	size    int // that is announced
	fault   fault
	log     bool // of the access log
	stream  bool // no message, but a stream that is no check
	lost    int  // messages of the log before it that were dropped
	call    bool // a call is under way with it
	pool    *pool
	charged int           // to the pool
	waiting *list.Element // in unfinished; nil: it is complete, or gone
	backlog *backlog      // of a check: of its connection
	unsent  bool          // it counts as an answer that its peer has not taken
	gone    bool          // its stream has ended
	evict   func()        // ends the connection of a stream that makes room for another; nil: it stays
}

// A backlog counts the checks of one connection that gRPC knows. A peer grants windows as it
// likes, and gRPC keeps answers that do not fit. Its fields belong to calls.
type backlog struct {
	open  int
	waits bool // checks are held back until open is no more than until
	until int
	woken bool
	wake  func() // must not wait
}

// newCalls makes the pools from the limit that the Go runtime has (GOMEMLIMIT), in bytes.
func newCalls(memoryLimit int64, now func() time.Time) *calls {
	if memoryLimit == math.MaxInt64 {
		memoryLimit = unlimitedMemory
	}
	share := int(memoryLimit / 20)
	return &calls{
		now: now, ready: map[uint64][]*inbound{},
		usual: pool{limit: 3 * share}, large: pool{limit: 2 * share}, access: pool{limit: share},
		logs: pool{limit: share}, others: pool{limit: share / 2},
		maxUnsent: share / answerBytes,
	}
}

// memoryLimit returns the limit of the Go runtime.
func memoryLimit() int64 { return debug.SetMemoryLimit(-1) }

// add appends bytes to a message, or drops the message and says why.
func (c *calls) add(m *inbound, p []byte) fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.fault != faultNone {
		return m.fault
	}
	// The room grows with what is there, not with what is announced.
	size := len(m.data) + len(p)
	room := cap(m.data)
	if size > room {
		room = max(size, min(room+room/2, m.size))
	}
	if !c.charge(m, room) {
		c.drop(m, faultOverloaded)
		return m.fault
	}
	if room > cap(m.data) {
		m.data = append(make([]byte, 0, room), m.data...)
	}
	m.data = append(m.data, p...)
	return faultNone
}

// ticket returns a new ticket.
func (c *calls) ticket() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	return c.next
}

// hand makes a message ready for whoever has the ticket. A message of a check is handed
// with its fault, if it has one; a faulty one of the access log is not, and hand
// returns false.
func (c *calls) hand(ticket uint64, m *inbound) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.call = !m.log
	if m.fault == faultNone && !c.charge(m, cap(m.data)) {
		c.drop(m, faultOverloaded)
	}
	m.finish()
	switch {
	case m.fault == faultNone:
	case m.log:
		return false
	default:
		c.countUnsent(m) // it costs nothing but its answer
	}
	if m.call {
		m.backlog.open++
	}
	c.ready[ticket] = append(c.ready[ticket], m)
	return true
}

// fail gives up a message.
func (c *calls) fail(m *inbound, why fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(m, why)
}

// take returns the next message of a ticket, nil when there is none. Whoever takes it
// releases it.
func (c *calls) take(ticket uint64) *inbound {
	c.mu.Lock()
	defer c.mu.Unlock()
	ready := c.ready[ticket]
	if len(ready) == 0 {
		return nil
	}
	if len(ready) == 1 {
		delete(c.ready, ticket)
	} else {
		c.ready[ticket] = ready[1:]
	}
	return ready[0]
}

// cancel releases the messages of a ticket that nobody took.
func (c *calls) cancel(ticket uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.ready[ticket] {
		c.drop(m, m.fault)
	}
	delete(c.ready, ticket)
}

// release gives back the memory of a message.
func (c *calls) release(m *inbound) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(m, m.fault)
}

// answered gives back the memory of a check that is decided. Its answer counts until its
// stream ends.
func (c *calls) answered(m *inbound) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(m, m.fault)
	c.countUnsent(m)
}

func (c *calls) countUnsent(m *inbound) {
	if !m.gone && !m.unsent {
		m.unsent = true
		c.unsent++
	}
}

// ended is told that the stream of a check that was handed over is no more.
func (c *calls) ended(m *inbound) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.gone = true
	if m.unsent {
		c.unsent--
	}
	b := m.backlog
	if b.open--; b.waits && b.open <= b.until {
		b.waits, b.woken = false, true
		b.wake()
	}
}

// admits reports whether gRPC may get another check of a connection. It takes no more streams
// when it is full; the connection is woken when an eighth of the checks has ended. When too
// many answers are unsent, a connection may have few; it is woken when it has those, or half
// as many as now.
func (c *calls) admits(b *backlog, full bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case full:
		b.until = b.open - 1 - b.open/8
	case c.unsent < c.maxUnsent || b.open < few:
		return true
	default:
		b.until = max(b.open/2, few-1)
	}
	b.waits = true
	return false
}

// woken reports, once, whether the connection was woken.
func (c *calls) woken(b *backlog) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := b.woken
	b.woken = false
	return was
}

// open counts a stream that is no check, and reports whether there is room for it. Those of the
// access log stay as long as their Envoy. Any other is a question for the health, which must
// be answered although somebody opens thousands.
func (c *calls) open(m *inbound) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.call, m.stream = true, true
	return c.charge(m, 0)
}

// await waits until there is room for one more usual call, in the order of arrival. A
// connection waits for patience at most until it has caught up with its peer: behind a call
// that waits are others, which must be refused while somebody still wants an answer. waited is
// how long it has waited so far, and so is what await returns.
func (c *calls) await(waited time.Duration) time.Duration {
	c.mu.Lock()
	if waited >= patience || !c.crowded() && len(c.waiting) == 0 {
		c.mu.Unlock()
		return waited
	}
	turn := make(chan struct{})
	c.waiting = append(c.waiting, turn)
	c.mu.Unlock()
	began := c.now()
	timer := time.NewTimer(patience - waited)
	defer timer.Stop()
	select {
	case <-turn:
		return waited + c.now().Sub(began)
	case <-timer.C:
		c.mu.Lock()
		defer c.mu.Unlock()
		if i := slices.Index(c.waiting, turn); i >= 0 {
			c.waiting = slices.Delete(c.waiting, i, i+1)
		}
		return patience
	}
}

// crowded reports whether usual calls have to wait: so many are under way that those that
// have arrived take the rest of the room.
func (c *calls) crowded() bool { return c.usual.used > c.roomy() }

func (c *calls) roomy() int { return c.usual.limit / 8 * 7 }

// charge takes what a message of this capacity costs from the pool for its size. When
// there is no room, the messages that are unfinished longest make it.
func (c *calls) charge(m *inbound, capacity int) bool {
	to := &c.usual
	switch {
	case m.stream && m.log:
		to = &c.logs
	case m.stream:
		to = &c.others
	case m.log:
		to = &c.access
	case capacity > usualBytes:
		to = &c.large
	}
	cost := messageBytes + copies*capacity
	if m.call {
		cost += callBytes
	}
	more := cost
	if to == m.pool {
		more -= m.charged
	}
	for to.used+more > to.limit {
		oldest := to.unfinished.Front()
		if oldest != nil && oldest.Value.(*inbound) == m {
			oldest = oldest.Next()
		}
		if oldest == nil {
			return false
		}
		m := oldest.Value.(*inbound)
		c.drop(m, faultOverloaded)
		if m.evict != nil {
			go m.evict()
		}
	}
	if to != m.pool {
		c.refund(m)
		m.pool = to
	}
	to.used += more
	m.charged = cost
	if m.waiting == nil && (!m.call || m.evict != nil) { // a call waits for nobody any more
		m.waiting = to.unfinished.PushBack(m)
	}
	return true
}

// drop forgets what a message holds.
func (c *calls) drop(m *inbound, why fault) {
	c.refund(m)
	m.data, m.fault = nil, why
}

func (c *calls) refund(m *inbound) {
	m.finish()
	if m.pool != nil {
		m.pool.used -= m.charged
		m.pool, m.charged = nil, 0
	}
	for room := c.roomy() - c.usual.used; room >= 0 && len(c.waiting) > 0; room -= 2 * callBytes {
		close(c.waiting[0])
		c.waiting = c.waiting[1:]
	}
}

func (m *inbound) finish() {
	if m.waiting != nil {
		m.pool.unfinished.Remove(m.waiting)
		m.waiting = nil
	}
}
