package server

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"warder/authz/authztest"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
)

// tlsServer accepts connections with a reloader's configuration and answers
// each with its name in the certificate, so that a handshake is seen to the end.
func tlsServer(t *testing.T, r *tlsReloader) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", r.config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = conn.Write([]byte("hello"))
			}()
		}
	}()
	return l.Addr().String()
}

// connect returns the name of the server's certificate.
func connect(addr string, c *tls.Config) (name string, err error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", addr, c)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.ReadAll(conn); err != nil {
		return "", err
	}
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

func TestTLSReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old, next := clitest.NewAuthority(t, "old"), clitest.NewAuthority(t, "next")
	files := config.TLS{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"), ClientCAFile: filepath.Join(dir, "ca.crt")}
	volume := &clitest.KubernetesVolume{Dir: dir}
	publish := func(name string, server, clients *clitest.Authority, notAfter time.Time) {
		cert, key := server.Issue(t, name, notAfter)
		volume.Publish(t, map[string]string{"tls.crt": string(cert), "tls.key": string(key), "ca.crt": string(clients.PEM)})
	}
	publish("first", old, old, time.Now().Add(time.Hour))
	var out authztest.Buffer
	r, err := newTLSReloader(files, NewLogger(&out, config.Log{Format: "json"}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.watch(ctx) }()
	addr := tlsServer(t, r)
	client := func(clientCA *clitest.Authority, server *clitest.Authority) *tls.Config {
		c := &tls.Config{RootCAs: server.Pool()}
		if clientCA != nil {
			c.Certificates = []tls.Certificate{clientCA.Pair(t, "client")}
		}
		return c
	}

	if name, err := connect(addr, client(old, old)); err != nil || name != "first" {
		t.Fatalf("at first: %q, %v", name, err)
	}
	if _, err := connect(addr, client(nil, old)); err == nil {
		t.Error("a client without a certificate was let in")
	}
	if _, err := connect(addr, client(next, old)); err == nil {
		t.Error("a client of another CA was let in")
	}
	oldTLS := client(old, old)
	oldTLS.MinVersion, oldTLS.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if _, err := connect(addr, oldTLS); err == nil {
		t.Error("TLS 1.1 was let in")
	}

	// There are no session tickets, because a ticket could outlive the CA.
	cached := client(old, old)
	cached.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	for range 2 {
		conn, err := tls.Dial("tcp", addr, cached)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); err != nil {
			t.Error(err)
		}
		if conn.ConnectionState().DidResume {
			t.Error("a session was resumed, whose client is not looked at again")
		}
		conn.Close()
	}

	publish("second", next, next, time.Now().Add(time.Hour))
	clitest.Eventually(t, "the second certificate", func() bool {
		name, err := connect(addr, client(next, next))
		return err == nil && name == "second"
	})
	if _, err := connect(addr, client(old, next)); err == nil {
		t.Error("a client of the old CA was let in after the swap")
	}

	// If the key does not match, the last valid pair stays in use, and the log says so.
	cert, _ := next.Issue(t, "third", time.Now().Add(time.Hour))
	_, otherKey := next.Issue(t, "other", time.Now().Add(time.Hour))
	volume.Publish(t, map[string]string{"tls.crt": string(cert), "tls.key": string(otherKey), "ca.crt": string(next.PEM)})
	clitest.Eventually(t, "a word about the pair", func() bool {
		return strings.Contains(out.String(), "TLS files not reloaded") && strings.Contains(out.String(), "are not a certificate and its key")
	})
	if name, err := connect(addr, client(next, next)); err != nil || name != "second" {
		t.Errorf("with a bad pair: %q, %v; want the second certificate", name, err)
	}

	publish("expired", next, next, time.Now().Add(-time.Hour))
	clitest.Eventually(t, "a word about the expired certificate", func() bool { return strings.Contains(out.String(), "TLS certificate has expired") })
	stop()
	if err := <-done; err != nil {
		t.Errorf("watch: %v", err)
	}
	if strings.Contains(out.String(), "PRIVATE") {
		t.Error("a private key is in the log")
	}
}

// TestTLSReloadTellsWhatHappenedBefore checks that a certificate that is renewed while the
// server starts is not missed.
func TestTLSReloadTellsWhatHappenedBefore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := clitest.NewAuthority(t, "ca")
	renew := func(name string) config.TLS {
		cert, key := ca.Issue(t, name, time.Now().Add(time.Hour))
		return config.TLS{CertFile: clitest.WriteFile(t, dir, "tls.crt", string(cert)), KeyFile: clitest.WriteFile(t, dir, "tls.key", string(key))}
	}
	r, err := newTLSReloader(renew("first"), clitest.Discard())
	if err != nil {
		t.Fatal(err)
	}
	renew("second")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.watch(ctx) }()
	clitest.Eventually(t, "the second certificate", func() bool { return r.current.Load().Certificates[0].Leaf.Subject.CommonName == "second" })
	stop()
	if err := <-done; err != nil {
		t.Errorf("watch: %v", err)
	}
}
