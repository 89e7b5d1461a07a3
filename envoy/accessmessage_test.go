package envoy

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"

	logdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// accessWire returns an access log message with these entries, in wire form.
func accessWire(entries ...[]byte) []byte {
	var all []byte
	for _, e := range entries {
		all = protowire.AppendBytes(protowire.AppendTag(all, httpLogsEntry, protowire.BytesType), e)
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, streamHTTPLogs, protowire.BytesType), all)
}

func TestAccessBatchBounds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name             string
		message          []byte
		entries, skipped int
	}{
		{"empty", nil, 0, 0},
		{"usual", accessWire(make([]byte, 1000), make([]byte, 100<<10)), 2, 0},
		{"an entry too large", accessWire(make([]byte, 10), make([]byte, maxAccessEntry+1), nil), 2, 1},
		{"too many", accessWire(make([][]byte, maxAccessEntries+5)...), maxAccessEntries, 5},
		{"no message", []byte("\xff\xff\xff"), 0, 1},
		{"broken off", accessWire(make([]byte, 10))[:5], 0, 1},
	} {
		var b accessBatch
		b.scan(c.message)
		if len(b.entries) != c.entries || b.skipped != c.skipped {
			t.Errorf("%s: %d entries, %d skipped; want %d and %d", c.name, len(b.entries), b.skipped, c.entries, c.skipped)
		}
	}
}

// A message over the limits is counted, and the stream continues.
func TestAccessLogSkipsAndGoesOn(t *testing.T) {
	t.Parallel()
	var out logBuffer
	var dropped atomic.Int64
	accessLog := newTestAccessLog(t, &out)
	accessLog.dropped = func(n int) { dropped.Add(int64(n)) }
	g := NewGRPCServer(newTestServer(t, Config{}), accessLog, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = g.Serve(listener) }()
	defer g.Stop()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := accesslogv3.NewAccessLogServiceClient(conn).StreamAccessLogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	send := func(message []byte) {
		in := new(accesslogv3.StreamAccessLogsMessage)
		if err := proto.Unmarshal(message, in); err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(in); err != nil {
			t.Fatal(err)
		}
	}
	entry, err := proto.Marshal(&logdatav3.HTTPAccessLogEntry{Request: &logdatav3.HTTPRequestProperties{
		Path: "/x?token=canary", UserAgent: strings.Repeat("/x", 20000), RequestHeaders: map[string]string{"x-note": strings.Repeat("y ", 20000)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	send(accessWire(make([][]byte, maxAccessMessage/2)...))
	send(accessWire(entry))
	send(accessWire(nil)) // one empty entry
	lines := out.entries(t, 2)
	if len(lines) != 2 || lines[0]["path"] != "/x?token=***FILTERED***" || dropped.Load() != 1 {
		t.Errorf("%d lines, %d dropped: %.200s", len(lines), dropped.Load(), out.String())
	}
	if n := len(out.String()); n > 20<<10 {
		t.Errorf("texts of a client are not cut: a line of %d bytes", n)
	}
}
