package envoy

import (
	"encoding/binary"
	"sync"

	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// checkCodec decodes a [CheckRequest] or an accessBatch from the ticket that gRPC has in place
// of the message. It encodes a [CheckResponse] in the wire format of Envoy's messages. Every
// other message is left to gRPC's own codec. A check that cannot be decoded is not an error,
// because an Envoy that is set to failure_mode_allow treats a gRPC error as allow. It becomes a
// CheckRequest that is not readable, and is denied. Envoy does send such requests: it copies a
// path into a string field without checking that it is valid UTF-8.
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
			v.trace, v.arrived = m.trace, m.arrived
			v.message, v.calls = m, c.calls
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

// take returns the message that belongs to the ticket in data, or nil if there is none.
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

// A bufferPool keeps the buffers in which responses are encoded. gRPC returns them after it has
// sent the responses. It implements mem.BufferPool.
type bufferPool struct{ pool sync.Pool }

const (
	// answerSize is larger than most responses, and larger than the buffers that gRPC considers
	// too small to pool.
	answerSize = 2 << 10
	// maxKept bounds the buffers that the pool keeps after an unusually large response.
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

// Put returns a buffer to the pool. The buffer must no longer be in use.
func (p *bufferPool) Put(buf *[]byte) {
	if cap(*buf) <= maxKept {
		p.pool.Put(buf)
	}
}
