package redis_test

import (
	"bytes"
	"net"
	"sync"
	"testing"
)

// A gate is a proxy that can hold back replies of the server. It distinguishes the
// connection for invalidation messages from the others.
type gate struct {
	addr string

	mu       sync.Mutex
	changed  *sync.Cond
	held     func(stream bool, asked []byte) bool // nil holds nothing
	holding  int                                  // number of replies held
	done     bool
	conns    []net.Conn
	listener net.Listener
}

func startGate(t testing.TB, target string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{addr: l.Addr().String(), listener: l}
	g.changed = sync.NewCond(&g.mu)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", target)
			if err != nil {
				near.Close()
				continue
			}
			g.mu.Lock()
			if g.done {
				near.Close()
				far.Close()
			}
			g.conns = append(g.conns, near, far)
			g.mu.Unlock()
			c := &gated{gate: g, near: near, far: far}
			running.Go(c.ask)
			running.Go(c.answer)
		}
	})
	t.Cleanup(func() {
		l.Close()
		g.mu.Lock()
		g.done = true
		for _, c := range g.conns {
			c.Close()
		}
		g.changed.Broadcast()
		g.mu.Unlock()
		running.Wait()
	})
	return g
}

// hold sets which replies are held, including those that are held now. With nil, all are
// released.
func (g *gate) hold(held func(stream bool, asked []byte) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = held
	g.changed.Broadcast()
}

// awaitHolding waits until at least one reply is held.
func (g *gate) awaitHolding() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.holding == 0 && !g.done {
		g.changed.Wait()
	}
}

type gated struct {
	gate      *gate
	near, far net.Conn
	stream    bool   // guarded by the gate's mu
	asked     []byte // the latest request; guarded by the gate's mu
}

func (c *gated) ask() {
	defer c.near.Close()
	defer c.far.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.near.Read(buf)
		if err != nil {
			return
		}
		c.gate.mu.Lock()
		c.asked = append(c.asked[:0], buf[:n]...)
		c.stream = c.stream || bytes.Contains(c.asked, []byte("TRACKING"))
		c.gate.mu.Unlock()
		if _, err := c.far.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (c *gated) answer() {
	defer c.near.Close()
	defer c.far.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.far.Read(buf)
		if err != nil {
			return
		}
		g := c.gate
		g.mu.Lock()
		for g.held != nil && g.held(c.stream, c.asked) && !g.done {
			g.holding++
			g.changed.Broadcast()
			g.changed.Wait()
			g.holding--
		}
		g.mu.Unlock()
		if _, err := c.near.Write(buf[:n]); err != nil {
			return
		}
	}
}
