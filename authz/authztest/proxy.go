package authztest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A Proxy forwards connections to a server. After Cut it behaves like a network that drops
// all packets: connections are accepted, but no data is forwarded. Connections that were
// open during a cut stay dead after Mend.
type Proxy struct {
	Addr string // 127.0.0.1:port

	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	cut   chan struct{} // closed while cut
	conns []net.Conn
	done  bool
}

// StartProxy starts a proxy to the server at addr. It ends with the test.
func StartProxy(t testing.TB, addr string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), target: addr, listener: l, cut: make(chan struct{})}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		p.done = true
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		p.running.Wait()
	})
	return p
}

// Cut drops all data from now on.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.cut)
}

// Mend lets new connections through again.
func (p *Proxy) Mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = make(chan struct{})
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		cut, ok := p.keep(conn)
		if !ok {
			return
		}
		select {
		case <-cut:
			continue // the connection stays open, and dead
		default:
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			conn.Close()
			continue
		}
		if _, ok := p.keep(server); !ok {
			return
		}
		p.running.Go(func() { pass(server, conn, cut) })
		p.running.Go(func() { pass(conn, server, cut) })
	}
}

// keep records a connection, to be closed at the end of the test. It returns the channel that
// is closed when the connection is cut.
func (p *Proxy) keep(conn net.Conn) (cut chan struct{}, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		conn.Close()
		return nil, false
	}
	p.conns = append(p.conns, conn)
	return p.cut, true
}

func pass(to, from net.Conn, cut chan struct{}) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-cut:
			_, _ = io.Copy(io.Discard, from) // neither data nor the end is forwarded
			return
		default:
		}
		if _, writeErr := to.Write(buf[:n]); err != nil || writeErr != nil {
			to.Close()
			from.Close()
			return
		}
	}
}
