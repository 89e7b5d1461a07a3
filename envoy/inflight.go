package envoy

import (
	"container/list"
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// Limits for the memory of peers. All connections of a process share its pools. There are
// several pools, so that large calls, access logs and other streams cannot take the room of
// usual calls.
const (
	// patience is the longest time that a connection waits for room among the usual calls.
	patience = 50 * time.Millisecond
	// callBytes is the cost of a check while it is decided, besides its message: its goroutine,
	// its stream in gRPC, its request and its response.
	callBytes = 10 << 10
	// copies is the maximum number of copies of a message's bytes: as received, and as the list
	// of its headers.
	copies = 2
	// messageBytes is the cost of a message besides its bytes.
	messageBytes = 512
	// answerBytes is the cost of a response until its peer receives it: its stream in gRPC, its
	// header fields and its buffer.
	answerBytes = 6 << 10
	// few is the number of checks that a connection may have in flight even if too many
	// responses are unsent.
	few = 8
	// usualBytes is the maximum size of a usual message.
	usualBytes = 64 << 10
	// smallBytes is the maximum size of a small message. Most usual messages are small.
	smallBytes = 8 << 10
	// unlimitedMemory is the limit that is assumed for a process that has none.
	unlimitedMemory = 1 << 30
)

// A fault is the reason why a call is answered without being read. The zero value means no
// fault.
type fault uint8

const (
	faultNone fault = iota
	// faultMalformed means that the call does not have exactly one readable message.
	faultMalformed
	// faultOverloaded means that there was no memory left for the call.
	faultOverloaded
)

// calls holds the messages of all connections until they are decided. gRPC receives a ticket in
// place of each message. A peer cannot forge a ticket, because what it sends on such a stream
// never reaches gRPC.
type calls struct {
	now     func() time.Time
	buffers largePool

	mu    sync.Mutex
	next  uint64
	ready map[uint64][]*inbound // by ticket, in order

	usual, large, access pool
	logs, others         pool // for access log streams, and for streams of other methods
	unsent, maxUnsent    int  // responses that peers have not received, and their maximum

	waiting []chan struct{} // calls that wait for room, in order of arrival
}

// A pool is a share of the memory.
type pool struct {
	limit, used int // in bytes
	// firm is the part of used that is charged for calls in progress. These are not dropped to
	// make room for others.
	firm int
	// unfinished lists the messages that are not complete, and the streams that are short when
	// the peer is honest, oldest first. They are dropped to make room for others, so that a
	// peer that stops in the middle cannot keep the memory.
	unfinished list.List
}

// An inbound is one message of a peer, from its first bytes on. Its fields belong to calls.
type inbound struct {
	// data is not written to after the message is handed over, because a CheckRequest has
	// strings in it.
	data    []byte
	size    int // announced size
	lost    int // messages of the access log that were dropped before this one
	pool    *pool
	charged int           // bytes charged to the pool
	waiting *list.Element // its element in pool.unfinished; nil if it is complete or gone
	backlog *backlog      // of the connection, for a check
	arrived time.Time     // when its last bytes were received; zero if it has none
	evict   func()        // closes the connection of a dropped stream; nil if the stream stays

	// Small fields are together, because every check has an inbound.
	trace  TraceParent // of the call, for a check
	fault  fault
	log    bool // it is a message or stream of the access log
	stream bool // it is not a message, but stands for a stream that is not a check
	call   bool // it is charged for a call in progress
	firm   bool // it counts in pool.firm
	unsent bool // it counts as a response that its peer has not received
	gone   bool // its stream has ended
}

// A backlog counts the checks of one connection that gRPC knows. A peer grants flow-control
// windows as it likes, and gRPC keeps responses that do not fit into them. The fields of a
// backlog belong to calls.
type backlog struct {
	open  int
	waits bool // checks are held back until open <= until
	until int
	woken bool
	wake  func() // must not block
}

// newCalls returns calls whose pools are sized by memoryLimit, the limit of the Go runtime
// (GOMEMLIMIT) in bytes.
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

// memoryLimit returns the memory limit of the Go runtime, in bytes.
func memoryLimit() int64 { return debug.SetMemoryLimit(-1) }

// add appends bytes to a message. If there is no room, it drops the message. It returns the
// fault of the message. After the last bytes the message is handed over next, so it is no
// longer dropped to make room for others.
func (c *calls) add(m *inbound, p []byte, last bool) fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.fault != faultNone {
		return m.fault
	}
	// Memory is allocated for the bytes that were received, not for the announced size.
	size := len(m.data) + len(p)
	room := cap(m.data)
	if size > room {
		room = max(size, min(room+room/2, m.size))
	}
	if !c.charge(m, room, last) {
		c.drop(m, faultOverloaded)
		return m.fault
	}
	if room > cap(m.data) {
		m.data = append(make([]byte, 0, room), m.data...)
	}
	m.data = append(m.data, p...)
	if last {
		m.arrived = c.now()
		m.finish()
	}
	return faultNone
}

// ticket returns a new ticket.
func (c *calls) ticket() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	return c.next
}

// hand makes a message available under the ticket. A check is handed over even if it has a
// fault. A faulty message of the access log is not handed over, and hand returns false.
func (c *calls) hand(ticket uint64, m *inbound) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.call = !m.log
	switch {
	case m.fault != faultNone:
	case m.call && c.spares(m), !c.charge(m, cap(m.data), true):
		c.drop(m, faultOverloaded)
	case m.call:
		m.firm = true
		m.pool.firm += m.charged
	}
	m.finish()
	switch {
	case m.fault == faultNone:
	case m.log:
		return false
	default:
		c.countUnsent(m) // a faulty check costs only its response
	}
	if m.call {
		m.backlog.open++
	}
	c.ready[ticket] = append(c.ready[ticket], m)
	return true
}

// spares reports whether a usual call must leave the last sixteenth of the pool to others: to
// small calls of connections that have few calls. So a flood of many or of large calls does not
// deny the calls of other peers.
func (c *calls) spares(m *inbound) bool {
	size := cap(m.data)
	return size <= usualBytes && (size > smallBytes || m.backlog.open >= few) &&
		c.usual.firm+callBytes+messageBytes+copies*size > c.usual.limit/16*15
}

// fail drops a message with the given fault.
func (c *calls) fail(m *inbound, why fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(m, why)
}

// take returns the next message of a ticket, or nil if there is none. The caller must release
// it.
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

// cancel releases the messages of a ticket that were not taken.
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

// answered releases the memory of a check that is decided. Its response counts as unsent until
// its stream ends.
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

// ended records that the stream of a check that was handed over has ended.
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

// admits reports whether gRPC may be given another check of a connection. If full is set, gRPC
// takes no more streams, and the connection is woken when an eighth of its checks have ended.
// If too many responses are unsent, a connection may have no more than few checks. It is woken
// when it has fewer than few, or half as many as now, whichever comes first.
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

// holdBack is told that a message waits although it is complete. It makes room for others.
func (c *calls) holdBack(m *inbound) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.pool != nil && m.waiting == nil {
		m.waiting = m.pool.unfinished.PushBack(m)
	}
}

// woken reports, once, whether the connection was woken.
func (c *calls) woken(b *backlog) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := b.woken
	b.woken = false
	return was
}

// open counts a stream that is not a check, and reports whether there is room for it. Access
// log streams last as long as their Envoy. Any other stream is a health check, which must be
// answered even if a peer opens thousands of streams.
func (c *calls) open(m *inbound) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.call, m.stream = true, true
	return c.charge(m, 0, false)
}

// await waits until there is room for one more usual call. Calls wait in order of arrival. A
// connection waits for at most patience in total until it has caught up with its peer. The
// calls behind a waiting call must be refused while their senders still want an answer. The
// argument waited is the time that the connection has waited so far. await returns the new
// total.
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

// crowded reports whether usual calls have to wait. They wait when the calls in progress leave
// only the room that is needed for calls that have already arrived.
func (c *calls) crowded() bool { return c.usual.used > c.roomy() }

func (c *calls) roomy() int { return c.usual.limit / 8 * 7 }

// charge takes the cost of a message of this capacity from the pool for its size, and reports
// whether there is room. To make room, it drops the messages that have been unfinished longest.
func (c *calls) charge(m *inbound, capacity int, whole bool) bool {
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
	if m.waiting == nil && !whole && (!m.call || m.evict != nil) { // a call no longer waits for its peer
		m.waiting = to.unfinished.PushBack(m)
	}
	return true
}

// drop releases what a message holds and sets its fault.
func (c *calls) drop(m *inbound, why fault) {
	c.refund(m)
	m.data, m.fault = nil, why
}

func (c *calls) refund(m *inbound) {
	m.finish()
	if m.firm {
		m.firm = false
		m.pool.firm -= m.charged
	}
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
