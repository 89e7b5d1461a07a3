package envoy

import (
	"errors"

	"golang.org/x/net/http2/hpack"
)

const (
	// headerTableBytes is the size of the table of fields that a peer may fill: the one of
	// a server that names none (RFC 9113 section 6.5.2).
	headerTableBytes = 4096
	// maxLiteral is the longest encoded name or value that is decoded. A longer one has more
	// than headerTableBytes even when each of its symbols takes 30 bits, the most that the
	// code of RFC 7541 has.
	maxLiteral = 16 << 10
	// maxBlock bounds the header block of one call. Envoy takes 8 MiB of fields from a
	// client at most, and its tracers copy a part of them.
	maxBlock = 16 << 20
	// maxFieldKept bounds a value that gRPC gets to see.
	maxFieldKept = 512
	// wholeBlock is a block that needs no cutting.
	wholeBlock = 4 << 10
)

var errHeaderBlock = errors.New("a header block that cannot be read")

// A headerBlock decodes the header fields of a connection (HPACK, RFC 7541), block by
// block, and keeps the few that a call needs. A field of any size costs a bounded
// amount of memory: a literal that cannot enter the table of fields is skipped.
type headerBlock struct {
	decoder *hpack.Decoder
	kept    callFields

	size   int    // of the block so far, in bytes
	stream uint32 // whose block is open; 0 is none
	ends   bool   // the block ends the stream

	// The representation of a field that is being read.
	step    blockStep
	text    []byte // what is there of it, when it is not huge
	strings int    // names and values that are still to come
	left    uint64 // bytes of the string that are still to come
	shift   uint   // of the next byte of the string's length
	digits  int    // bytes of its index
	huge    bool   // it has a literal above maxLiteral
}

// callFields are the fields of a call that gRPC gets to see.
type callFields struct{ method, path, authority, contentType, timeout string }

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
	b.stream, b.ends, b.size, b.kept = stream, ends, 0, callFields{}
}

// end closes it.
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

// write reads a piece of the block; last is whether there is no other.
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

// octet reads a byte outside of a string.
func (b *headerBlock) octet(c byte) error {
	switch b.step {
	case atField:
		var mask byte
		b.strings, b.digits, b.huge = 0, 0, false
		switch {
		case c&0x80 != 0: // indexed
			mask = 0x7f
		case c&0xc0 == 0x40: // literal that enters the table
			mask, b.strings = 0x3f, 1
		case c&0xe0 == 0x20: // size of the table
			mask = 0x1f
		default: // literal that does not
			mask, b.strings = 0x0f, 1
		}
		if b.strings > 0 && c&mask == 0 {
			b.strings = 2 // its name is one too
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
	case inString: // not here
	}
	return nil
}

func (b *headerBlock) startString() {
	b.step = inString
	b.huge = b.huge || b.left > maxLiteral
}

// field gives the decoder a field that is complete. One that is too large for the table
// empties that of the peer. What stays here is older than what the peer may refer to from
// then on, and leaves first.
func (b *headerBlock) field() (err error) {
	if !b.huge {
		_, err = b.decoder.Write(b.text)
	}
	b.step, b.text = atField, b.text[:0]
	return err
}
