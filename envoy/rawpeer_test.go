package envoy

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A rawPeer sends the same check again and again, and allocates nothing for it. So what is
// allocated meanwhile is allocated by the server.
type rawPeer struct {
	conn    net.Conn
	fields  bytes.Buffer
	encoder *hpack.Encoder
	message []byte
	call    []byte // the frames of a check
	pieces  []int  // where the stream IDs are
	next    uint32
	out, in []byte
}

func newRawPeer(t testing.TB, address string, message []byte) *rawPeer {
	t.Helper()
	p := &rawPeer{next: 1, in: make([]byte, 64<<10), message: prefixed(0, message)}
	p.encoder = hpack.NewEncoder(&p.fields)
	var err error
	if p.conn, err = net.Dial("tcp", address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.conn.Close() })
	hello := append([]byte(http2.ClientPreface), appendHead(nil, 6, http2.FrameSettings, 0, 0)...)
	hello = append(hello, 0, 4, 0x7f, 0xff, 0xff, 0xff) // a large window
	hello = append(hello, appendHead(nil, 0, http2.FrameSettings, http2.FlagSettingsAck, 0)...)
	hello = appendWindowUpdate(hello, 0, 1<<30)
	if _, err := p.conn.Write(hello); err != nil {
		t.Fatal(err)
	}
	for range 2 { // in the second block all fields are indexed
		p.prepare(t)
		p.send(t, 1)
	}
	return p
}

// prepare encodes the frames of the next check.
func (p *rawPeer) prepare(t testing.TB) {
	t.Helper()
	p.fields.Reset()
	for i, fields := 0, usualCall(); i < len(fields); i += 2 {
		if err := p.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			t.Fatal(err)
		}
	}
	p.call = append(appendHead(p.call[:0], p.fields.Len(), http2.FrameHeaders, http2.FlagHeadersEndHeaders, 0), p.fields.Bytes()...)
	p.pieces = []int{0, len(p.call)}
	p.call = append(appendHead(p.call, len(p.message), http2.FrameData, http2.FlagDataEndStream, 0), p.message...)
}

// send sends n checks in one write and reads until they are answered.
func (p *rawPeer) send(t testing.TB, n int) {
	p.out = p.out[:0]
	for range n {
		at := len(p.out)
		p.out = append(p.out, p.call...)
		for _, piece := range p.pieces {
			binary.BigEndian.PutUint32(p.out[at+piece+5:], p.next)
		}
		p.next += 2
	}
	if _, err := p.conn.Write(p.out); err != nil {
		t.Fatal(err)
	}
	have := 0
	for left := n; left > 0; {
		got, err := p.conn.Read(p.in[have:])
		if err != nil {
			t.Fatal(err)
		}
		b := p.in[:have+got]
		for len(b) >= frameHead && len(b) >= frameHead+frameLength(b) {
			kind, flags := http2.FrameType(b[3]), http2.Flags(b[4])
			if kind == http2.FramePing && !flags.Has(http2.FlagPingAck) {
				_, _ = p.conn.Write(append(appendHead(nil, 8, http2.FramePing, http2.FlagPingAck, 0), b[9:17]...))
			}
			if kind == http2.FrameHeaders && flags.Has(http2.FlagHeadersEndStream) {
				left--
			}
			if kind == http2.FrameRSTStream {
				t.Fatal("reset")
			}
			b = b[frameHead+frameLength(b):]
		}
		have = copy(p.in, b)
	}
}
