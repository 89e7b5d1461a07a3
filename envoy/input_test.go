package envoy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"
)

// TestInput tests that bytes come out in order however a connection delivers them, and that the
// large buffer is released while the connection waits for more.
func TestInput(t *testing.T) {
	t.Parallel()
	text := make([]byte, 1<<20)
	for i := range text {
		text[i] = byte(i * i >> 8)
	}
	for name, from := range map[string]io.Reader{
		"all at once":    bytes.NewReader(text),
		"byte by byte":   iotest.OneByteReader(bytes.NewReader(text)),
		"half":           iotest.HalfReader(bytes.NewReader(text)),
		"end with bytes": iotest.DataErrReader(bytes.NewReader(text)),
	} {
		var pool largePool
		in := input{from: from, pool: &pool}
		for i, taken := 0, 0; ; i++ {
			n := []int{frameHead, 100, smallInput, smallInput + 1, frameHead + maxFrame}[i*i%5]
			got, err := in.peek(n)
			if err != nil {
				if len(text)-taken >= n || !errors.Is(err, io.EOF) {
					t.Errorf("%s: %v after %d bytes", name, err, taken)
				}
				break
			}
			if !bytes.Equal(got, text[taken:taken+n]) {
				t.Fatalf("%s: other bytes after %d", name, taken)
			}
			in.take(n)
			taken += n
		}
		in.free()
	}

	pieces := make(chan []byte, 1)
	var pool largePool
	var waiting string // what is held while nothing comes
	var in input
	in = input{pool: &pool, from: reader(func(p []byte) (int, error) {
		select {
		case piece := <-pieces:
			return copy(p, piece), nil
		default:
			waiting = fmt.Sprint(len(p), in.large != nil)
			return 0, io.EOF
		}
	})}
	for _, n := range []int{10, smallInput, frameHead + maxFrame, 10} {
		pieces <- make([]byte, n)
		for left := n; left > 0; left -= min(left, smallInput) {
			if _, err := in.peek(min(left, smallInput)); errors.Is(err, io.EOF) {
				pieces <- make([]byte, left) // the rest did not fit
				continue
			}
			in.take(min(left, smallInput))
		}
		if n == smallInput && in.caughtUp() {
			t.Error("there may be more behind a full buffer")
		}
	}
	if _, err := in.peek(1); !errors.Is(err, io.EOF) || waiting != fmt.Sprint(smallInput, false) {
		t.Errorf("%v; a buffer of %s", err, waiting)
	}
}

type reader func([]byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }
