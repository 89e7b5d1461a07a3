package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"warder/authz/authztest"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// A hostile is a peer that writes arbitrary frames and ignores flow control.
type hostile struct {
	conn   net.Conn
	framer *http2.Framer
	block  []byte // header block of a check
	next   uint32
	deaf   atomic.Bool // the peer does not read
}

func newHostile(address, path string) (*hostile, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	h := &hostile{conn: conn, framer: http2.NewFramer(conn, nil), next: 1}
	go func() {
		for text := make([]byte, 32<<10); !h.deaf.Load(); {
			if _, err := conn.Read(text); err != nil {
				return
			}
		}
	}()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range []hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: "http"},
		{Name: ":path", Value: path},
		{Name: ":authority", Value: "warder"},
		{Name: "content-type", Value: "application/grpc"},
	} {
		f.Sensitive = true // the encoding does not change between calls
		_ = encoder.WriteField(f)
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return nil, err
	}
	h.block = block.Bytes()
	return h, h.framer.WriteSettings()
}

// call sends a part of a message. Its announced length is that of the whole message.
func (h *hostile) call(message []byte, part int, ends bool) {
	id := h.begin(true)
	text := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message[:part]...)
	h.send(id, text, ends)
}

func (h *hostile) begin(whole bool) uint32 {
	h.next += 2
	_ = h.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: h.next - 2, BlockFragment: h.block, EndHeaders: whole})
	return h.next - 2
}

func (h *hostile) send(id uint32, text []byte, ends bool) {
	for len(text) > 0 {
		n := min(len(text), 16<<10)
		if h.framer.WriteData(id, ends && n == len(text), text[:n]) != nil {
			return // the connection was closed
		}
		text = text[n:]
	}
}

// peak returns the peak memory of a process since the last call, in bytes. It excludes the pages of
// its binary, which the system reclaims when a container needs memory.
func peak(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	field := func(name string) int {
		found := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(status)
		if found == nil {
			t.Fatalf("no %s in %s", name, status)
		}
		kB, err := strconv.Atoi(string(found[1]))
		if err != nil {
			t.Fatal(err)
		}
		return kB << 10
	}
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	return field("VmHWM") - field("RssFile")
}

// TestMemoryOfPeers checks that with the limits of k8s/sidecar.yaml no peer makes warder use
// more memory than its container has, and that warder still answers other peers.
func TestMemoryOfPeers(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has memory of its own; make race runs this without it too")
	}
	const limit = 128 << 20
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	address := authztest.FreeAddress(t)
	// With the usual deadline, a good user's check that waits for a CPU is overloaded. Here it is
	// memory that is looked at.
	config := write("warder.yaml", fmt.Sprintf(`
listen: {grpc: %q, admin: %q}
policy: %q
deadline: 9s
jwt: {keys: [{secret: 0123456789abcdef0123456789abcdef}]}
sessions: {redis_url: "memory://"}
directory: {file: %q}
log: {decisions: all}
shutdown: {delay: 0s}
`, address, authztest.FreeAddress(t), write("policy.yaml", "version: 1\nroutes: [{id: public, match: /public/**, public: true}]\n"), write("directory.yaml", "users: []\n")))
	t.Setenv("GOMEMLIMIT", "115MiB") // 90 % of the limit, as k8s/sidecar.yaml has it
	p := startProgram(t, newLeaks(), nil, "serve", "-c", config)
	defer p.stop(t)
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := authv3.NewAuthorizationClient(conn)
	usual := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Path: "/public/x", Host: "a", Headers: map[string]string{"user-agent": strings.Repeat("u", 300)}},
	}}}
	check := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		out, err := client.Check(ctx, usual)
		if err == nil && out.GetOkResponse() == nil {
			err = fmt.Errorf("%v", out)
		}
		return err
	}
	waitFor(t, "warder to answer", check)

	large := bytes.Repeat([]byte{0x0a, 0}, 15<<19)
	mostly := large[:1<<20]
	entries := func(size int) []byte { // empty entries of an access log
		all := bytes.Repeat([]byte{0x0a, 0}, size/2)
		return protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), all)
	}
	var fields []byte // as many headers as fit
	for i := 0; len(fields) < 1<<20-100; i++ {
		fields = protowire.AppendBytes(protowire.AppendTag(fields, 1, protowire.BytesType), []byte{0x0a, 1, byte('a' + i%26)})
	}
	for _, num := range []protowire.Number{13, 2, 4, 1} {
		fields = protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), fields)
	}
	usualText, err := proto.Marshal(usual)
	if err != nil {
		t.Fatal(err)
	}
	full := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Path: "/public/" + strings.Repeat("x", 7000), Host: "a", Headers: map[string]string{"cookie": strings.Repeat("c", 50<<10)}},
	}}}
	fullText, err := proto.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	const (
		aCheck = authv3.Authorization_Check_FullMethodName
		aLog   = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
	)
	repeat := func(n int, what func(h *hostile)) func(*hostile) {
		return func(h *hostile) {
			for range n {
				what(h)
			}
		}
	}
	t.Logf("at rest: %d MiB", peak(t, p.cmd.Process.Pid)>>20)
	for _, attack := range []struct {
		name, path string
		peers      int
		send       func(*hostile)
	}{
		{"checks of 15 MiB", aCheck, 8, repeat(20, func(h *hostile) { h.call(large, len(large), true) })},
		{"checks of 15 MiB that do not end", aCheck, 8, repeat(20, func(h *hostile) { h.call(large, len(large)-1, false) })},
		{"checks of 1 MiB", aCheck, 8, repeat(60, func(h *hostile) { h.call(mostly, len(mostly), true) })},
		{"checks of 1 MiB that do not end", aCheck, 8, repeat(100, func(h *hostile) { h.call(mostly, len(mostly)-1, false) })},
		{"checks of 60 KiB that do not end", aCheck, 16, repeat(900, func(h *hostile) { h.call(mostly, 60<<10, false) })},
		{"checks of 60 KiB", aCheck, 8, repeat(1000, func(h *hostile) { h.call(fullText, len(fullText), true) })},
		{"usual checks", aCheck, 8, repeat(5000, func(h *hostile) { h.call(usualText, len(usualText), true) })},
		{"checks that begin", aCheck, 8, repeat(1000, func(h *hostile) { h.begin(true) })},
		{"checks of headers only", aCheck, 8, repeat(20, func(h *hostile) { h.call(fields, len(fields), true) })},
		{"metadata of 12 MiB that does not end", aCheck, 8, func(h *hostile) {
			id := h.begin(false)
			_ = h.framer.WriteContinuation(id, false, append([]byte{0x40, 1, 'b'}, 0x7f, 0x81, 0xff, 0xff, 0x7f)) // announces 256 MiB
			for range 12 << 6 {
				_ = h.framer.WriteContinuation(id, false, large[:16<<10])
			}
		}},
		{"access logs of 16 MiB", aLog, 8, repeat(4, func(h *hostile) { m := entries(16 << 20); h.call(m, len(m), false) })},
		{"an access log of messages of 1 MiB", aLog, 8, func(h *hostile) {
			m := entries(1<<20 - 16)
			h.call(m, len(m), false)
			for range 30 {
				h.send(h.next-2, append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(m))), m...), false)
			}
		}},
		{"access logs that do not end", aLog, 8, repeat(100, func(h *hostile) { h.call(mostly, len(mostly)-1, false) })},
		{"streams of health", "/grpc.health.v1.Health/Watch", 8, repeat(1000, func(h *hostile) { h.call(mostly, 4000, false) })},
		{"connections that do nothing", aCheck, 1000, func(*hostile) {}},
		{"many connections that begin checks", aCheck, 200, repeat(1000, func(h *hostile) { h.begin(true) })},
		{"responses without a window", aCheck, 100, func(h *hostile) {
			_ = h.conn.SetWriteDeadline(time.Now().Add(2 * time.Second)) // warder stops reading
			_ = h.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			for range 1000 {
				h.call(usualText, len(usualText), true)
			}
		}},
		{"canceled calls and responses that are not read", aCheck, 50, func(h *hostile) {
			h.deaf.Store(true)
			_ = h.conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
			for range 40_000 {
				id := h.begin(true)
				h.send(id, []byte{1}, true)
				_ = h.framer.WriteRSTStream(id, http2.ErrCodeCancel)
			}
		}},
	} {
		var peers sync.WaitGroup
		done := make(chan struct{})
		for range attack.peers {
			peers.Go(func() {
				h, err := newHostile(address, attack.path)
				if err != nil {
					t.Error(err)
					return
				}
				attack.send(h)
				_ = h.framer.WritePing(false, [8]byte{})
				<-done
				_ = h.conn.Close()
			})
		}
		for range 20 {
			if err := check(); err != nil {
				t.Errorf("%s: a good user meanwhile: %v", attack.name, err)
				break
			}
			time.Sleep(30 * time.Millisecond)
		}
		close(done)
		peers.Wait()
		if err := check(); err != nil {
			t.Errorf("%s: a good user afterwards: %v", attack.name, err)
		}
		if used := peak(t, p.cmd.Process.Pid); used > limit {
			t.Errorf("%s: %d MiB, the limit is %d", attack.name, used>>20, limit>>20)
		} else {
			t.Logf("%s: %d MiB", attack.name, used>>20)
		}
	}
}

// TestMemoryOfPolicy checks that warder needs little memory while it loads a policy of 10,000
// routes, and while it loads the next one beside it.
func TestMemoryOfPolicy(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has memory of its own; make race runs this without it too")
	}
	// The goal is 96 MiB with the pages of the binary, which are 28 MiB of it. They are not
	// counted here: the binary of this test is larger.
	const limit = 68 << 20
	dir := t.TempDir()
	policyFile := filepath.Join(dir, "policy.yaml")
	write := func(path, text string) {
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	routes := policyOf(10_000, hotPublic)
	write(policyFile, routes)
	write(filepath.Join(dir, "directory.yaml"), "users: []\n")
	address := authztest.FreeAddress(t)
	write(filepath.Join(dir, "warder.yaml"), fmt.Sprintf(`
listen: {grpc: %q, admin: %q}
policy: policy.yaml
jwt: {keys: [{secret: 0123456789abcdef0123456789abcdef}]}
sessions: {redis_url: "memory://"}
directory: {file: directory.yaml}
shutdown: {delay: 0s}
`, address, authztest.FreeAddress(t)))
	p := startProgram(t, newLeaks(), nil, "serve", "-c", filepath.Join(dir, "warder.yaml"))
	defer p.stop(t)
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := authv3.NewAuthorizationClient(conn)
	allowed := func(path string) func() error {
		return func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			out, err := client.Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
				Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Path: path, Host: "a"},
			}}})
			if err == nil && out.GetOkResponse() == nil {
				err = fmt.Errorf("%v", out)
			}
			return err
		}
	}
	measure := func(what string) {
		if used := peak(t, p.cmd.Process.Pid); used > limit {
			t.Errorf("%s: %d MiB, the limit is %d", what, used>>20, limit>>20)
		} else {
			t.Logf("%s: %d MiB", what, used>>20)
		}
	}
	waitFor(t, "warder to answer", allowed("/api/v1/assets/1/audit"))
	measure("the first policy")
	for i := range 3 {
		path := fmt.Sprintf("/reloaded-%d", i)
		write(policyFile, routes+fmt.Sprintf("  - {id: reloaded, match: %s, public: true}\n", path))
		waitFor(t, "the next policy", allowed(path))
		measure("the next policy")
	}
}
