package envoy

import (
	"encoding/binary"
	"net/http"
	"slices"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// messagePrefix is the size of the prefix of a gRPC message, a flag and a length, in bytes.
	messagePrefix = 5
	ticketBytes   = 8
	// maxOther is the number of bytes that a peer may send on a stream that is neither a check
	// nor an access log. Such a stream carries the name of a service.
	maxOther = 4 << 10
)

type streamKind uint8

const (
	kindRest streamKind = iota // health, and methods that are not served
	kindCheck
	kindAccessLog
)

// A stream is one call of the peer.
type stream struct {
	id, shown uint32 // stream IDs of the peer and of gRPC; shown is 0 until gRPC knows the stream
	kind      streamKind
	peerEnded bool
	window    uint32 // granted by the peer before gRPC knew the stream
	received  int    // bytes read but not yet granted again to its window
	rest      int    // bytes received, for kindRest

	cost   *inbound // the cost of the stream itself, unless it is a check
	ending bool     // gRPC has sent END_STREAM

	message *inbound // nil if there is none
	handed  *inbound // the message of a check that gRPC has
	ticket  uint64
	prefix  [messagePrefix]byte
	have    int    // bytes of prefix received so far
	left    uint32 // bytes of the message still to be received
	whole   bool   // for a check: its message is complete
	held    bool   // for a check: gRPC is given it later
	lost    int    // for the access log: messages that were dropped
}

// answered reports whether a check was given to gRPC.
func (s *stream) answered() bool { return s.kind == kindCheck && s.shown != 0 }

// begin begins a call, and reports whether there is room for it.
func (c *callConn) begin(id uint32, ends bool) bool {
	s, fields := &stream{id: id}, c.block.kept
	limit := maxStreams
	if fields.path == authv3.Authorization_Check_FullMethodName {
		limit = maxBurst
	}
	if len(c.streams) >= limit || c.closed || c.ended {
		return false
	}
	switch fields.path {
	case authv3.Authorization_Check_FullMethodName:
		s.kind, s.message = kindCheck, &inbound{backlog: &c.backlog, trace: c.block.trace.parent}
		c.unfinished++
	case accesslogv3.AccessLogService_StreamAccessLogs_FullMethodName:
		s.kind, s.cost = kindAccessLog, &inbound{log: true}
	default:
		s.cost = &inbound{evict: func() { _ = c.Conn.Close() }}
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
	for _, field := range [...]hpack.HeaderField{ // without :scheme, which gRPC does not need
		{Name: ":method", Value: f.method},
		{Name: ":path", Value: f.path},
		{Name: ":authority", Value: "warder"},
		{Name: "content-type", Value: f.contentType},
		{Name: "grpc-timeout", Value: f.timeout},
	} {
		if field.Value != "" {
			_ = c.encoder.WriteField(field) // a bytes.Buffer accepts every write
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

// checkFields are the header fields that gRPC sees for every check.
var checkFields = callFields{method: http.MethodPost, path: authv3.Authorization_Check_FullMethodName, contentType: "application/grpc"}

// show passes a check to gRPC, or holds it back while [calls] does not admit it.
func (c *callConn) show(s *stream) {
	switch {
	case s.answered() || s.held:
	case c.holding || !c.calls.admits(&c.backlog, len(c.shown) >= maxStreams):
		s.held, c.holding = true, true
		c.calls.holdBack(s.message)
		c.held = append(c.held, s)
	default:
		c.give(s)
	}
}

// resume passes the checks that were held back to gRPC, as far as they are admitted.
func (c *callConn) resume() {
	if !c.holding {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.held) > 0 && c.calls.admits(&c.backlog, len(c.shown) >= maxStreams) {
		c.give(c.held[0])
		c.held = c.held[1:]
	}
	c.holding = len(c.held) > 0
}

// give passes a check to gRPC: its header fields, its ticket and the end of its stream.
func (c *callConn) give(s *stream) {
	s.held = false
	s.ticket = c.calls.ticket()
	c.calls.hand(s.ticket, s.message)
	s.message, s.handed = nil, s.message
	c.introduce(s, false, checkFields)
	c.out = appendTicket(c.out, s.shown, http2.FlagDataEndStream, s.ticket)
	c.finished()
}

// finished records that a check is no longer unfinished. After the last one, gRPC gets the ping
// ack that was held back.
func (c *callConn) finished() {
	if c.unfinished--; c.unfinished == 0 && c.heldAck != nil {
		c.out = append(c.out, c.heldAck...)
		c.heldAck = nil
	}
}

// peerEnds is called when the peer has sent everything on a stream.
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

// messages reads the messages of a stream. A check has one message. An access log stream may
// have any number.
func (c *callConn) messages(s *stream, p []byte, ends bool) {
	for len(p) > 0 && !s.answered() {
		switch {
		case s.whole: // a second message
			c.calls.fail(s.message, faultMalformed)
			c.show(s)
			return
		case s.have < messagePrefix:
			n := copy(s.prefix[s.have:], p)
			s.have, p = s.have+n, p[n:]
			if s.have == messagePrefix {
				c.messageBegins(s)
			}
		default:
			n := min(uint64(s.left), uint64(len(p)))
			why := c.calls.add(s.message, p[:n], ends && n == uint64(s.left) && n == uint64(len(p)))
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
	if s.prefix[0] != 0 || uint64(s.left) > uint64(limit) {
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

// forget removes a stream and releases what it holds. The caller must hold c.mu.
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
	switch {
	case s.handed != nil:
		c.calls.ended(s.handed)
	case s.kind == kindCheck:
		c.held = slices.DeleteFunc(c.held, func(h *stream) bool { return h == s })
		c.finished()
	}
}
