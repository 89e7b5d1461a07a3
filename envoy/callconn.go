package envoy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/credentials"
)

const (
	// streamWindow and connectionWindow are the flow-control windows: the number of bytes that
	// a peer may send on one stream, and on all streams of a connection, before it has to wait
	// for more. Bytes that were read are granted again at once. Memory is bounded by [calls]
	// and not by the windows, because a connection that waits also delays the calls of others.
	streamWindow     = 256 << 10
	connectionWindow = 1 << 20
	// maxAhead is the number of frames that are read before the reader waits for what gRPC is
	// writing in the meantime.
	maxAhead = 64
	// firstWindow is the initial flow-control window of a connection (RFC 9113 section 6.9.2).
	firstWindow = 65535
)

// wholeCalls wraps transport credentials. Its connections pass Envoy's calls to gRPC only when
// the calls are complete; see [callConn].
type wholeCalls struct {
	credentials.TransportCredentials
	calls    *calls
	maxBytes int // maximum size of a CheckRequest
}

// ServerHandshake implements credentials.TransportCredentials.
func (w wholeCalls) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := w.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	return newCallConn(secured, w.calls, w.maxBytes), info, nil
}

// Clone implements credentials.TransportCredentials.
func (w wholeCalls) Clone() credentials.TransportCredentials {
	return wholeCalls{w.TransportCredentials.Clone(), w.calls, w.maxBytes}
}

// A callConn sits between a connection and gRPC. By itself, gRPC ends a call with an error if
// its metadata is large or malformed, if it is compressed, if its message is too large or
// missing, or if its deadline has passed. An Envoy that is set to failure_mode_allow treats
// such an error as allow. gRPC also keeps everything that peers have begun to send. Therefore a
// callConn reads the frames of a check itself and passes the call to gRPC when it is complete.
// gRPC then sees fixed header fields and a ticket, which stands for the message or for its
// fault. A callConn grants the flow-control windows of RFC 9113 section 5.2 for what it has
// read. It also renumbers streams, because gRPC requires stream IDs in increasing order.
type callConn struct {
	net.Conn
	calls    *calls
	maxBytes int

	// The following fields are used only by the goroutine that reads.
	in       input
	begun    bool // the connection preface has been read
	out      []byte
	taken    int // bytes of out that gRPC has read
	block    *headerBlock
	fields   bytes.Buffer // for encoder
	encoder  *hpack.Encoder
	received int           // bytes read but not yet granted again to the connection's window
	ahead    int           // frames read since the reader last waited for the writer
	waited   time.Duration // time spent waiting for room since the peer was caught up with

	backlog backlog
	holding bool // there are checks in held

	mu         sync.Mutex
	streams    map[uint32]*stream // by the peer's stream ID
	shown      map[uint32]*stream // the streams that gRPC knows, by its own stream ID
	last       uint32             // the highest stream ID of the peer
	nextShown  uint32             // the next stream ID for gRPC
	gone       uint32             // the peer's ID of a stream that ended before gRPC ended it
	unfinished int                // checks that gRPC has not been given
	held       []*stream          // the unfinished checks that gRPC will be given later
	draining   bool               // gRPC has sent a GOAWAY frame
	closed     bool               // gRPC has sent its final GOAWAY; no more calls begin
	farewell   []byte             // data of the ping whose ack tells gRPC that the peer knows
	heldAck    []byte             // the ack of that ping, held back while checks are unfinished
	ended      bool

	writing sync.Mutex
	partial []byte // a frame that gRPC has written only in part
	frames  []byte // the frames for Conn, used while Write is called
	greeted bool   // the first frame has been written
}

func newCallConn(c net.Conn, all *calls, maxBytes int) *callConn {
	conn := &callConn{
		Conn: c, calls: all, maxBytes: maxBytes,
		in: input{from: c, pool: &all.buffers}, block: newHeaderBlock(),
		streams: map[uint32]*stream{}, shown: map[uint32]*stream{}, nextShown: 1,
	}
	conn.backlog.wake = func() { _ = c.SetReadDeadline(time.Unix(1, 0)) }
	conn.encoder = hpack.NewEncoder(&conn.fields)
	return conn
}

// Read returns the bytes that gRPC is given. It implements net.Conn.
func (c *callConn) Read(p []byte) (int, error) {
	for c.taken == len(c.out) {
		if cap(c.out) > wholeBlock {
			c.out = nil
		}
		c.out, c.taken = c.out[:0], 0
		err := c.next()
		if errors.Is(err, os.ErrDeadlineExceeded) && c.calls.woken(&c.backlog) {
			_ = c.SetReadDeadline(time.Time{})
			err = nil
		}
		c.resume()
		if err != nil {
			c.in.free()
			c.end()
			return 0, err
		}
	}
	n := copy(p, c.out[c.taken:])
	c.taken += n
	return n, nil
}

// Close implements net.Conn.
func (c *callConn) Close() error {
	err := c.Conn.Close()
	c.end()
	return err
}

// end releases what the streams hold.
func (c *callConn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended, c.heldAck = true, nil
	for _, s := range c.streams {
		c.forget(s)
	}
}

// next reads one frame. Every maxAhead frames it waits for the writer, because gRPC queues the
// frames that it has to write in response, without bound if the peer does not read.
func (c *callConn) next() error {
	if c.ahead++; c.ahead == maxAhead {
		c.ahead = 0
		if err := c.control(nil); err != nil {
			return err
		}
	}
	if !c.begun {
		preface, err := c.in.peek(len(http2.ClientPreface))
		if err != nil {
			return err
		}
		c.begun = true
		c.out = append(c.out, preface...)
		c.in.take(len(preface))
		return nil
	}
	if c.in.caughtUp() {
		c.waited = 0
	}
	head, err := c.in.peek(frameHead)
	if err != nil {
		return err
	}
	size := frameHead + frameLength(head)
	if size > frameHead+maxFrame {
		return errFrame
	}
	frame, err := c.in.peek(size)
	if err != nil {
		return err
	}
	c.in.take(size)
	return c.frame(frame)
}

// frame handles a frame from the peer.
func (c *callConn) frame(frame []byte) error {
	kind, flags, payload := http2.FrameType(frame[3]), http2.Flags(frame[4]), frame[frameHead:]
	id := binary.BigEndian.Uint32(frame[5:]) & math.MaxInt32
	if open := c.block.stream; (kind == http2.FrameContinuation) != (open != 0) || open != 0 && open != id {
		return errFrame
	}
	if kind == http2.FrameData || kind == http2.FrameHeaders {
		var ok bool
		if payload, ok = unpadded(kind, flags, payload); !ok || id == 0 {
			return errFrame
		}
	}
	switch kind {
	case http2.FrameData:
		c.data(id, payload, len(frame)-frameHead, flags.Has(http2.FlagDataEndStream))
	case http2.FrameHeaders:
		c.block.begin(id, flags.Has(http2.FlagHeadersEndStream))
		return c.headers(payload, flags)
	case http2.FrameContinuation:
		return c.headers(payload, flags)
	case http2.FrameRSTStream:
		c.reset(id, frame)
		runtime.Gosched() // goroutines of calls that were given up end before more begin
	case http2.FrameWindowUpdate:
		c.windowUpdate(id, frame)
	case http2.FramePing:
		c.ping(frame, flags)
	case http2.FrameSettings, http2.FrameGoAway:
		c.out = append(c.out, frame...)
	case http2.FramePushPromise:
		return errFrame
	default: // PRIORITY and extension frames are ignored
	}
	return nil
}

// headers handles a fragment of a header block. After the last fragment, it handles the call
// that the block begins or ends.
func (c *callConn) headers(piece []byte, flags http2.Flags) error {
	last := flags.Has(http2.FlagHeadersEndHeaders) // CONTINUATION uses the same flag
	id, ends := c.block.stream, c.block.ends
	if err := c.block.write(piece, last); err != nil || !last {
		return err
	}
	if err := c.block.end(); err != nil {
		return err
	}
	if c.block.kept.path == checkFields.path {
		c.waited = c.calls.await(c.waited)
	}
	c.mu.Lock()
	known := c.streams[id]
	refused := false
	switch {
	case known != nil: // trailers, which are ignored
		if ends {
			c.peerEnds(known)
		}
	case id > c.last:
		c.last = id
		refused = id%2 == 1 && !c.begin(id, ends)
	}
	c.mu.Unlock()
	switch {
	case id%2 == 0:
		return errFrame
	case refused:
		return c.control(appendReset(nil, id, http2.ErrCodeRefusedStream))
	}
	return nil
}

// data handles the payload of a DATA frame. The frame takes size bytes from the windows.
func (c *callConn) data(id uint32, payload []byte, size int, ends bool) {
	var grants []byte
	if c.received += size; c.received >= connectionWindow/4 {
		grants = appendWindowUpdate(grants, 0, uint32(c.received)) //nolint:gosec // not much more than a quarter of the window
		c.received = 0
	}
	c.mu.Lock()
	s := c.streams[id]
	switch {
	case s == nil || s.peerEnded:
	case s.kind == kindRest:
		if s.rest += len(payload); s.rest > maxOther {
			c.out = appendReset(c.out, s.shown, http2.ErrCodeEnhanceYourCalm)
			grants = appendReset(grants, id, http2.ErrCodeEnhanceYourCalm)
			c.gone = id
			c.forget(s)
			break
		}
		c.out = append(appendHead(c.out, len(payload), http2.FrameData, 0, s.shown), payload...)
	default:
		c.messages(s, payload, ends)
		if s.received += size; s.received >= streamWindow/4 && !ends && !s.answered() {
			grants = appendWindowUpdate(grants, id, uint32(s.received)) //nolint:gosec // not much more than a quarter of the window
			s.received = 0
		}
	}
	if ends && s != nil {
		c.peerEnds(s)
	}
	c.mu.Unlock()
	if len(grants) > 0 {
		_ = c.control(grants) // the next Read reports the error
	}
}

// reset handles an RST_STREAM frame from the peer.
func (c *callConn) reset(id uint32, frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[id]
	if s == nil {
		return
	}
	if s.shown != 0 {
		c.out = appendRenumbered(c.out, frame, s.shown)
		c.gone = id
	}
	c.forget(s)
}

func (c *callConn) windowUpdate(id uint32, frame []byte) {
	if id == 0 || len(frame) != frameHead+4 {
		c.out = append(c.out, frame...)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s := c.streams[id]; {
	case s == nil:
	case s.shown != 0:
		c.out = appendRenumbered(c.out, frame, s.shown)
	default:
		more := binary.BigEndian.Uint32(frame[frameHead:]) & math.MaxInt32
		s.window = min(s.window+more, math.MaxInt32-connectionWindow)
	}
}

// ping passes a ping to gRPC. When gRPC shuts down, it sends a ping and takes the ack to mean
// that the peer begins no more calls. That ack is held back while checks are unfinished.
func (c *callConn) ping(frame []byte, flags http2.Flags) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if flags.Has(http2.FlagPingAck) && c.unfinished > 0 && c.farewell != nil && bytes.Equal(frame[frameHead:], c.farewell) {
		c.heldAck = bytes.Clone(frame)
		return
	}
	c.out = append(c.out, frame...)
}

// control writes frames to the peer that do not come from gRPC. Without frames, it only waits
// for a write in progress.
func (c *callConn) control(frames []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if len(frames) == 0 {
		return nil
	}
	_, err := c.Conn.Write(frames)
	return err
}

// Write handles the bytes that gRPC sends. It implements net.Conn.
func (c *callConn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	rest := p
	if len(c.partial) > 0 {
		c.partial = append(c.partial, p...)
		rest = c.partial
	}
	buffer := c.calls.buffers.get()
	c.frames = (*buffer)[:0]
	defer func() {
		*buffer, c.frames = c.frames[:cap(c.frames)], nil
		c.calls.buffers.put(buffer)
	}()
	c.mu.Lock()
	for len(rest) >= frameHead {
		size := frameHead + frameLength(rest)
		if len(rest) < size {
			break
		}
		c.send(rest[:size])
		rest = rest[size:]
	}
	c.mu.Unlock()
	c.partial = append(c.partial[:0], rest...)
	if len(rest) == 0 {
		c.partial = nil
	}
	if len(c.frames) == 0 {
		return len(p), nil
	}
	if _, err := c.Conn.Write(c.frames); err != nil {
		return 0, err
	}
	return len(p), nil
}

// send appends a frame from gRPC to the frames for the peer.
func (c *callConn) send(frame []byte) {
	kind, flags := http2.FrameType(frame[3]), http2.Flags(frame[4])
	shown := binary.BigEndian.Uint32(frame[5:]) & math.MaxInt32
	switch {
	case kind == http2.FrameWindowUpdate: // the windows were already granted by data
		return
	case kind == http2.FrameGoAway && len(frame) >= frameHead+8:
		c.draining = true
		c.frames = append(c.frames, frame...)
		if last := c.frames[len(c.frames)-len(frame)+frameHead:]; binary.BigEndian.Uint32(last)&math.MaxInt32 != math.MaxInt32 {
			binary.BigEndian.PutUint32(last, c.last)
			c.closed = true
		}
		return
	case shown == 0:
		if kind == http2.FramePing && !flags.Has(http2.FlagPingAck) && c.draining && c.farewell == nil {
			c.farewell = bytes.Clone(frame[frameHead:])
		}
		c.frames = append(c.frames, frame...)
		if !c.greeted {
			c.greeted = true
			c.frames = appendWindowUpdate(c.frames, 0, connectionWindow-firstWindow)
		}
		return
	}
	s := c.shown[shown]
	if s == nil {
		// The peer has ended the stream. It still accounts for frames on a stream that it knows
		// (RFC 9113 section 5.1, RFC 7541 section 2.2).
		if c.gone != 0 && kind != http2.FrameRSTStream {
			c.frames = appendRenumbered(c.frames, frame, c.gone)
		}
		return
	}
	c.frames = appendRenumbered(c.frames, frame, s.id)
	fields := kind == http2.FrameHeaders || kind == http2.FrameContinuation
	if fields || kind == http2.FrameData {
		s.ending = s.ending || kind != http2.FrameContinuation && flags.Has(http2.FlagDataEndStream)
	}
	ends := s.ending && (!fields || flags.Has(http2.FlagHeadersEndHeaders))
	if ends && !s.peerEnded {
		c.frames = appendReset(c.frames, s.id, http2.ErrCodeNo)
	}
	if ends || kind == http2.FrameRSTStream {
		c.forget(s)
	}
}
