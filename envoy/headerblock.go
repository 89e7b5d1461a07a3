package envoy

import (
	"errors"

	"golang.org/x/net/http2/hpack"
)

const (
	// headerTableBytes is the size of the dynamic table that a peer may fill. It is the default
	// of a server that does not set another one (RFC 9113 section 6.5.2).
	headerTableBytes = 4096
	// maxLiteral is the maximum encoded length of a name or value that is decoded. A longer one
	// exceeds headerTableBytes even if each of its symbols takes 30 bits, the longest code in
	// RFC 7541.
	maxLiteral = 16 << 10
	// maxBlock bounds the header block of one call. Envoy accepts at most 8 MiB of header
	// fields from a client, and its tracers copy a part of them.
	maxBlock = 16 << 20
	// maxFieldKept bounds the length of a value that is passed to gRPC.
	maxFieldKept = 512
	// wholeBlock is the maximum size of a block that is decoded without being split into
	// fields.
	wholeBlock = 4 << 10
)

var errHeaderBlock = errors.New("a header block that cannot be read")

// A headerBlock decodes the header fields of a connection (HPACK, RFC 7541) block by block, and
// keeps the few fields that a call needs. A field of any size uses a bounded amount of memory,
// because a literal that is too large for the dynamic table is skipped.
type headerBlock struct {
	decoder *hpack.Decoder
	kept    callFields
	trace   callTrace

	size   int    // bytes of the block read so far
	stream uint32 // ID of the stream whose block is open; 0 if none is
	ends   bool   // the block ends the stream

	// The following fields describe the field representation that is being read.
	step    blockStep
	text    []byte // bytes read so far, unless the field is huge
	strings int    // names and values still to be read
	left    uint64 // bytes of the string still to be read
	shift   uint   // of the next byte of the string's length
	digits  int    // continuation bytes of the index read so far
	huge    bool   // a literal is longer than maxLiteral
}

// callFields are the header fields of a call that are passed to gRPC.
type callFields struct{ method, path, authority, contentType, timeout string }

// A callTrace is the trace context in the header fields of a call. It is read while the fields
// are, so that it takes the same memory whatever a peer sends.
type callTrace struct {
	parent TraceParent
	seen   bool // a field traceparent has been read
}

// add reads a field traceparent. A call with two of them has no context.
func (t *callTrace) add(value string) {
	if t.seen {
		t.parent = TraceParent{}
		return
	}
	t.parent, t.seen = parseTraceParent(value), true
}

type blockStep uint8

const (
	atField blockStep = iota
	inIndex
	atLength
	inLength
	inString
)

func newHeaderBlock() *headerBlock {
	b := &headerBlock{}
	b.decoder = hpack.NewDecoder(headerTableBytes, b.keep)
	return b
}

func (b *headerBlock) keep(f hpack.HeaderField) {
	value := f.Value
	if f.Name == "traceparent" {
		b.trace.add(value)
		return
	}
	if len(value) > maxFieldKept {
		return
	}
	switch f.Name {
	case ":method":
		b.kept.method = value
	case ":path":
		b.kept.path = value
	case ":authority":
		b.kept.authority = value
	case "content-type":
		b.kept.contentType = value
	case "grpc-timeout":
		b.kept.timeout = value
	}
}

// begin opens the block of a stream.
func (b *headerBlock) begin(stream uint32, ends bool) {
	b.stream, b.ends, b.size, b.kept, b.trace = stream, ends, 0, callFields{}, callTrace{}
}

// end closes the block.
func (b *headerBlock) end() error {
	b.stream = 0
	if b.step != atField {
		return errHeaderBlock
	}
	if cap(b.text) > wholeBlock {
		b.text = nil
	}
	return b.decoder.Close()
}

// write reads a fragment of the block. The argument last says whether it is the last one.
func (b *headerBlock) write(p []byte, last bool) error {
	if b.size += len(p); b.size > maxBlock {
		return errHeaderBlock
	}
	if last && b.size == len(p) && len(p) <= wholeBlock {
		_, err := b.decoder.Write(p)
		return err
	}
	for len(p) > 0 {
		if b.step == inString {
			n := min(b.left, uint64(len(p)))
			if !b.huge {
				b.text = append(b.text, p[:n]...)
			}
			p, b.left = p[n:], b.left-n
		} else {
			b.text = append(b.text, p[0])
			if err := b.octet(p[0]); err != nil {
				return err
			}
			p = p[1:]
		}
		if b.step == inString && b.left == 0 {
			b.step = atLength
			b.strings--
		}
		if b.step == atLength && b.strings == 0 {
			if err := b.field(); err != nil {
				return err
			}
		}
	}
	return nil
}

// octet handles a byte that is not part of a string.
func (b *headerBlock) octet(c byte) error {
	switch b.step {
	case atField:
		var mask byte
		b.strings, b.digits, b.huge = 0, 0, false
		switch {
		case c&0x80 != 0: // indexed
			mask = 0x7f
		case c&0xc0 == 0x40: // literal with indexing
			mask, b.strings = 0x3f, 1
		case c&0xe0 == 0x20: // table size update
			mask = 0x1f
		default: // literal without indexing
			mask, b.strings = 0x0f, 1
		}
		if b.strings > 0 && c&mask == 0 {
			b.strings = 2 // the name is a literal too
		}
		b.step = atLength
		if c&mask == mask {
			b.step = inIndex
		}
	case inIndex:
		if b.digits++; b.digits > 9 {
			return errHeaderBlock
		}
		if c&0x80 == 0 {
			b.step = atLength
		}
	case atLength:
		b.left, b.shift = uint64(c&0x7f), 0
		if c&0x7f == 0x7f {
			b.step = inLength
			return nil
		}
		b.startString()
	case inLength:
		if b.shift > 28 {
			return errHeaderBlock
		}
		b.left += uint64(c&0x7f) << b.shift
		b.shift += 7
		if c&0x80 == 0 {
			b.startString()
		}
	case inString: // handled by write
	}
	return nil
}

func (b *headerBlock) startString() {
	b.step = inString
	b.huge = b.huge || b.left > maxLiteral
}

// field passes a complete field to the decoder, unless it is huge. A field that is too large
// for the dynamic table empties the peer's table. The entries that remain in the decoder's
// table are older than any that the peer can refer to from then on, and are evicted first.
func (b *headerBlock) field() (err error) {
	if !b.huge {
		_, err = b.decoder.Write(b.text)
	}
	b.step, b.text = atField, b.text[:0]
	return err
}
