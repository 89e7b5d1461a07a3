package envoy

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"warder/authz"
)

// A framePeer speaks HTTP/2 frame by frame. It can break any rule of the protocol.
type framePeer struct {
	t       *testing.T
	conn    net.Conn
	framer  *http2.Framer
	fields  bytes.Buffer
	encoder *hpack.Encoder
	next    uint32
	acks    bool // settings and pings are acknowledged
	goAway  bool
	got     map[uint32]answered // responses that were already read
}

func newFramePeer(t *testing.T, address string) *framePeer {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	p := &framePeer{t: t, conn: conn, framer: http2.NewFramer(conn, conn), next: 101, acks: true}
	p.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.framer.SetMaxReadFrameSize(1 << 20)
	p.encoder = hpack.NewEncoder(&p.fields)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	p.must(p.framer.WriteSettings())
	return p
}

func (p *framePeer) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// usualCall returns the header fields of a check as Envoy sends it.
func usualCall(more ...string) []string {
	return append([]string{
		":method", "POST", ":scheme", "http", ":path", authv3.Authorization_Check_FullMethodName, ":authority", "warder",
		"te", "trailers", "grpc-timeout", "500m", "content-type", "application/grpc",
	}, more...)
}

func without(fields []string, name string) []string {
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == name {
			return slices.Delete(slices.Clone(fields), i, i+2)
		}
	}
	return fields
}

func with(fields []string, name, value string) []string {
	return append(without(fields, name), name, value)
}

// headers sends a header block in frames of 16 KiB.
func (p *framePeer) headers(id uint32, ends bool, fields ...string) {
	p.t.Helper()
	p.fields.Reset()
	for i := 0; i < len(fields); i += 2 {
		p.must(p.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	block := p.fields.Bytes()
	n := min(len(block), maxFrame)
	p.must(p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:n], EndStream: ends, EndHeaders: n == len(block)}))
	for block = block[n:]; len(block) > 0; block = block[n:] {
		n = min(len(block), maxFrame)
		p.must(p.framer.WriteContinuation(id, n == len(block), block[:n]))
	}
}

func (p *framePeer) stream() uint32 {
	p.next += 2
	return p.next - 2
}

// prefixed returns a message with its length prefix.
func prefixed(flag byte, text []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(text))), text...)
}

// An answered is the response on a stream.
type answered struct {
	status string // gRPC status; "" if there was none
	reset  bool
	out    *authv3.CheckResponse
}

func (a answered) String() string {
	if a.out == nil {
		return fmt.Sprintf("grpc-status %q, reset %v", a.status, a.reset)
	}
	return saidOf(a.out, "decision") + " " + saidOf(a.out, "reason") + ", grpc-status " + a.status
}

// answers reads until the streams have ended.
func (p *framePeer) answers(ids ...uint32) map[uint32]answered {
	p.t.Helper()
	all, data, open := map[uint32]answered{}, map[uint32][]byte{}, map[uint32]bool{}
	for _, id := range ids {
		if a, got := p.got[id]; got {
			all[id] = a
		} else {
			open[id] = true
		}
	}
	for len(open) > 0 {
		frame, err := p.framer.ReadFrame()
		if err != nil {
			p.t.Fatalf("%v; %d answers of %d are missing", err, len(open), len(ids))
		}
		id := frame.Header().StreamID
		a, ends := all[id], false
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() && p.acks {
				p.must(p.framer.WriteSettingsAck())
			}
			continue
		case *http2.PingFrame:
			if !f.IsAck() && p.acks {
				p.must(p.framer.WritePing(true, f.Data))
			}
			continue
		case *http2.GoAwayFrame:
			p.goAway = true
			continue
		case *http2.MetaHeadersFrame:
			for _, field := range f.Fields {
				if field.Name == "grpc-status" {
					a.status = field.Value
				}
			}
			ends = f.StreamEnded()
		case *http2.DataFrame:
			data[id] = append(data[id], f.Data()...)
			ends = f.StreamEnded()
		case *http2.RSTStreamFrame:
			ends, a.reset = true, true
		}
		if !open[id] {
			continue // a frame for a cancelled call
		}
		if ends {
			delete(open, id)
			if text := data[id]; len(text) > messagePrefix {
				a.out = new(authv3.CheckResponse)
				p.must(proto.Unmarshal(text[messagePrefix:], a.out))
			}
		}
		all[id] = a
	}
	return all
}

// answer reads the response on one stream.
func (p *framePeer) answer(id uint32) string { p.t.Helper(); return p.answers(id)[id].String() }

func marshal(t testing.TB, in proto.Message) []byte {
	t.Helper()
	text, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// serveAddress runs a server with an access log on a loopback port until the test ends.
func serveAddress(t testing.TB, s *Server, accessLog *AccessLog) (*GRPCServer, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := NewGRPCServer(s, accessLog, nil)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	return g, l.Addr().String()
}

const (
	allowed   = "allow public, grpc-status 0"
	malformed = "deny request_malformed, grpc-status 0"
)

// TestOddCalls tests that a check gets one of the two responses however unusual the call is,
// and that the connection continues.
func TestOddCalls(t *testing.T) {
	t.Parallel()
	good := prefixed(0, marshal(t, checkRequest("GET", "/public/x")))
	large := prefixed(0, marshal(t, checkRequest("GET", "/public/x", slices.Repeat([]authz.Header{{Name: "a", Value: strings.Repeat("b", 50)}}, 60)...)))
	whole := func(fields []string, message []byte) func(*framePeer, uint32) {
		return func(p *framePeer, id uint32) {
			p.headers(id, false, fields...)
			for rest := message; ; {
				n := min(len(rest), maxFrame)
				p.must(p.framer.WriteData(id, n == len(rest), rest[:n]))
				if rest = rest[n:]; len(rest) == 0 {
					return
				}
			}
		}
	}
	noise := make([]byte, 3<<20)
	for i := range noise {
		noise[i] = byte(i*7+i>>8)%94 + 33
	}
	many := usualCall()
	for i := range 20_000 {
		many = append(many, fmt.Sprintf("baggage-%d", i), "v")
	}
	for _, c := range []struct {
		want, name string
		send       func(*framePeer, uint32)
	}{
		{allowed, "as Envoy sends it", whole(usualCall(), good)},
		// The metadata is chosen by a client of Envoy.
		{allowed, "a tracestate of 60 KiB", whole(usualCall("tracestate", string(noise[:60<<10])), good)},
		{allowed, "baggage of 8 MiB", whole(usualCall("baggage", string(slices.Concat(noise, noise, noise)[:8<<20])), good)},
		{allowed, "a field of one byte after a large one", whole(usualCall("baggage", string(noise), "b3", "0"), good)},
		{allowed, "a name of 100 KiB", whole(usualCall(strings.Repeat("n", 100<<10), "v"), good)},
		{allowed, "20,000 fields", whole(many, good)},
		{allowed, "binary metadata that is no base64", whole(usualCall("grpc-trace-bin", "%%%"), good)},
		{allowed, "a field of the connection", whole(usualCall("connection", "close"), good)},
		{allowed, "bytes that are no text", whole(usualCall("b3", "\x00\xff\r\n"), good)},
		{allowed, "a deadline that has passed", whole(with(usualCall(), "grpc-timeout", "0n"), good)},
		{allowed, "a deadline that is none", whole(with(usualCall(), "grpc-timeout", "soon"), good)},
		{allowed, "two authorities", whole(usualCall("host", "a", "host", "b"), good)},
		{allowed, "no authority", whole(without(usualCall(), ":authority"), good)},
		{allowed, "no te", whole(without(usualCall(), "te"), good)},
		{allowed, "an encoding that is not used", whole(usualCall("grpc-encoding", "gzip", "grpc-accept-encoding", "gzip,br"), good)},
		{allowed, "a content type with parameters", whole(with(usualCall(), "content-type", "application/grpc+proto; charset=utf-8"), good)},
		// These are not valid calls.
		{malformed, "another content type", whole(with(usualCall(), "content-type", "application/json"), good)},
		{malformed, "messages that are JSON", whole(with(usualCall(), "content-type", "application/grpc+json"), good)},
		{malformed, "no content type", whole(without(usualCall(), "content-type"), good)},
		{malformed, "GET", whole(with(without(usualCall(), ":method"), ":method", "GET"), good)},
		{malformed, "compressed", whole(usualCall("grpc-encoding", "gzip"), append([]byte{1}, good[1:]...))},
		{malformed, "a flag that is none", whole(usualCall(), append([]byte{7}, good[1:]...))},
		{malformed, "no message", whole(usualCall(), nil)},
		{malformed, "no message and no data", func(p *framePeer, id uint32) { p.headers(id, true, usualCall()...) }},
		{malformed, "an empty message", whole(usualCall(), prefixed(0, nil))},
		{malformed, "half a prefix", whole(usualCall(), good[:3])},
		{malformed, "half a message", whole(usualCall(), good[:len(good)-1])},
		{malformed, "two messages", whole(usualCall(), slices.Concat(good, good))},
		{malformed, "a byte after the message", whole(usualCall(), slices.Concat(good, []byte{0}))},
		{malformed, "no protocol buffer", whole(usualCall(), prefixed(0, []byte("\xff\xff")))},
		{malformed, "what gRPC gets from warder", whole(usualCall(), prefixed(0, []byte{0, 0, 0, 0, 0, 0, 0, 1}))},
		{malformed, "a message of 4 GiB", func(p *framePeer, id uint32) {
			p.headers(id, false, usualCall()...)
			p.must(p.framer.WriteData(id, false, []byte{0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3}))
		}},
		{malformed, "a message above the limit", func(p *framePeer, id uint32) {
			p.headers(id, false, usualCall()...)
			p.must(p.framer.WriteData(id, false, binary.BigEndian.AppendUint32([]byte{0}, DefaultMaxRequestBytes+1)))
		}},
		// Calls in an unusual form.
		{allowed, "a call that ends later", func(p *framePeer, id uint32) {
			p.headers(id, false, usualCall()...)
			p.must(p.framer.WriteData(id, false, good))
			p.must(p.framer.WriteData(id, true, nil))
		}},
		{allowed, "byte by byte, padded", func(p *framePeer, id uint32) {
			p.headers(id, false, usualCall()...)
			for i := range good {
				p.must(p.framer.WriteDataPadded(id, i == len(good)-1, good[i:i+1], make([]byte, i%256)))
			}
		}},
		{allowed, "trailers", func(p *framePeer, id uint32) {
			p.headers(id, false, usualCall()...)
			p.must(p.framer.WriteData(id, false, good))
			p.headers(id, true, "x-trailer", string(noise[:200<<10]))
		}},
		{malformed, "trailers instead of a message", func(p *framePeer, id uint32) {
			p.headers(id, false, usualCall()...)
			p.headers(id, true, "x", "y")
		}},
		{allowed, "a window before the message", func(p *framePeer, id uint32) {
			p.headers(id, false, usualCall()...)
			p.must(p.framer.WriteWindowUpdate(id, 1<<30))
			p.must(p.framer.WriteData(id, true, good))
		}},
		{allowed, "a window of the stream only", func(p *framePeer, id uint32) {
			p.must(p.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
			p.headers(id, false, usualCall()...)
			p.must(p.framer.WriteWindowUpdate(id, 100))
			p.must(p.framer.WriteWindowUpdate(id, 1<<20))
			p.must(p.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
			p.must(p.framer.WriteData(id, true, good))
			got := p.answers(id)
			p.must(p.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65535}))
			p.got = got
		}},
		{allowed, "priority and what is unknown", func(p *framePeer, id uint32) {
			p.must(p.framer.WriteRawFrame(0xbe, 0xff, id, []byte("extension")))
			p.headers(id, false, usualCall()...)
			p.must(p.framer.WritePriority(id, http2.PriorityParam{StreamDep: 0, Weight: 3}))
			p.must(p.framer.WriteData(id, true, good))
		}},
		{allowed, "a call within another", func(p *framePeer, id uint32) {
			p.headers(id, false, usualCall()...)
			p.must(p.framer.WriteData(id, false, large[:1000]))
			other := p.stream()
			p.headers(other, false, usualCall()...)
			p.must(p.framer.WriteData(other, true, good))
			if got := p.answer(other); got != allowed {
				p.t.Errorf("the call within: %s", got)
			}
			p.must(p.framer.WriteData(id, true, large[1000:]))
		}},
		{allowed, "beside one that is given up", func(p *framePeer, id uint32) {
			p.headers(id, false, usualCall()...)
			other := p.stream()
			p.headers(other, false, usualCall()...)
			p.must(p.framer.WriteData(other, false, large[:100]))
			p.must(p.framer.WriteRSTStream(other, http2.ErrCodeCancel))
			p.must(p.framer.WriteData(other, true, large[100:]))
			p.must(p.framer.WriteData(id, true, good))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, address := serveAddress(t, newTestServer(t, unhurried()), nil)
			p := newFramePeer(t, address)
			id := p.stream()
			c.send(p, id)
			if got := p.answer(id); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			for range 3 {
				id = p.stream()
				whole(usualCall("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), good)(p, id)
				if got := p.answer(id); got != allowed {
					t.Fatalf("the next call: %s", got)
				}
			}
		})
	}
}

// TestNoCheckAtAll tests that invalid frames and calls that are not checks end only their
// connection or their stream.
func TestNoCheckAtAll(t *testing.T) {
	t.Parallel()
	_, address := serveAddress(t, newTestServer(t, unhurried()), nil)
	good := prefixed(0, marshal(t, checkRequest("GET", "/public/x")))
	for name, send := range map[string]func(*framePeer){
		"another protocol":          func(p *framePeer) { _, _ = io.WriteString(p.conn, "GET / HTTP/1.1\r\nhost: a\r\n\r\n") },
		"a frame that is too large": func(p *framePeer) { _ = p.framer.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, maxFrame+1)) },
		"data of no stream":         func(p *framePeer) { _ = p.framer.WriteRawFrame(http2.FrameData, 0, 0, nil) },
		"padding beyond the frame":  func(p *framePeer) { _ = p.framer.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{9, 1}) },
		"padding of one more":       func(p *framePeer) { _ = p.framer.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{2, 1}) },
		"padding of nothing":        func(p *framePeer) { _ = p.framer.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersPadded, 1, nil) },
		"a priority that is cut": func(p *framePeer) {
			_ = p.framer.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersPriority, 1, []byte{1})
		},
		"a continuation of nothing": func(p *framePeer) { _ = p.framer.WriteContinuation(1, true, nil) },
		"a promise":                 func(p *framePeer) { _ = p.framer.WriteRawFrame(http2.FramePushPromise, 0, 1, make([]byte, 4)) },
		"fields that are none": func(p *framePeer) {
			_ = p.framer.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, []byte{0xff, 0xff})
		},
		"an even stream": func(p *framePeer) { p.headers(2, false, usualCall()...) },
		"something within a block": func(p *framePeer) {
			p.must(p.framer.WriteRawFrame(http2.FrameHeaders, 0, 1, nil))
			_ = p.framer.WritePing(false, [8]byte{})
		},
		"settings of a strange size": func(p *framePeer) { _ = p.framer.WriteRawFrame(http2.FrameSettings, 0, 0, []byte{1}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			beside := newFramePeer(t, address)
			p := newFramePeer(t, address)
			send(p)
			for {
				if _, err := p.framer.ReadFrame(); err != nil {
					break // the deadline of the connection would be an error of the next check too
				}
			}
			if err := p.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := p.conn.Read(make([]byte, 1)); err == nil {
				t.Error("the connection goes on")
			}
			id := beside.stream()
			beside.headers(id, false, usualCall()...)
			beside.must(beside.framer.WriteData(id, true, good))
			if got := beside.answer(id); got != allowed {
				t.Errorf("another connection: %s", got)
			}
		})
	}

	// A stream that is neither a check nor an access log may carry only a few bytes.
	p := newFramePeer(t, address)
	id := p.stream()
	p.headers(id, false, without(with(usualCall(), ":path", "/grpc.health.v1.Health/Watch"), "grpc-timeout")...)
	p.must(p.framer.WriteData(id, false, prefixed(0, make([]byte, maxOther))[:maxOther]))
	p.must(p.framer.WriteData(id, false, make([]byte, 1)))
	if got := p.answers(id)[id]; !got.reset || got.status != "" {
		t.Errorf("more than %d bytes: %v", maxOther, got)
	}
	id = p.stream()
	p.headers(id, false, usualCall()...)
	p.must(p.framer.WriteData(id, true, good))
	if got := p.answer(id); got != allowed {
		t.Errorf("the next check: %s", got)
	}
}

// TestManyStreams tests that responses reach their calls, however the calls are interleaved.
func TestManyStreams(t *testing.T) {
	t.Parallel()
	_, address := serveAddress(t, newTestServer(t, unhurried()), nil)
	p := newFramePeer(t, address)
	routes := []string{"public", "users", "keys", "open", "nowhere"}
	want := []string{allowed, "deny credentials_missing, grpc-status 0", "deny credentials_missing, grpc-status 0", "allow anonymous, grpc-status 0", "deny route_unmatched, grpc-status 0"}
	var ids []uint32
	var messages [][]byte
	for i := range 200 {
		id := p.stream()
		p.headers(id, false, usualCall("b3", fmt.Sprint(i))...)
		ids, messages = append(ids, id), append(messages, prefixed(0, marshal(t, checkRequest("GET", "/"+routes[i%5]+"/x"))))
	}
	for i, id := range slices.Backward(ids) { // in reverse order
		p.must(p.framer.WriteData(id, false, messages[i][:i%len(messages[i])]))
	}
	for i, id := range ids {
		p.must(p.framer.WriteData(id, true, messages[i][i%len(messages[i]):]))
	}
	all := p.answers(ids...)
	for i, id := range ids {
		if got := all[id].String(); got != want[i%5] {
			t.Errorf("call %d: %s, want %s", i, got, want[i%5])
		}
	}
}

// TestResets tests that a peer that cancels calls in the middle of their responses still gets
// the responses to its other calls.
func TestResets(t *testing.T) {
	t.Parallel()
	_, address := serveAddress(t, newTestServer(t, unhurried()), nil)
	p := newFramePeer(t, address)
	good := prefixed(0, marshal(t, checkRequest("GET", "/public/x")))
	for i := range 3000 {
		id := p.stream()
		p.headers(id, false, usualCall("b3", fmt.Sprint(i))...)
		p.must(p.framer.WriteData(id, true, good))
		if i%3 > 0 {
			p.must(p.framer.WriteRSTStream(id, http2.ErrCodeCancel))
			continue
		}
		if got := p.answer(id); got != allowed {
			t.Fatalf("call %d: %s", i, got)
		}
		// Frames of cancelled calls count in the connection's window. They are granted again,
		// as a client does it.
		p.must(p.framer.WriteWindowUpdate(0, 3*1024))
	}
}

// TestServerGoes tests that a call that has begun when the server stops is answered.
func TestServerGoes(t *testing.T) {
	t.Parallel()
	g, address := serveAddress(t, newTestServer(t, unhurried()), nil)
	p := newFramePeer(t, address)
	good := prefixed(0, marshal(t, checkRequest("GET", "/public/x")))
	first := p.stream()
	p.headers(first, false, usualCall()...)
	p.must(p.framer.WriteData(first, true, good))
	p.answers(first)
	id := p.stream()
	p.headers(id, false, usualCall()...)
	p.must(p.framer.WriteData(id, false, good[:20]))
	stopped := make(chan struct{})
	go func() { g.GracefulStop(); close(stopped) }()
	var pinged *http2.PingFrame
	for pinged == nil || !p.goAway {
		switch f, err := p.framer.ReadFrame(); f := f.(type) {
		case *http2.GoAwayFrame:
			p.goAway = true
		case *http2.PingFrame:
			pinged = f
		default:
			p.must(err)
		}
	}
	p.must(p.framer.WritePing(true, pinged.Data))
	p.must(p.framer.WritePing(false, [8]byte{1})) // and the server has read the answer
	for {
		f, err := p.framer.ReadFrame()
		p.must(err)
		if ping, ok := f.(*http2.PingFrame); ok && ping.IsAck() {
			break
		}
	}
	p.must(p.framer.WriteData(id, true, good[20:]))
	if got := p.answer(id); got != allowed {
		t.Errorf("%s", got)
	}
	<-stopped
}

// TestAfterGoAway tests that a call after the last one that the server accepts is refused, so
// that the peer does not wait in vain and can use another server.
func TestAfterGoAway(t *testing.T) {
	t.Parallel()
	began, decided := make(chan struct{}), make(chan struct{})
	decide := sync.OnceFunc(func() { close(decided) })
	engine := newEngine(t)
	g, address := serveAddress(t, newTestServer(t, Config{Deadline: time.Hour, Decider: decider(func(ctx context.Context, r *authz.Request) authz.Decision {
		close(began)
		<-decided
		return engine.Decide(ctx, r)
	})}), nil)
	t.Cleanup(decide)
	p := newFramePeer(t, address)
	good := prefixed(0, marshal(t, checkRequest("GET", "/public/x")))
	call := func() uint32 {
		id := p.stream()
		p.headers(id, false, usualCall()...)
		p.must(p.framer.WriteData(id, true, good))
		return id
	}
	first := call()
	<-began
	stopped := make(chan struct{})
	go func() { g.GracefulStop(); close(stopped) }()
	for {
		f, err := p.framer.ReadFrame()
		p.must(err)
		if ping, ok := f.(*http2.PingFrame); ok {
			p.must(p.framer.WritePing(true, ping.Data))
		}
		if f, ok := f.(*http2.GoAwayFrame); ok && f.LastStreamID < 1<<31-1 {
			if f.LastStreamID != first {
				t.Errorf("calls up to %d are taken, want %d", f.LastStreamID, first)
			}
			break
		}
	}
	late := call()
	if got := p.answers(late)[late]; !got.reset {
		t.Errorf("a call that is too late: %v", got)
	}
	decide()
	if got := p.answer(first); got != allowed {
		t.Errorf("the call before: %s", got)
	}
	<-stopped
}

// serveCalls runs a server with these pools until the test ends.
func serveCalls(t *testing.T, s *Server, all *calls) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.Creds(wholeCalls{insecure.NewCredentials(), all, s.maxBytes}), grpc.ReadBufferSize(0),
		grpc.UnaryInterceptor(s.Guard), grpc.ForceServerCodecV2(newCheckCodec(all)))
	g.RegisterService(authorization(s), s)
	healthpb.RegisterHealthServer(g, health.NewServer())
	accesslogv3.RegisterAccessLogServiceServer(g, newTestAccessLog(t, new(logBuffer)))
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	return l.Addr().String()
}

// eventually waits for a condition that the other side fulfils in its own time.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// TestLastRoom tests that the last of the room is kept for small calls of connections that have
// few calls, and that incomplete messages are dropped to make room for those.
func TestLastRoom(t *testing.T) {
	t.Parallel()
	c := newCalls(16<<20, time.Now)
	for range 200 { // nothing of it is a call yet
		c.add(&inbound{size: 10 << 10}, make([]byte, 10<<10), false)
	}
	complete := &inbound{size: 10}
	c.add(complete, make([]byte, 10), true)
	begin := func(b *backlog) fault {
		m := &inbound{backlog: b}
		c.hand(c.ticket(), m)
		return m.fault
	}
	many, other := new(backlog), new(backlog)
	for begin(many) == faultNone {
		if many.open > c.usual.limit/callBytes {
			t.Fatal("one connection takes all")
		}
	}
	large := &inbound{backlog: other}
	if c.add(large, make([]byte, smallBytes+1), true) != faultNone || !c.hand(c.ticket(), large) || large.fault == faultNone {
		t.Error("there is room for a large one")
	}
	other.open = 0
	for range few {
		if begin(other) != faultNone {
			t.Error("there is no room for one that has few")
		}
	}
	if begin(other) == faultNone {
		t.Error("it takes the rest")
	}
	if complete.fault != faultNone {
		t.Error("one that is handed over next makes room")
	}
	c.holdBack(complete)
	for c.add(&inbound{}, make([]byte, 1000), true) == faultNone {
		if c.usual.used > c.usual.limit {
			t.Fatal("no bound")
		}
	}
	if complete.fault == faultNone {
		t.Error("one that is held back makes no room")
	}
}

// TestUntakenAnswers tests that a peer that does not read its responses cannot have many of
// them. Others are answered in the meantime. The peer gets all its responses when it reads
// them. If it disconnects instead, nothing is left.
func TestUntakenAnswers(t *testing.T) {
	t.Parallel()
	all := newCalls(1<<20, time.Now)
	all.usual.limit, all.maxUnsent = 4<<20, 20
	address := serveCalls(t, newTestServer(t, unhurried()), all)
	good := prefixed(0, marshal(t, checkRequest("GET", "/public/x")))
	const checks = 200
	begin := func() (p *framePeer, ids []uint32) {
		p = newFramePeer(t, address)
		p.must(p.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
		for i := range checks {
			id := p.stream()
			p.headers(id, i%2 == 0, usualCall()...) // every other one has no message
			if i%2 > 0 {
				p.must(p.framer.WriteData(id, i%4 == 1, good))
			}
			if i%4 == 3 {
				p.must(p.framer.WriteData(id, true, good)) // a second one
			}
			if i%5 == 4 {
				p.must(p.framer.WriteRSTStream(id, http2.ErrCodeCancel))
			} else {
				ids = append(ids, id)
			}
		}
		p.must(p.framer.WritePing(false, [8]byte{1}))
		for {
			f, err := p.framer.ReadFrame()
			p.must(err)
			if ping, ok := f.(*http2.PingFrame); ok && ping.IsAck() {
				return p, ids
			}
		}
	}
	first, ids := begin()
	second, _ := begin()
	all.mu.Lock()
	unsent := all.unsent
	all.mu.Unlock()
	if unsent > checks {
		t.Errorf("%d answers are unsent, of %d", unsent, 2*checks)
	}
	beside := newFramePeer(t, address)
	for range 3 * few {
		id := beside.stream()
		beside.headers(id, false, usualCall()...)
		beside.must(beside.framer.WriteData(id, true, good))
		if got := beside.answer(id); got != allowed {
			t.Errorf("another peer: %s", got)
		}
	}
	first.must(first.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}))
	first.must(first.framer.WriteWindowUpdate(0, 1<<20))
	for id, a := range first.answers(ids...) {
		if got := a.String(); slices.Contains(ids, id) && got != allowed && got != malformed {
			t.Errorf("call %d: %s", id, got)
		}
	}
	_ = second.conn.Close()
	eventually(t, "something is left of a peer that is gone", func() bool {
		all.mu.Lock()
		defer all.mu.Unlock()
		return all.unsent == 0 && all.usual.used == 0 && all.usual.unfinished.Len() == 0
	})
}

// TestAdmits tests that a connection is held back only when too many responses are unsent and
// it has some itself. It is woken when it has half as many.
func TestAdmits(t *testing.T) {
	t.Parallel()
	c := newCalls(1<<30, time.Now)
	c.maxUnsent = 3 * few
	woken := 0
	mine, others := &backlog{wake: func() { woken++ }}, &backlog{}
	begin := func(b *backlog) *inbound {
		m := &inbound{backlog: b}
		ticket := c.ticket()
		c.hand(ticket, m)
		return c.take(ticket)
	}
	var open []*inbound
	for range 3 * few {
		if !c.admits(mine, false) {
			t.Fatal("none is answered")
		}
		open = append(open, begin(mine))
	}
	if c.usual.used != len(open)*(messageBytes+callBytes) {
		t.Errorf("%d bytes for %d calls", c.usual.used, len(open))
	}
	for _, m := range open {
		c.answered(m)
	}
	for range few {
		if !c.admits(others, false) {
			t.Error("it has few")
		}
		c.answered(begin(others))
	}
	for range 2 {
		if c.admits(mine, false) || woken != 0 {
			t.Errorf("it is not held back; woken %d times", woken)
		}
	}
	for i, m := range open {
		if c.ended(m); (woken > 0) != (i+1 >= len(open)/2) || c.woken(mine) != (i+1 == len(open)/2) {
			t.Errorf("%d of %d are sent: woken %d times", i+1, len(open), woken)
		}
	}
	// A faulty check counts as answered.
	faulty := &inbound{backlog: mine}
	c.fail(faulty, faultMalformed)
	before := c.unsent
	c.hand(c.ticket(), faulty)
	if c.unsent != before+1 {
		t.Error("the answer to a faulty call does not count")
	}
	c.ended(faulty)
	// A stream may end before its check is decided.
	early := begin(mine)
	c.ended(early)
	c.answered(early)
	if mine.open != 0 || others.open != few || c.unsent != few || woken != 1 {
		t.Errorf("%d and %d open, %d unsent, woken %d times", mine.open, others.open, c.unsent, woken)
	}
}

// TestHealthBesideStreams tests that a health check is answered however many streams others
// have open.
func TestHealthBesideStreams(t *testing.T) {
	t.Parallel()
	const places = 20
	for name, open := range map[string]func(p *framePeer, id uint32){
		"of the access log": func(p *framePeer, id uint32) {
			p.headers(id, false, with(usualCall(), ":path", accesslogv3.AccessLogService_StreamAccessLogs_FullMethodName)...)
		},
		"of health": func(p *framePeer, id uint32) {
			p.headers(id, false, without(with(usualCall(), ":path", healthpb.Health_Watch_FullMethodName), "grpc-timeout")...)
			_ = p.framer.WriteData(id, true, prefixed(0, nil))
		},
		"of health that do not begin": func(p *framePeer, id uint32) {
			p.headers(id, false, without(with(usualCall(), ":path", healthpb.Health_Check_FullMethodName), "grpc-timeout")...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := newCalls(1<<30, time.Now)
			all.logs.limit, all.others.limit = places*(messageBytes+callBytes), places*(messageBytes+callBytes)
			address := serveCalls(t, newTestServer(t, unhurried()), all)
			var peers []*framePeer
			for range 3 {
				p := newFramePeer(t, address)
				peers = append(peers, p)
				for range places {
					open(p, p.stream())
				}
				p.must(p.framer.WritePing(false, [8]byte{1}))
				for {
					f, err := p.framer.ReadFrame()
					if ping, ok := f.(*http2.PingFrame); err != nil || ok && ping.IsAck() {
						break // all of them are there, or the connection has made room
					}
				}
			}
			p := newFramePeer(t, address)
			id := p.stream()
			p.headers(id, false, with(usualCall(), ":path", healthpb.Health_Check_FullMethodName)...)
			p.must(p.framer.WriteData(id, true, prefixed(0, nil)))
			if got := p.answers(id)[id]; got.status != "0" {
				t.Errorf("health: %v", got)
			}
			if name != "of the access log" { // the first one has made room
				var err error
				for err == nil {
					_, err = peers[0].framer.ReadFrame()
				}
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("a connection makes room and stays")
				}
			}
			for _, p := range append(peers, p) {
				_ = p.conn.Close()
			}
			eventually(t, "streams are counted that are gone", func() bool {
				all.mu.Lock()
				defer all.mu.Unlock()
				return all.logs.used == 0 && all.others.used == 0
			})
		})
	}
}

// TestAwait tests that connections wait for room in turn. A connection waits no longer than
// patience for all calls that have arrived, because the calls behind would be answered too
// late.
func TestAwait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCalls(1<<30, time.Now)
		crowd := func(used int) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.usual.used = used
			c.refund(&inbound{})
		}
		if c.await(0) != 0 {
			t.Error("there is room")
		}
		crowd(c.usual.limit)
		waited := time.Duration(0)
		for _, want := range []time.Duration{20 * time.Millisecond, 40 * time.Millisecond, patience, patience} {
			room := time.AfterFunc(20*time.Millisecond, func() { crowd(0) })
			if waited = c.await(waited); waited != want {
				t.Errorf("it has waited for %v, want %v", waited, want)
			}
			room.Stop()
			crowd(c.usual.limit)
		}
		if len(c.waiting) != 0 {
			t.Errorf("%d wait", len(c.waiting))
		}
		// As many calls continue as there is room for, in order of arrival.
		turns := make(chan int, 9)
		for i := range 9 {
			go func() { c.await(0); turns <- i }()
			synctest.Wait()
		}
		crowd(c.roomy() - 4*callBytes)
		synctest.Wait()
		if len(turns) != 3 || <-turns+<-turns+<-turns != 0+1+2 {
			t.Errorf("%d have their turn", len(turns))
		}
		crowd(0)
	})
}

// TestFarewell tests that only one ping ack waits for unfinished checks: the one that tells
// gRPC that it may stop.
func TestFarewell(t *testing.T) {
	t.Parallel()
	c := newCallConn(nil, newCalls(1<<30, time.Now), 1)
	ping := func(flags http2.Flags, data string) []byte {
		return append(appendHead(nil, len(data), http2.FramePing, flags, 0), data...)
	}
	c.send(ping(0, "of alive"))
	c.send(append(appendHead(nil, 8, http2.FrameGoAway, 0, 0), 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0))
	c.send(ping(http2.FlagPingAck, "whatever"))
	c.send(ping(0, "farewell"))
	c.send(ping(0, "of alive"))
	c.unfinished = 1
	want := []byte(nil)
	for _, data := range []string{"whatever", "farewell", "of alive"} {
		c.ping(ping(http2.FlagPingAck, data), http2.FlagPingAck)
		if data != "farewell" {
			want = append(want, ping(http2.FlagPingAck, data)...)
		}
	}
	c.finished()
	want = append(want, ping(http2.FlagPingAck, "farewell")...)
	if !bytes.Equal(c.out, want) {
		t.Errorf("gRPC sees %q, want %q", c.out, want)
	}
}

// TestOverload tests that calls without memory left for them are denied as overloaded, and that
// others are answered in the meantime.
func TestOverload(t *testing.T) {
	t.Parallel()
	all := newCalls(40<<20, time.Now) // six, four, two and two MiB
	address := serveCalls(t, newTestServer(t, Config{MaxHeaderKB: 2048}), all)
	good := prefixed(0, marshal(t, checkRequest("GET", "/public/x")))
	large := prefixed(0, marshal(t, checkRequest("GET", "/public/x", authz.Header{Name: "a", Value: strings.Repeat("b", 900<<10)})))
	part := large[:400<<10]
	const overloaded = "deny overloaded, grpc-status 0"
	var peers []*framePeer
	begin := func(message []byte, ends bool) (*framePeer, uint32) {
		p := newFramePeer(t, address)
		peers = append(peers, p)
		id := p.stream()
		p.headers(id, false, usualCall()...)
		for rest := message; len(rest) > 0; {
			n := min(len(rest), maxFrame)
			p.must(p.framer.WriteData(id, ends && n == len(rest), rest[:n]))
			rest = rest[n:]
		}
		return p, id
	}
	type open struct {
		p  *framePeer
		id uint32
	}
	var half []open
	for range 8 { // 800 KiB each, of four MiB
		p, id := begin(part, false)
		p.must(p.framer.WritePing(false, [8]byte{})) // it is there when this is answered
		for {
			f, err := p.framer.ReadFrame()
			p.must(err)
			if ping, ok := f.(*http2.PingFrame); ok && ping.IsAck() {
				break
			}
		}
		half = append(half, open{p, id})
		q, good := begin(good, true)
		if got := q.answer(good); got != allowed {
			t.Fatalf("a usual call meanwhile: %s", got)
		}
	}
	for i, o := range half {
		for rest := large[len(part):]; len(rest) > 0; {
			n := min(len(rest), maxFrame)
			if o.p.framer.WriteData(o.id, n == len(rest), rest[:n]) != nil {
				break // it was told to stop
			}
			rest = rest[n:]
		}
		want := allowed // the youngest has what the oldest gave up
		if i < 4 {
			want = overloaded
		}
		if got := o.p.answer(o.id); got != want && (i < 4 || i == len(half)-1) {
			t.Errorf("call %d: %s, want %s", i, got, want)
		}
	}
	for _, p := range peers {
		_ = p.conn.Close()
	}
	empty := func() string {
		all.mu.Lock()
		defer all.mu.Unlock()
		return fmt.Sprint(all.usual.used, all.large.used, all.access.used, len(all.ready), all.usual.unfinished.Len(), all.large.unfinished.Len())
	}
	eventually(t, "something is held after all connections have ended", func() bool { return empty() == "0 0 0 0 0 0" })
}

// TestCallsAddUp tests that, whatever happens to messages, the memory that is charged is the
// memory that they hold. No pool exceeds its limit, and nothing is left in the end.
func TestCallsAddUp(t *testing.T) {
	t.Parallel()
	c := newCalls(4<<20, time.Now)
	var live []*inbound
	var tickets []uint64
	random := uint64(1)
	next := func(n int) int {
		random = random*6364136223846793005 + 1442695040888963407
		return int(random>>33) % n
	}
	piece := make([]byte, maxFrame)
	announced := &inbound{size: 100 << 10}
	if c.add(announced, piece[:100], false); cap(announced.data) > 1000 {
		t.Errorf("%d bytes for 100", cap(announced.data))
	}
	c.release(announced)
	seen := map[fault]int{}
	for range 20_000 {
		switch op := next(10); {
		case op < 3 || len(live) == 0:
			live = append(live, &inbound{log: next(3) == 0, backlog: new(backlog)})
		case op < 7:
			i := next(len(live))
			seen[c.add(live[i], piece[:next(len(piece))], next(9) == 0)]++
		case op < 9:
			i := next(len(live))
			if ticket := c.ticket(); c.hand(ticket, live[i]) {
				tickets = append(tickets, ticket)
			}
			live = slices.Delete(live, i, i+1)
		default:
			i := next(len(live))
			c.release(live[i])
			live = slices.Delete(live, i, i+1)
		}
		for len(tickets) > 40 {
			i := next(len(tickets))
			if m := c.take(tickets[i]); next(2) == 0 && m != nil {
				c.release(m)
			} else if m != nil {
				live = append(live, m)
				c.release(m)
			} else {
				c.cancel(tickets[i])
			}
			tickets = slices.Delete(tickets, i, i+1)
		}
		for _, p := range []*pool{&c.usual, &c.large, &c.access, &c.logs, &c.others} {
			if p.firm < 0 || p.used < p.firm || p.used > p.limit {
				t.Fatalf("%d of %d bytes are used, %d by calls", p.used, p.limit, p.firm)
			}
		}
	}
	for _, m := range live {
		c.release(m)
	}
	for _, ticket := range tickets {
		c.cancel(ticket)
	}
	for _, p := range []*pool{&c.usual, &c.large, &c.access, &c.logs, &c.others} {
		if p.used != 0 || p.firm != 0 || p.unfinished.Len() != 0 {
			t.Errorf("%d bytes and %d messages are left", p.used, p.unfinished.Len())
		}
	}
	if seen[faultNone] == 0 || seen[faultOverloaded] == 0 || len(c.ready) > 0 {
		t.Errorf("%v, %d ready", seen, len(c.ready))
	}
}

// TestAccessLogIsBounded tests that an access log message that is too large, or for which there
// is no memory, is counted as one dropped message, and that the stream continues.
func TestAccessLogIsBounded(t *testing.T) {
	t.Parallel()
	var out logBuffer
	var mu sync.Mutex
	dropped := 0
	accessLog := newTestAccessLog(t, &out)
	accessLog.dropped = func(n int) { mu.Lock(); defer mu.Unlock(); dropped += n }
	_, address := serveAddress(t, newTestServer(t, unhurried()), accessLog)
	p := newFramePeer(t, address)
	id := p.stream()
	p.headers(id, false, with(usualCall(), ":path", accesslogv3.AccessLogService_StreamAccessLogs_FullMethodName)...)
	send := func(message []byte) {
		for rest := message; len(rest) > 0; {
			n := min(len(rest), maxFrame)
			p.must(p.framer.WriteData(id, false, rest[:n]))
			rest = rest[n:]
		}
	}
	send(prefixed(0, accessWire(make([]byte, 10))))
	send(prefixed(0, make([]byte, maxAccessMessage+1)))
	send(prefixed(1, accessWire(make([]byte, 10))))
	send(prefixed(0, nil))
	send(prefixed(0, accessWire(nil)))
	send(prefixed(0, nil))
	send(prefixed(1, nil))
	p.must(p.framer.WriteData(id, true, nil))
	if got := p.answers(id)[id]; got.status != "0" {
		t.Errorf("%v", got)
	}
	mu.Lock()
	defer mu.Unlock()
	if n := len(out.entries(t, 1)); dropped != 4 || n != 1 {
		t.Errorf("%d dropped, %d lines; want 4 and 1: the first entry cannot be read", dropped, n)
	}
}

// TestWindows tests that a peer that respects its windows never stalls, whatever its padding
// is, and is never granted more than it has used.
func TestWindows(t *testing.T) {
	t.Parallel()
	_, address := serveAddress(t, newTestServer(t, Config{MaxHeaderKB: 2048}), nil)
	p := newFramePeer(t, address)
	good := marshal(t, checkRequest("GET", "/public/x", authz.Header{Name: "a", Value: strings.Repeat("b", 900<<10)}))
	conn, streams := firstWindow, map[uint32]int{}
	initial := -1
	read := func() {
		frame, err := p.framer.ReadFrame()
		p.must(err)
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if size, ok := f.Value(http2.SettingInitialWindowSize); ok {
				initial = int(size)
			}
		case *http2.WindowUpdateFrame:
			if f.StreamID == 0 {
				conn += int(f.Increment)
			} else {
				streams[f.StreamID] += int(f.Increment)
			}
		}
		if conn > connectionWindow {
			t.Fatalf("%d bytes are granted", conn)
		}
	}
	for initial < 0 {
		read()
	}
	var open []uint32
	left := map[uint32][]byte{}
	for range 6 {
		id := p.stream()
		p.headers(id, false, usualCall()...)
		open, left[id], streams[id] = append(open, id), prefixed(0, good), initial
	}
	ids := slices.Clone(open)
	for i := 0; len(open) > 0; i++ {
		id := open[i%len(open)]
		padding := make([]byte, 255*(i%2))
		n := min(len(left[id]), 800, streams[id]-len(padding)-1, conn-len(padding)-1)
		if n <= 0 {
			read()
			continue
		}
		p.must(p.framer.WriteDataPadded(id, n == len(left[id]), left[id][:n], padding))
		size := n
		if len(padding) > 0 {
			size += 1 + len(padding)
		}
		conn, streams[id], left[id] = conn-size, streams[id]-size, left[id][n:]
		if streams[id] > streamWindow {
			t.Fatalf("%d bytes of a stream are granted", streams[id])
		}
		if len(left[id]) == 0 {
			open = slices.DeleteFunc(open, func(other uint32) bool { return other == id })
		}
	}
	for id, a := range p.answers(ids...) {
		if a.String() != allowed && id != 0 {
			t.Errorf("call %d: %v", id, a)
		}
	}
}

// unhurried configures servers that get many calls at once. With the usual deadline, a check that
// waits for a CPU is overloaded.
func unhurried() Config { return Config{Deadline: time.Minute} }

// TestStreamLimit tests that calls over the limit are refused, and no others.
func TestStreamLimit(t *testing.T) {
	t.Parallel()
	_, address := serveAddress(t, newTestServer(t, unhurried()), nil)
	p := newFramePeer(t, address)
	p.must(p.framer.WriteWindowUpdate(0, 1<<30)) // for all the answers
	good := prefixed(0, marshal(t, checkRequest("GET", "/public/x")))
	var ids []uint32
	for range maxBurst {
		ids = append(ids, p.stream())
		p.headers(ids[len(ids)-1], false, usualCall()...)
	}
	late := p.stream()
	p.headers(late, true, usualCall()...)
	if got := p.answers(late)[late]; !got.reset {
		t.Errorf("one too many: %v", got)
	}
	// A stream that ends makes room. Its ID is not used again.
	for range 3 {
		p.must(p.framer.WriteData(ids[0], true, good))
		if got := p.answer(ids[0]); got != allowed {
			t.Errorf("the first: %v", got)
		}
		p.headers(ids[0], true, usualCall()...)
		ids = append(ids[1:], p.stream())
		p.headers(ids[len(ids)-1], false, usualCall()...)
	}
	for _, id := range ids {
		p.must(p.framer.WriteData(id, true, good))
	}
	for id, a := range p.answers(ids...) {
		if slices.Contains(ids, id) != (a.String() == allowed) {
			t.Errorf("call %d: %v", id, a)
		}
	}
}

// TestEndOfAnswer tests that a stream is forgotten with the last frame of its response, and
// that the peer is told that nothing more is read on it.
func TestEndOfAnswer(t *testing.T) {
	t.Parallel()
	for _, peerEnded := range []bool{true, false} {
		c := newCallConn(nil, newCalls(1<<30, time.Now), 1)
		c.block.kept = checkFields
		c.begin(7, false)
		s := c.streams[7]
		c.calls.fail(s.message, faultMalformed)
		c.show(s)
		s.peerEnded = peerEnded
		frames := func(id uint32) (all [][]byte) {
			return [][]byte{
				appendHead(nil, 0, http2.FrameHeaders, http2.FlagHeadersEndHeaders, id),
				appendHead(nil, 0, http2.FrameData, 0, id),
				appendHead(nil, 0, http2.FrameHeaders, http2.FlagHeadersEndStream, id),
				appendHead(nil, 0, http2.FrameContinuation, 0, id),
				appendHead(nil, 0, http2.FrameContinuation, http2.FlagContinuationEndHeaders, id),
			}
		}
		for _, frame := range frames(s.shown) {
			if len(c.streams) != 1 {
				t.Errorf("forgotten before %v", frame)
			}
			c.send(frame)
		}
		want := slices.Concat(frames(7)...)
		if !peerEnded {
			want = appendReset(want, 7, http2.ErrCodeNo)
		}
		if !bytes.Equal(c.frames, want) || len(c.streams)+len(c.shown)+len(c.calls.ready)+c.backlog.open > 0 {
			t.Errorf("%v, want %v; %d and %d streams, %d messages", c.frames, want, len(c.streams), len(c.shown), len(c.calls.ready))
		}
	}
}

// TestEndOfConnection tests that gRPC reads nothing more after a connection has ended.
func TestEndOfConnection(t *testing.T) {
	t.Parallel()
	c := newCallConn(nil, newCalls(1<<30, time.Now), 1)
	c.block.kept = checkFields
	c.begin(7, false)
	c.heldAck = []byte("ack")
	c.end()
	if len(c.out)+len(c.streams) > 0 || c.begin(9, false) {
		t.Errorf("%q, %d streams, or another one", c.out, len(c.streams))
	}
}

// TestCaughtUp tests that a connection may wait for room again when it has read everything that
// its peer has sent.
func TestCaughtUp(t *testing.T) {
	t.Parallel()
	c := newCallConn(nil, newCalls(1<<30, time.Now), 1)
	ping := append(appendHead(nil, 8, http2.FramePing, 0, 0), make([]byte, 8)...)
	c.in.from = strings.NewReader(http2.ClientPreface + string(ping) + string(ping))
	c.waited = patience
	for i, want := range []time.Duration{patience, patience, patience, 0} {
		if err := c.next(); (err != nil) != (i == 3) || c.waited != want {
			t.Errorf("step %d: %v, %v", i, c.waited, err)
		}
	}
}

// TestCallConnCancelled tests that the handler of a call ends when its peer cancels the call.
func TestCallConnCancelled(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}), make(chan struct{})
	_, address := serveAddress(t, newTestServer(t, Config{Deadline: time.Hour, Decider: decider(func(ctx context.Context, _ *authz.Request) authz.Decision {
		close(began)
		<-ctx.Done()
		close(ended)
		return authz.Deny(authz.ReasonInternal)
	})}), nil)
	p := newFramePeer(t, address)
	id := p.stream()
	p.headers(id, false, usualCall()...)
	p.must(p.framer.WriteData(id, true, prefixed(0, marshal(t, checkRequest("GET", "/public/x")))))
	<-began
	p.must(p.framer.WriteRSTStream(id, http2.ErrCodeCancel))
	<-ended
}

// TestBurst tests that checks that begin before the peer has the settings are all answered,
// although gRPC accepts no more than maxStreams of them at a time.
func TestBurst(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{}, maxBurst)
	goOn := make(chan struct{})
	_, address := serveAddress(t, newTestServer(t, Config{Deadline: time.Hour, Decider: decider(func(context.Context, *authz.Request) authz.Decision {
		begun <- struct{}{}
		<-goOn
		return authz.Deny(authz.ReasonCredentialsMissing)
	})}), nil)
	p := newFramePeer(t, address)
	p.must(p.framer.WriteWindowUpdate(0, 1<<30)) // for all the answers
	good := prefixed(0, marshal(t, checkRequest("GET", "/public/x")))
	var ids []uint32
	for range maxBurst {
		id := p.stream()
		p.headers(id, false, usualCall()...)
		p.must(p.framer.WriteData(id, true, good))
		ids = append(ids, id)
	}
	for range maxStreams {
		<-begun
	}
	close(goOn)
	for id, a := range p.answers(ids...) {
		if id != 0 && a.String() != "deny credentials_missing, grpc-status 0" {
			t.Fatalf("call %d: %v", id, a)
		}
	}
}
