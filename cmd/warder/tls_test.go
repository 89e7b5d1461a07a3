package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An authority makes certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue makes a certificate for 127.0.0.1 and names of the DNS, as a server and as a client.
func (a *authority) issue(t testing.TB, name string, notAfter time.Time, dns ...string) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: dns, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-2 * time.Hour), NotAfter: notAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func (a *authority) pair(t testing.TB, name string) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(a.issue(t, name, time.Now().Add(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

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
	old, next := newAuthority(t, "old"), newAuthority(t, "next")
	files := tlsSettings{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"), ClientCAFile: filepath.Join(dir, "ca.crt")}
	volume := &kubernetesVolume{dir: dir}
	publish := func(name string, server, clients *authority, notAfter time.Time) {
		cert, key := server.issue(t, name, notAfter)
		volume.publish(t, map[string]string{"tls.crt": string(cert), "tls.key": string(key), "ca.crt": string(clients.pem)})
	}
	publish("first", old, old, time.Now().Add(time.Hour))
	var out syncBuffer
	r, err := newTLSReloader(files, newLogger(&out, logSettings{Format: "json"}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.watch(ctx) }()
	addr := tlsServer(t, r)
	client := func(clientCA *authority, server *authority) *tls.Config {
		c := &tls.Config{RootCAs: server.pool()}
		if clientCA != nil {
			c.Certificates = []tls.Certificate{clientCA.pair(t, "client")}
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

	// A ticket would outlive the CA, so that there is none.
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
	eventually(t, "the second certificate", func() bool {
		name, err := connect(addr, client(next, next))
		return err == nil && name == "second"
	})
	if _, err := connect(addr, client(old, next)); err == nil {
		t.Error("a client of the old CA was let in after the swap")
	}

	// A key that does not fit: the last good pair stays, and the log says so.
	cert, _ := next.issue(t, "third", time.Now().Add(time.Hour))
	_, otherKey := next.issue(t, "other", time.Now().Add(time.Hour))
	volume.publish(t, map[string]string{"tls.crt": string(cert), "tls.key": string(otherKey), "ca.crt": string(next.pem)})
	eventually(t, "a word about the pair", func() bool {
		return strings.Contains(out.String(), "TLS files not reloaded") && strings.Contains(out.String(), "are no pair")
	})
	if name, err := connect(addr, client(next, next)); err != nil || name != "second" {
		t.Errorf("with a bad pair: %q, %v; want the second certificate", name, err)
	}

	publish("expired", next, next, time.Now().Add(-time.Hour))
	eventually(t, "a word about the expired certificate", func() bool { return strings.Contains(out.String(), "TLS certificate has expired") })
	stop()
	if err := <-done; err != nil {
		t.Errorf("watch: %v", err)
	}
	if strings.Contains(out.String(), "PRIVATE") {
		t.Error("a private key is in the log")
	}
}

// A certificate that is renewed while the server starts is not missed.
func TestTLSReloadTellsWhatHappenedBefore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, "ca")
	renew := func(name string) tlsSettings {
		cert, key := ca.issue(t, name, time.Now().Add(time.Hour))
		return tlsSettings{CertFile: write(t, dir, "tls.crt", string(cert)), KeyFile: write(t, dir, "tls.key", string(key))}
	}
	r, err := newTLSReloader(renew("first"), discard())
	if err != nil {
		t.Fatal(err)
	}
	renew("second")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.watch(ctx) }()
	eventually(t, "the second certificate", func() bool { return r.current.Load().Certificates[0].Leaf.Subject.CommonName == "second" })
	stop()
	if err := <-done; err != nil {
		t.Errorf("watch: %v", err)
	}
}

func TestLoadTLSRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, "ca")
	cert, key := ca.issue(t, "a", time.Now().Add(time.Hour))
	_, other := ca.issue(t, "b", time.Now().Add(time.Hour))
	good := tlsSettings{CertFile: write(t, dir, "c", string(cert)), KeyFile: write(t, dir, "k", string(key)), ClientCAFile: write(t, dir, "ca", string(ca.pem))}
	if _, err := loadTLS(good); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want   string
		change func(*tlsSettings)
	}{
		{"cannot be read: no such file", func(s *tlsSettings) { s.CertFile = dir + "/gone" }},
		{"cannot be read: no such file", func(s *tlsSettings) { s.KeyFile = dir + "/gone" }},
		{"cannot be read: no such file", func(s *tlsSettings) { s.ClientCAFile = dir + "/gone" }},
		{"is a folder", func(s *tlsSettings) { s.CertFile = dir }},
		{"no pair", func(s *tlsSettings) { s.KeyFile = write(t, dir, "other", string(other)) }},
		{"no pair", func(s *tlsSettings) { s.CertFile = write(t, dir, "empty", "") }},
		{"holds no certificate", func(s *tlsSettings) { s.ClientCAFile = s.KeyFile }},
	} {
		s := good
		c.change(&s)
		if _, err := loadTLS(s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("loadTLS: %v, want an error with %q", err, c.want)
		} else if strings.Contains(err.Error(), "PRIVATE") || bytes.Contains(key, []byte(err.Error())) {
			t.Errorf("the key is in the error: %v", err)
		}
	}
	if _, err := os.Stat(good.KeyFile); err != nil {
		t.Fatal(err)
	}
}
