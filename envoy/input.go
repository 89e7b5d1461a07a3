package envoy

import (
	"io"
	"sync"
)

const (
	// smallInput is the size of a buffer for the frames of a usual check, in bytes. A
	// connection keeps only this buffer while it is idle.
	smallInput = 2 << 10
	// largeInput is the size of a buffer for any frame, or for many usual checks.
	largeInput = 2 * maxFrame
)

// An input buffers what a connection reads. It has a large buffer only while there is more to
// read than a small one holds, because most connections are idle.
type input struct {
	from  io.Reader
	pool  *largePool
	rest  []byte // bytes that were read but not taken, in small or large
	full  bool   // the last read filled its buffer, so there may be more
	large *[]byte
	small [smallInput]byte
}

// peek returns the next n bytes without taking them. At most largeInput bytes can be peeked at.
func (i *input) peek(n int) ([]byte, error) {
	for len(i.rest) < n {
		if err := i.fill(n); err != nil {
			return nil, err
		}
	}
	return i.rest[:n], nil
}

// take discards n bytes that were peeked at.
func (i *input) take(n int) { i.rest = i.rest[n:] }

// caughtUp reports whether everything that was available to read has been taken.
func (i *input) caughtUp() bool { return len(i.rest) == 0 && !i.full }

// fill reads once, into a buffer that has room for n bytes.
func (i *input) fill(n int) error {
	buffer := i.small[:]
	switch {
	case n > len(buffer) || i.full:
		if i.large == nil {
			i.large = i.pool.get()
		}
		buffer = (*i.large)[:largeInput]
	case i.large != nil && len(i.rest) > 0:
		buffer = (*i.large)[:largeInput]
	case i.large != nil:
		i.free()
	}
	have := copy(buffer, i.rest)
	more, err := i.from.Read(buffer[have:])
	i.rest, i.full = buffer[:have+more], have+more == len(buffer)
	if more > 0 {
		return nil // the next read reports the error
	}
	return err
}

// free returns the large buffer to the pool.
func (i *input) free() {
	if i.large != nil {
		i.pool.put(i.large)
		i.large, i.rest = nil, nil
	}
}

// A largePool keeps large buffers, which are used only while reading or writing.
type largePool struct{ pool sync.Pool }

func (p *largePool) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, largeInput)
	return &b
}

func (p *largePool) put(b *[]byte) {
	if cap(*b) <= 2*largeInput {
		p.pool.Put(b)
	}
}
