package envoy

import (
	"encoding/binary"
	"sync"

	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// checkCodec reads a [CheckRequest] and an accessBatch, for which gRPC has a ticket, and
// writes a [CheckResponse] in the wire form of Envoy's messages; every other
// message is for gRPC's own codec. A check that cannot be decoded is no error of gRPC's,
// which is a yes where Envoy is set to failure_mode_allow: it arrives as one that is
// not readable, and is denied. Envoy sends such requests: it puts a path into a text
// field without looking whether it is UTF-8.
type checkCodec struct {
	encoding.CodecV2
	buffers *bufferPool
	calls   *calls
}

func newCheckCodec(all *calls) checkCodec {
	return checkCodec{encoding.GetCodecV2(protocodec.Name), &bufferPool{}, all}
}

// Unmarshal implements encoding.CodecV2.
func (c checkCodec) Unmarshal(data mem.BufferSlice, v any) error {
	switch v := v.(type) {
	case *CheckRequest:
		if m := c.take(data); m != nil {
			v.read(m)
			v.release = func() { c.calls.answered(m) }
		}
	case *accessBatch:
		if m := c.take(data); m != nil {
			v.scan(m.data)
			v.skipped += m.lost
			v.release = func() { c.calls.release(m) }
		}
	default:
		return c.CodecV2.Unmarshal(data, v)
	}
	return nil
}

// take returns the message that gRPC has a ticket for.
func (c checkCodec) take(data mem.BufferSlice) *inbound {
	var ticket [ticketBytes]byte
	if data.Len() != len(ticket) {
		return nil
	}
	data.CopyTo(ticket[:])
	return c.calls.take(binary.BigEndian.Uint64(ticket[:]))
}

// Marshal implements encoding.CodecV2.
func (c checkCodec) Marshal(v any) (mem.BufferSlice, error) {
	response, ok := v.(*CheckResponse)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	buf := c.buffers.Get(0)
	*buf = response.appendTo((*buf)[:0])
	return mem.BufferSlice{mem.NewBuffer(buf, c.buffers)}, nil
}

// A bufferPool keeps the buffers that answers were written in. gRPC gives them
// back when they are sent. It implements mem.BufferPool.
type bufferPool struct{ pool sync.Pool }

const (
	// answerSize is more than most answers, and more than what gRPC thinks worth keeping.
	answerSize = 2 << 10
	// maxKept bounds what one answer of unusual size can make the pool keep.
	maxKept = 16 << 10
)

// Get returns a buffer that may grow.
func (p *bufferPool) Get(int) *[]byte {
	if buf, ok := p.pool.Get().(*[]byte); ok {
		return buf
	}
	buf := make([]byte, 0, answerSize)
	return &buf
}

// Put takes a buffer that nobody reads any more.
func (p *bufferPool) Put(buf *[]byte) {
	if cap(*buf) <= maxKept {
		p.pool.Put(buf)
	}
}
