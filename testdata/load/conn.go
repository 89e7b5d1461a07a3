package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// window is how much of an answer, and of all answers together, the server may send before
	// it is told that they were read.
	window = 1 << 20
	// callsRoom is the room for the calls of a connection. Memory that is not used costs nothing, and
	// a slice that grows would stop the clock of all requests.
	callsRoom = 1 << 18
)

// A conn is one connection. The goroutine of receive reads from it. Others use it under the lock.
type conn struct {
	work   *work
	net    net.Conn
	framer *http2.Framer // reads from the connection, and writes to out
	now    time.Duration // when the last bytes arrived; only for the reader

	mu      sync.Mutex
	out     bytes.Buffer
	calls   []call // stream 2n+1 is calls[n]
	waiting []call // due, but the server allows no more streams or bytes
	open    int    // calls that are sent and not answered
	done    bool   // no more requests come
	problem string // the first one, for people to read

	// What the server allows.
	maxStreams, maxFrame int
	streamWindow, window int

	encoder  *hpack.Encoder
	block    bytes.Buffer // of the encoder
	headers  []byte       // the shared headers, once they are in the table of the connection
	scratch  []byte
	decoder  *hpack.Decoder
	stream   uint32 // whose headers are being read
	ends     bool   // and that end the answer
	received int    // bytes of bodies since the last window update
}

// A call is a request and what came back. Times count from the begin of the run.
type call struct {
	due, sent, answered time.Duration // answered is 0 while there is no complete answer
	line                int32
	got                 int32 // size of the body so far
	status, grpcStatus  int16 // grpcStatus is -1 if there is none
	wrong, closed       bool
}

// connect opens a connection and waits for the settings of the server.
func (w *work) connect(ctx context.Context) (*conn, error) {
	dialer := net.Dialer{Timeout: w.patience}
	tcp, err := dialer.DialContext(ctx, "tcp", w.addr)
	if err != nil {
		return nil, err
	}
	c := &conn{
		work: w, net: tcp, calls: make([]call, 0, callsRoom),
		maxStreams: 1 << 30, maxFrame: 16 << 10, streamWindow: 65535, window: 65535,
	}
	c.framer = http2.NewFramer(&c.out, bufio.NewReaderSize(c, 64<<10))
	c.framer.SetReuseFrames()
	c.encoder = hpack.NewEncoder(&c.block)
	c.decoder = hpack.NewDecoder(4096, c.header)
	if err := c.greet(); err != nil {
		tcp.Close()
		return nil, fmt.Errorf("%s: %w", w.addr, err)
	}
	return c, nil
}

// greet exchanges the settings and encodes the shared headers.
func (c *conn) greet() error {
	if err := c.net.SetDeadline(time.Now().Add(c.work.patience)); err != nil {
		return err
	}
	c.out.WriteString(http2.ClientPreface)
	_ = c.framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}) // out takes all
	_ = c.framer.WriteWindowUpdate(0, window)                                                                                                      // out takes all
	for known := false; !known; {
		f, err := c.framer.ReadFrame()
		if err != nil {
			return err
		}
		if err := c.handle(f); err != nil {
			return err
		}
		settings, ok := f.(*http2.SettingsFrame)
		known = ok && !settings.IsAck()
	}
	if m := c.work.message; m != nil && m.size > c.streamWindow {
		return fmt.Errorf("a message of %d bytes is larger than the %d that the server takes at once", m.size, c.streamWindow)
	}
	return nil
}

// Read sends what waits to be sent and then waits for bytes from the server. So requests are sent
// in as few system calls as the answers arrive in.
func (c *conn) Read(p []byte) (int, error) {
	c.flush()
	n, err := c.net.Read(p)
	c.now = time.Since(c.work.began)
	return n, err
}

// flush sends what waits to be sent. A failure shows when the answers are read.
func (c *conn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.Len() > 0 {
		_, _ = c.net.Write(c.out.Bytes())
		c.out.Reset()
	}
}

// fill begins the closed loop with n requests.
func (c *conn) fill(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range n {
		c.another(0)
	}
	c.send(0)
	c.closeIfDone()
}

// another takes the next request of the closed loop.
func (c *conn) another(now time.Duration) {
	if n, ok := c.work.take(now); ok {
		c.waiting = append(c.waiting, call{due: now, line: int32(n % len(c.work.lines))}) //nolint:gosec // the number of a line
	} else {
		c.done = true
	}
}

// offer takes a request that is due, or returns false if too many are in flight.
func (c *conn) offer(n int, due time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open+len(c.waiting) >= maxInFlight/c.work.conns {
		return false
	}
	c.waiting = append(c.waiting, call{due: due, line: int32(n % len(c.work.lines))}) //nolint:gosec // the number of a line
	c.send(time.Since(c.work.began))
	return true
}

// finish says that no more requests come. If no answer is missing either, it ends receive.
func (c *conn) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = true
	c.closeIfDone()
}

// closeIfDone closes the connection if there is nothing to wait for, which ends receive.
func (c *conn) closeIfDone() {
	if c.done && c.open+len(c.waiting) == 0 {
		c.net.Close()
	}
}

// send puts as many of the waiting requests into out as the server allows.
func (c *conn) send(now time.Duration) {
	n := 0
	for ; n < len(c.waiting) && c.open < c.maxStreams; n++ {
		a := c.waiting[n]
		if m := c.work.message; m != nil {
			if c.window < m.size {
				break
			}
			c.window -= m.size
		}
		a.sent, a.grpcStatus = now, -1
		c.calls = append(c.calls, a)
		c.open++
		c.write(uint32(2*len(c.calls)-1), int(a.line)) //nolint:gosec // a stream has 31 bits
	}
	c.waiting = c.waiting[:copy(c.waiting, c.waiting[n:])]
}

// write puts one request into out.
func (c *conn) write(stream uint32, line int) {
	w := c.work
	c.scratch = append(append(c.scratch[:0], c.sharedHeaders()...), w.own[line]...)
	// The methods of the framer return no errors: out takes all, and the frames are not too large.
	_ = c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.scratch, EndHeaders: true, EndStream: w.message == nil})
	if w.message == nil {
		return
	}
	c.scratch = w.message.appendTo(c.scratch[:0], w.lines[line])
	for rest := c.scratch; len(rest) > 0; {
		n := min(len(rest), c.maxFrame)
		_ = c.framer.WriteData(stream, n == len(rest), rest[:n])
		rest = rest[n:]
	}
}

// sharedHeaders returns the encoded headers that all requests share. The first time they are put
// into the table of the connection. Nothing else is, so after that their encoding stays the same.
// If they do not fit into the table, none of them is put there.
func (c *conn) sharedHeaders() []byte {
	if c.headers != nil {
		return c.headers
	}
	size := uint32(0)
	for _, f := range c.work.fields {
		size += f.Size()
	}
	encode := func() []byte {
		c.block.Reset()
		for _, f := range c.work.fields {
			f.Sensitive = size > c.encoder.MaxDynamicTableSize()
			_ = c.encoder.WriteField(f) // a buffer takes all
		}
		return bytes.Clone(c.block.Bytes())
	}
	first := encode()
	c.headers = encode()
	return first
}

// receive reads answers until the last one has come.
func (c *conn) receive() {
	for {
		f, err := c.framer.ReadFrame()
		c.mu.Lock()
		if err == nil {
			err = c.handle(f)
		}
		finished := c.done && c.open+len(c.waiting) == 0
		if err != nil && !finished {
			c.complain("%d requests are left without an answer: %v", c.open+len(c.waiting), err)
		}
		c.mu.Unlock()
		if err != nil || finished {
			return
		}
	}
}

func (c *conn) complain(format string, args ...any) {
	if c.problem == "" {
		c.problem = fmt.Sprintf(format, args...)
	}
}

// handle takes one frame of the server.
func (c *conn) handle(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.HeadersFrame:
		c.stream, c.ends = f.StreamID, f.StreamEnded()
		return c.readHeaders(f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.ContinuationFrame:
		return c.readHeaders(f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.DataFrame:
		c.received += int(f.Length)
		if c.received >= window/2 {
			_ = c.framer.WriteWindowUpdate(0, uint32(c.received)) //nolint:gosec // less than a window and a frame
			c.received = 0
		}
		if a := c.find(f.StreamID); a != nil {
			c.readBody(a, f.Data())
			if f.StreamEnded() {
				c.answered(a)
			}
		}
	case *http2.RSTStreamFrame:
		if a := c.find(f.StreamID); a != nil {
			c.complain("a request was reset: %v", f.ErrCode)
			c.close(a)
		}
	case *http2.GoAwayFrame:
		return fmt.Errorf("the server closes the connection: %v %q", f.ErrCode, f.DebugData())
	case *http2.SettingsFrame:
		if f.IsAck() {
			return nil
		}
		_ = c.framer.WriteSettingsAck()
		return f.ForeachSetting(c.allow)
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 { // a message fits into the window of its stream from the start
			c.window += int(f.Increment)
			c.send(c.now)
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			_ = c.framer.WritePing(true, f.Data)
		}
	}
	return nil
}

// allow takes one setting of the server.
func (c *conn) allow(s http2.Setting) error {
	switch s.ID {
	case http2.SettingMaxConcurrentStreams:
		c.maxStreams = int(s.Val)
	case http2.SettingMaxFrameSize:
		c.maxFrame = int(s.Val)
	case http2.SettingInitialWindowSize:
		c.streamWindow = int(s.Val)
	case http2.SettingHeaderTableSize:
		if c.headers != nil {
			return errors.New("the server changed the size of the header table while in use")
		}
		c.encoder.SetMaxDynamicTableSizeLimit(s.Val)
	}
	return nil
}

// find returns the call of a stream that is not closed yet, or nil.
func (c *conn) find(stream uint32) *call {
	n := int(stream) / 2
	if stream%2 == 0 || n >= len(c.calls) || c.calls[n].closed {
		return nil
	}
	return &c.calls[n]
}

// readHeaders decodes a part of a block of headers or trailers. All are decoded, also of a call
// that is closed, because the table belongs to the connection.
func (c *conn) readHeaders(fragment []byte, ended bool) error {
	if _, err := c.decoder.Write(fragment); err != nil || !ended {
		return err
	}
	if err := c.decoder.Close(); err != nil {
		return err
	}
	if a := c.find(c.stream); a != nil && c.ends {
		c.answered(a)
	}
	return nil
}

// header takes a header or a trailer of the current call.
func (c *conn) header(f hpack.HeaderField) {
	if f.Name != ":status" && f.Name != "grpc-status" {
		return
	}
	a := c.find(c.stream)
	if a == nil {
		return
	}
	n, err := strconv.ParseInt(f.Value, 10, 16)
	switch {
	case err != nil:
		c.mistake(a, "%s is %q", f.Name, f.Value)
	case f.Name == ":status":
		a.status = int16(n)
	default:
		a.grpcStatus = int16(n)
	}
}

func (c *conn) readBody(a *call, data []byte) {
	if want := c.work.want; want != nil && !want.matches(c.work.lines[a.line], int(a.got), data) {
		c.mistake(a, "an answer differs from the wanted one after byte %d: %q", a.got, data)
	}
	a.got += int32(len(data)) //nolint:gosec // an answer is small
}

// answered ends a call whose answer is complete.
func (c *conn) answered(a *call) {
	w := c.work
	switch {
	case w.status != 0 && int(a.status) != w.status:
		c.mistake(a, "the status of an answer is %d, not %d", a.status, w.status)
	case w.grpc && a.grpcStatus != 0:
		c.mistake(a, "the gRPC status of an answer is %d", a.grpcStatus)
	case w.want != nil && int(a.got) != w.want.size:
		c.mistake(a, "an answer has %d bytes, not %d", a.got, w.want.size)
	}
	a.answered = c.now
	c.close(a)
}

// close makes room for the next request.
func (c *conn) close(a *call) {
	a.closed = true
	c.open--
	if c.work.rate == 0 {
		c.another(c.now)
	}
	c.send(c.now)
}

func (c *conn) mistake(a *call, format string, args ...any) {
	a.wrong = true
	c.complain(format, args...)
}
