package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"warder/cmd/warder/internal/config"
)

// reachable returns the host:port to dial for a listen address. An address for all
// interfaces becomes the loopback address.
func reachable(a config.Address) string {
	if a.Network == "unix" {
		return "localhost"
	}
	host, port, _ := net.SplitHostPort(a.Address)
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.Is6() {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}

// NoAnswer returns an error that says why an admin listener did not answer.
func NoAnswer(err error) error {
	if strings.Contains(err.Error(), "malformed HTTP response") { // net/http has no error value for this
		return errors.New("the server at this address does not speak HTTP/1.1; if it is listen.grpc, give the address of listen.admin")
	}
	return fmt.Errorf("no answer: %w", err)
}

// Client returns a client for a single request to an admin listener. If socket is a unix
// socket, the client dials it whatever the URL says.
func Client(socket config.Address) *http.Client {
	// The transport ignores proxy settings in the environment: the request is to this machine.
	transport := &http.Transport{DisableKeepAlives: true}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if socket.Network == "unix" {
			network, address = socket.Network, socket.Address
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &askingConn{Conn: conn, asked: make(chan struct{})}, nil
	}
	return &http.Client{Transport: transport}
}

// An askingConn delays reads until the first write. A gRPC listener sends data first, and
// net/http would report that with a plain text error and in a log of its own.
type askingConn struct {
	net.Conn
	once  sync.Once
	asked chan struct{}
}

func (c *askingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.once.Do(func() { close(c.asked) })
	return n, err
}

func (c *askingConn) Read(p []byte) (int, error) {
	<-c.asked
	return c.Conn.Read(p)
}

// Close closes the connection and ends a waiting Read.
func (c *askingConn) Close() error {
	c.once.Do(func() { close(c.asked) })
	return c.Conn.Close()
}
