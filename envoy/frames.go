package envoy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/credentials"
)

const (
	frameHead = 9
	// maxFrame is the size of frames that a server takes that names none (RFC 9113
	// section 6.5.2).
	maxFrame = 16 << 10
	// streamWindow is how many bytes a peer may send on a stream, streamWindow and
	// connectionWindow on all of them, before it waits for more. What was read is granted
	// again at once: memory is bounded by [calls] and not by windows, since a connection
	// that waits keeps the calls of others waiting too.
	streamWindow     = 256 << 10
	connectionWindow = 1 << 20
	// maxOther is how much a peer may send on a stream that is no check and no access log,
	// in bytes: the name of a service.
	maxOther = 4 << 10
	// messagePrefix is the length-prefix of a message of gRPC: a flag and a length.
	messagePrefix = 5
	ticketBytes   = 8
)

var errFrame = errors.New("not HTTP/2 as a client speaks it (RFC 9113)")

// wholeCalls is transport security whose connections show gRPC calls of Envoy
// only when they are complete; see [callConn].
type wholeCalls struct {
	credentials.TransportCredentials
	calls    *calls
	maxBytes int // of a CheckRequest
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

// A callConn stands between a connection and gRPC, which ends a call with an error
// when its metadata is large or odd, when it is compressed, when its message is too
// large or missing, or when its deadline has passed; such an error is an allow where
// Envoy is set to failure_mode_allow. And gRPC keeps whatever peers have begun to
// send. So a callConn reads the frames of a check itself and gives gRPC the call
// when it is complete: fixed header fields and a ticket for the message, or for the
// fault that it has. It grants the windows of RFC 9113 section 5.2 for what it read, and
// gives streams new numbers, since gRPC wants to see them in order.
type callConn struct {
	net.Conn
	calls    *calls
	maxBytes int

	// Of the goroutine that reads.
	in       *bufio.Reader
	begun    bool // the preface was read
	out      []byte
	taken    int // bytes of out that gRPC has
	block    *headerBlock
	fields   bytes.Buffer // for encoder
	encoder  *hpack.Encoder
	received int // bytes of the connection's window that are not granted again yet

	mu         sync.Mutex
	streams    map[uint32]*stream // by the peer's number
	shown      map[uint32]*stream // those that gRPC knows, by its own number
	last       uint32             // the peer's highest number
	nextShown  uint32             // gRPC's next one
	gone       uint32             // the number of a stream that ended without gRPC
	unfinished int                // checks that are not shown
	draining   bool               // gRPC waits for the peer to know that it goes
	heldAck    []byte             // the peer's word that it knows, while checks are unfinished
	ended      bool

	writing sync.Mutex
	partial []byte // a frame that gRPC has not written to its end
	frames  []byte // for Conn
	greeted bool   // the first frame was written
}

type streamKind uint8

const (
	kindRest streamKind = iota // health, and what is not served
	kindCheck
	kindAccessLog
)

// A stream is one call of the peer.
type stream struct {
	id, shown uint32 // the peer's number and gRPC's; 0: gRPC does not know it yet
	kind      streamKind
	peerEnded bool
	window    uint32 // what the peer granted before gRPC knew the stream
	received  int    // bytes of its window that are not granted again yet
	rest      int    // bytes of kindRest

	cost   *inbound // of the stream itself, when it is no check
	ending bool     // gRPC has begun the header block that ends it

	message *inbound // nil when there is none
	ticket  uint64
	prefix  [messagePrefix]byte
	have    int    // bytes of prefix
	left    uint32 // bytes of the message that are still to come
	whole   bool   // of a check: the message is there
	lost    int    // of the access log: messages that were dropped
}

// answered reports whether a check was given to gRPC.
func (s *stream) answered() bool { return s.kind == kindCheck && s.shown != 0 }

func newCallConn(c net.Conn, all *calls, maxBytes int) *callConn {
	conn := &callConn{
		Conn: c, calls: all, maxBytes: maxBytes,
		in: bufio.NewReaderSize(c, 2*maxFrame), block: newHeaderBlock(),
		streams: map[uint32]*stream{}, shown: map[uint32]*stream{}, nextShown: 1,
	}
	conn.encoder = hpack.NewEncoder(&conn.fields)
	return conn
}

// Read returns what gRPC is to see. It implements net.Conn.
func (c *callConn) Read(p []byte) (int, error) {
	for c.taken == len(c.out) {
		if cap(c.out) > 2*maxFrame {
			c.out = nil
		}
		c.out, c.taken = c.out[:0], 0
		if err := c.next(); err != nil {
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

// next reads one frame.
func (c *callConn) next() error {
	if !c.begun {
		preface, err := c.in.Peek(len(http2.ClientPreface))
		if err != nil {
			return err
		}
		c.begun = true
		c.out = append(c.out, preface...)
		_, err = c.in.Discard(len(preface))
		return err
	}
	head, err := c.in.Peek(frameHead)
	if err != nil {
		return err
	}
	size := frameHead + frameLength(head)
	if size > frameHead+maxFrame {
		return errFrame
	}
	frame, err := c.in.Peek(size)
	if err != nil {
		return err
	}
	if err := c.frame(frame); err != nil {
		return err
	}
	_, err = c.in.Discard(size)
	return err
}

func frameLength(head []byte) int { return int(head[0])<<16 | int(head[1])<<8 | int(head[2]) }

// frame reads a frame of the peer.
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
	case http2.FrameWindowUpdate:
		c.windowUpdate(id, frame)
	case http2.FramePing:
		c.ping(frame, flags)
	case http2.FrameSettings, http2.FrameGoAway:
		c.out = append(c.out, frame...)
	case http2.FramePushPromise:
		return errFrame
	default: // PRIORITY, and what extensions add, is ignored
	}
	return nil
}

// unpadded takes the padding and the priority off a frame.
func unpadded(kind http2.FrameType, flags http2.Flags, payload []byte) ([]byte, bool) {
	padding := 0
	if flags.Has(http2.FlagDataPadded) { // the flag of HEADERS is the same
		if len(payload) == 0 {
			return nil, false
		}
		padding, payload = int(payload[0]), payload[1:]
	}
	if kind == http2.FrameHeaders && flags.Has(http2.FlagHeadersPriority) {
		if len(payload) < 5 {
			return nil, false
		}
		payload = payload[5:]
	}
	if padding > len(payload) {
		return nil, false
	}
	return payload[:len(payload)-padding], true
}

// headers reads a piece of a header block, and the call that it begins or ends when it is
// the last one.
func (c *callConn) headers(piece []byte, flags http2.Flags) error {
	last := flags.Has(http2.FlagHeadersEndHeaders) // the flag of CONTINUATION is the same
	id, ends := c.block.stream, c.block.ends
	if err := c.block.write(piece, last); err != nil || !last {
		return err
	}
	if err := c.block.end(); err != nil {
		return err
	}
	if c.block.kept.path == checkFields.path {
		c.calls.await(time.Now())
	}
	c.mu.Lock()
	known := c.streams[id]
	refused := false
	switch {
	case known != nil: // trailers, of which nothing is read
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

// begin begins a call, and reports whether there is room for it.
func (c *callConn) begin(id uint32, ends bool) bool {
	if len(c.streams) >= maxStreams || c.ended {
		return false
	}
	s, fields := &stream{id: id}, c.block.kept
	switch fields.path {
	case authv3.Authorization_Check_FullMethodName:
		s.kind, s.message = kindCheck, new(inbound)
		c.unfinished++
	case accesslogv3.AccessLogService_StreamAccessLogs_FullMethodName:
		s.kind, s.cost = kindAccessLog, new(inbound)
	default:
		s.cost = new(inbound)
	}
	if s.cost != nil && !c.calls.open(s.cost) {
		return false
	}
	c.streams[id] = s
	switch {
	case s.kind != kindCheck:
		s.ticket = c.calls.ticket()
		s.peerEnded = ends
		c.introduce(s, ends, fields)
	case fields.method != http.MethodPost || !isProto(fields.contentType):
		c.calls.fail(s.message, faultMalformed)
		c.show(s)
	case ends:
		c.peerEnds(s)
	}
	return true
}

// isProto reports whether messages of a content type are protocol buffers.
func isProto(contentType string) bool {
	contentType, _, _ = strings.Cut(contentType, ";")
	contentType = lower(strings.TrimSpace(contentType))
	return contentType == "application/grpc" || contentType == "application/grpc+proto"
}

// introduce makes a stream known to gRPC.
func (c *callConn) introduce(s *stream, ends bool, f callFields) {
	s.shown = c.nextShown
	c.nextShown += 2
	c.shown[s.shown] = s
	c.fields.Reset()
	for _, field := range [...]hpack.HeaderField{
		{Name: ":method", Value: f.method},
		{Name: ":scheme", Value: "http"},
		{Name: ":path", Value: f.path},
		{Name: ":authority", Value: "warder"},
		{Name: "content-type", Value: f.contentType},
		{Name: "grpc-timeout", Value: f.timeout},
	} {
		if field.Value != "" {
			_ = c.encoder.WriteField(field) // a bytes.Buffer takes all
		}
	}
	flags := http2.FlagHeadersEndHeaders
	if ends {
		flags |= http2.FlagHeadersEndStream
	}
	c.out = append(appendHead(c.out, c.fields.Len(), http2.FrameHeaders, flags, s.shown), c.fields.Bytes()...)
	if s.window > 0 {
		c.out = appendWindowUpdate(c.out, s.shown, s.window)
	}
}

// checkFields are the header fields of every check.
var checkFields = callFields{method: http.MethodPost, path: authv3.Authorization_Check_FullMethodName, contentType: "application/grpc"}

// show gives gRPC a check: its ticket, and its end.
func (c *callConn) show(s *stream) {
	if s.answered() {
		return
	}
	s.ticket = c.calls.ticket()
	c.calls.hand(s.ticket, s.message)
	s.message = nil
	c.introduce(s, false, checkFields)
	c.out = appendTicket(c.out, s.shown, http2.FlagDataEndStream, s.ticket)
	c.finished()
}

// finished counts a check that is no longer unfinished.
func (c *callConn) finished() {
	if c.unfinished--; c.unfinished == 0 && c.heldAck != nil {
		c.out = append(c.out, c.heldAck...)
		c.heldAck = nil
	}
}

// peerEnds is called when the peer has sent all of a stream.
func (c *callConn) peerEnds(s *stream) {
	if s.peerEnded {
		return
	}
	s.peerEnded = true
	switch {
	case s.kind != kindCheck:
		if s.lost > 0 && c.calls.hand(s.ticket, &inbound{log: true, lost: s.lost}) {
			c.out = appendTicket(c.out, s.shown, 0, s.ticket)
		}
		c.out = appendHead(c.out, 0, http2.FrameData, http2.FlagDataEndStream, s.shown)
	case !s.whole && !s.answered():
		c.calls.fail(s.message, faultMalformed)
		fallthrough
	default:
		c.show(s)
	}
}

// data reads a part of a stream; size is what it takes from the windows, in bytes.
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
		c.messages(s, payload)
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
		_ = c.control(grants) // the next Read says what is wrong
	}
}

// messages reads what a stream carries. A check has one message; the access log goes on
// after each.
func (c *callConn) messages(s *stream, p []byte) {
	for len(p) > 0 && !s.answered() {
		switch {
		case s.whole: // more than one
			c.calls.fail(s.message, faultMalformed)
			c.show(s)
		case s.have < messagePrefix:
			n := copy(s.prefix[s.have:], p)
			s.have, p = s.have+n, p[n:]
			if s.have == messagePrefix {
				c.messageBegins(s)
			}
		default:
			n := min(uint64(s.left), uint64(len(p)))
			why := c.calls.add(s.message, p[:n])
			p, s.left = p[n:], s.left-uint32(n) //nolint:gosec // at most left
			if why != faultNone && s.kind == kindCheck {
				c.show(s)
			} else if s.left == 0 {
				c.messageEnds(s)
			}
		}
	}
}

func (c *callConn) messageBegins(s *stream) {
	s.left = binary.BigEndian.Uint32(s.prefix[1:])
	limit := c.maxBytes
	if s.kind == kindAccessLog {
		s.message, limit = &inbound{log: true}, maxAccessMessage
	}
	if s.prefix[0] != 0 || uint64(s.left) > uint64(limit) { //nolint:gosec // a limit is positive
		c.calls.fail(s.message, faultMalformed)
		if s.kind == kindCheck {
			c.show(s)
			return
		}
	}
	if s.message.size = int(s.left); s.left == 0 {
		c.messageEnds(s)
	}
}

func (c *callConn) messageEnds(s *stream) {
	if s.kind == kindCheck {
		s.whole = true
		return
	}
	s.message.lost = s.lost
	if c.calls.hand(s.ticket, s.message) {
		s.lost = 0
		c.out = appendTicket(c.out, s.shown, 0, s.ticket)
	} else {
		s.lost++
	}
	s.have, s.message = 0, nil
}

// reset ends a stream as the peer wants it.
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

// forget ends a stream; c.mu is held.
func (c *callConn) forget(s *stream) {
	if c.streams[s.id] != s {
		return
	}
	delete(c.streams, s.id)
	delete(c.shown, s.shown)
	c.calls.cancel(s.ticket)
	for _, m := range []*inbound{s.message, s.cost} {
		if m != nil {
			c.calls.release(m)
		}
	}
	if s.kind == kindCheck && !s.answered() {
		c.finished()
	}
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

// ping passes on a ping. The answer to the one with which gRPC learns that the peer begins no
// more calls waits for those that have begun.
func (c *callConn) ping(frame []byte, flags http2.Flags) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if flags.Has(http2.FlagPingAck) && c.draining && c.unfinished > 0 {
		c.heldAck = bytes.Clone(frame)
		return
	}
	c.out = append(c.out, frame...)
}

// control writes frames of its own to the peer.
func (c *callConn) control(frames []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.Conn.Write(frames)
	return err
}

// Write takes what gRPC sends. It implements net.Conn.
func (c *callConn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	rest := p
	if len(c.partial) > 0 {
		c.partial = append(c.partial, p...)
		rest = c.partial
	}
	c.frames = c.frames[:0]
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
	if len(c.frames) == 0 {
		return len(p), nil
	}
	if _, err := c.Conn.Write(c.frames); err != nil {
		return 0, err
	}
	return len(p), nil
}

// send appends a frame of gRPC to what the peer gets.
func (c *callConn) send(frame []byte) {
	kind, flags := http2.FrameType(frame[3]), http2.Flags(frame[4])
	shown := binary.BigEndian.Uint32(frame[5:]) & math.MaxInt32
	switch {
	case kind == http2.FrameWindowUpdate: // granted when it was read
		return
	case kind == http2.FrameGoAway && len(frame) >= frameHead+8:
		c.draining = true
		c.frames = append(c.frames, frame...)
		if last := c.frames[len(c.frames)-len(frame)+frameHead:]; binary.BigEndian.Uint32(last)&math.MaxInt32 != math.MaxInt32 {
			binary.BigEndian.PutUint32(last, c.last)
		}
		return
	case shown == 0:
		c.frames = append(c.frames, frame...)
		if !c.greeted {
			c.greeted = true
			c.frames = appendWindowUpdate(c.frames, 0, connectionWindow-65535)
		}
		return
	}
	s := c.shown[shown]
	if s == nil {
		// The peer has ended the stream, and still counts what comes on one that it knows
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

func appendHead(to []byte, size int, kind http2.FrameType, flags http2.Flags, id uint32) []byte {
	to = append(to, byte(size>>16), byte(size>>8), byte(size), byte(kind), byte(flags))
	return binary.BigEndian.AppendUint32(to, id)
}

func appendTicket(to []byte, id uint32, flags http2.Flags, ticket uint64) []byte {
	to = appendHead(to, messagePrefix+ticketBytes, http2.FrameData, flags, id)
	to = append(to, 0, 0, 0, 0, ticketBytes)
	return binary.BigEndian.AppendUint64(to, ticket)
}

func appendWindowUpdate(to []byte, id, more uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHead(to, 4, http2.FrameWindowUpdate, 0, id), more)
}

func appendReset(to []byte, id uint32, code http2.ErrCode) []byte {
	return binary.BigEndian.AppendUint32(appendHead(to, 4, http2.FrameRSTStream, 0, id), uint32(code))
}

// appendRenumbered appends a frame with another number of its stream.
func appendRenumbered(to, frame []byte, id uint32) []byte {
	to = append(to, frame...)
	binary.BigEndian.PutUint32(to[len(to)-len(frame)+5:], id)
	return to
}
