package redis_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/redis"
)

// An authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{}
	a.pem, _, a.cert, a.key = issue(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	return a
}

// issue signs a certificate with an authority, or with itself.
func issue(t testing.TB, c *x509.Certificate, by *authority) (certPEM, keyPEM []byte, cert *x509.Certificate, key *ecdsa.PrivateKey) {
	t.Helper()
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	c.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	check(err)
	c.Subject = pkix.Name{CommonName: c.SerialNumber.String()}
	c.NotBefore = time.Now().Add(-2 * time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	check(err)
	cert, err = x509.ParseCertificate(der)
	check(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	check(err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), cert, key
}

// server returns a certificate of a server for 127.0.0.1 and the name, and client one of a client.
func (a *authority) server(t testing.TB, name string, until time.Time) *tls.Certificate {
	t.Helper()
	c := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, DNSNames: []string{name}, NotAfter: until}
	if name == "" {
		c.DNSNames, c.IPAddresses = nil, []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	certPEM, keyPEM, _, _ := issue(t, c, a)
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

func (a *authority) client(t testing.TB) (certPEM, keyPEM []byte) {
	t.Helper()
	certPEM, keyPEM, _, _ = issue(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, a)
	return certPEM, keyPEM
}

// A terminator is what stands in front of a Redis for TLS. What it presents and whom it asks for
// a certificate may change.
type terminator struct {
	addr    string
	present atomic.Pointer[tls.Certificate]
	clients atomic.Pointer[x509.CertPool] // nil asks nobody for a certificate

	mu    sync.Mutex
	conns []net.Conn
}

func terminate(t testing.TB, to string, present *tls.Certificate) *terminator {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &terminator{addr: l.Addr().String()}
	s.present.Store(present)
	config := &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*s.present.Load()}}
		if pool := s.clients.Load(); pool != nil {
			c.ClientCAs, c.ClientAuth = pool, tls.RequireAndVerifyClientCert
		}
		return c, nil
	}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, near)
			s.mu.Unlock()
			serving.Go(func() {
				defer near.Close()
				secured := tls.Server(near, config)
				if secured.HandshakeContext(t.Context()) != nil {
					return
				}
				far, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				serving.Go(func() {
					_, _ = io.Copy(far, secured)
					far.Close()
				})
				_, _ = io.Copy(secured, far)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.disconnect()
		serving.Wait()
	})
	return s
}

// disconnect ends all connections.
func (s *terminator) disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
}

func write(t testing.TB, path string, parts ...[]byte) string {
	t.Helper()
	var all []byte
	for _, part := range parts {
		all = append(all, part...)
	}
	if err := os.WriteFile(path, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTLS(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, password)
	server.Do(t, "SET", "session:42:s1", "1")
	ours, other := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	ca, wrongCA := write(t, filepath.Join(dir, "ca"), other.pem, ours.pem), write(t, filepath.Join(dir, "wrong"), other.pem)
	certPEM, keyPEM := ours.client(t)
	cert, key, both := write(t, filepath.Join(dir, "cert"), certPEM), write(t, filepath.Join(dir, "key"), keyPEM), write(t, filepath.Join(dir, "both"), keyPEM, certPEM)

	by := map[string]*terminator{
		"plain": terminate(t, server.Addr, ours.server(t, "", time.Time{})),
		"named": terminate(t, server.Addr, ours.server(t, "redis.internal", time.Time{})),
		"old":   terminate(t, server.Addr, ours.server(t, "", time.Now().Add(-time.Hour))),
		"asks":  terminate(t, server.Addr, ours.server(t, "", time.Time{})),
	}
	pool := x509.NewCertPool()
	pool.AddCert(ours.cert)
	by["asks"].clients.Store(pool)

	for _, tt := range []struct {
		want         string
		to, url, ask string
		tls          redis.TLS
	}{
		{"", "plain", "rediss://", "", redis.TLS{CAFile: ca}},
		{"", "plain", "valkeys://", "?ssl_ca_certs=" + ca, redis.TLS{}},
		{"", "plain", "redis://", "?ssl=true&ssl_cert_reqs=none&ssl_ca_certs=" + ca, redis.TLS{}},
		{"", "plain", "rediss://", "?skip_verify=true", redis.TLS{}},
		{"has a certificate that is not trusted; name its authority with sessions.tls.ca_file", "plain", "rediss://", "", redis.TLS{}},
		{"has a certificate that is not trusted; name its authority", "plain", "rediss://", "", redis.TLS{CAFile: wrongCA}},
		// No parameter that an application may have turns verification off.
		{"is not trusted", "plain", "rediss://", "?ssl_cert_reqs=none", redis.TLS{}},
		{"is not trusted", "plain", "rediss://", "?ssl_cert_reqs=CERT_NONE&ssl_check_hostname=false", redis.TLS{CAFile: wrongCA}},
		{"is for another name than the host of redis_url; sessions.tls.server_name", "named", "rediss://", "?ssl_check_hostname=false&verifyPeer=none", redis.TLS{CAFile: ca}},
		{"", "named", "rediss://", "", redis.TLS{CAFile: ca, ServerName: "redis.internal"}},
		{"is for another name", "plain", "rediss://", "", redis.TLS{CAFile: ca, ServerName: "redis.internal"}},
		{"it has expired", "old", "rediss://", "", redis.TLS{CAFile: ca}},
		{"ended TLS; it wants a certificate of warder", "asks", "rediss://", "", redis.TLS{CAFile: ca}},
		{"", "asks", "rediss://", "", redis.TLS{CAFile: ca, CertFile: cert, KeyFile: key}},
		{"", "asks", "rediss://", "?ssl_certfile=" + both, redis.TLS{CAFile: ca}},
		{"", "asks", "rediss://", "?skip_verify=1&ssl_certfile=" + cert + "&ssl_keyfile=" + key, redis.TLS{}},
	} {
		t.Run(tt.to+" "+tt.want, func(t *testing.T) {
			t.Parallel()
			s := open(t, redis.Config{URL: tt.url + ":" + password + "@" + by[tt.to].addr + tt.ask, TLS: tt.tls})
			alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"})
			if alive != (tt.want == "") || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Alive = %v, %v; want %q", alive, err, tt.want)
			}
			noSecret(t, err)
		})
	}
}

// TestTLSRotates replaces certificates of the server and of warder. Connections stay, and new ones
// use what the files hold now, also when nobody has called Reconfigure yet.
func TestTLSRotates(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	server.Do(t, "SET", "session:42:s1", "1")
	authorities := []*authority{newAuthority(t), newAuthority(t)}
	in := terminate(t, server.Addr, authorities[0].server(t, "", time.Time{}))
	dir := t.TempDir()
	files := redis.TLS{CAFile: filepath.Join(dir, "ca"), CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key")}
	address := "rediss://" + in.addr
	turn := func(i int) { // the files
		write(t, files.CAFile, authorities[i].pem)
		certPEM, keyPEM := authorities[i].client(t)
		write(t, files.CertFile, certPEM)
		write(t, files.KeyFile, keyPEM)
	}
	serve := func(i int) { // the server
		in.present.Store(authorities[i].server(t, "", time.Time{}))
		pool := x509.NewCertPool()
		pool.AddCert(authorities[i].cert)
		in.clients.Store(pool)
	}
	serve(0)
	turn(0)
	s := open(t, redis.Config{URL: address, TLS: files, PoolSize: 1, Reread: func(context.Context) (redis.Secrets, error) { return redis.Secrets{URL: address}, nil }})
	wantAlive(t, s, "s1", true)

	serve(1)
	wantAlive(t, s, "s1", true) // on its connection
	turn(1)
	in.disconnect()
	wantAlive(t, s, "s1", true) // at once
	if err := s.Reconfigure(redis.Secrets{URL: address}); err != nil {
		t.Fatal(err)
	}
	in.disconnect()
	wantAlive(t, s, "s1", true)

	// What cannot be used changes nothing.
	write(t, files.CAFile, []byte("half of a cert"))
	if err := s.Reconfigure(redis.Secrets{URL: address}); err == nil {
		t.Error("a file without a certificate is taken")
	}
	in.disconnect()
	wantAlive(t, s, "s1", true)

	// The authority before is trusted no longer.
	turn(0)
	if err := s.Reconfigure(redis.Secrets{URL: address}); err != nil {
		t.Fatal(err)
	}
	in.disconnect()
	wantUntrusted(t, s)
	serve(0)
	eventually(t, func() error { return s.Check(t.Context()) })
	wantAlive(t, s, "s1", true)
}

// wantUntrusted waits until the server's certificate is the reason why nothing is alive. The
// connection that was open is first reported as closed.
func wantUntrusted(t testing.TB, s *redis.Sessions) {
	t.Helper()
	eventually(t, func() error {
		alive, err := s.Alive(t.Context(), authz.Session{UserID: "42", ID: "s1"})
		if alive || err == nil {
			t.Error("a server is asked that is not trusted")
		}
		if err == nil || !strings.Contains(err.Error(), "not trusted") {
			return fmt.Errorf("Alive = %v, %w", alive, err)
		}
		return nil
	})
}

// TestVerificationIsTurnedOn checks that no connection stays that accepted any certificate.
func TestVerificationIsTurnedOn(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	server.Do(t, "SET", "session:42:s1", "1")
	in := terminate(t, server.Addr, newAuthority(t).server(t, "", time.Time{}))
	s := open(t, redis.Config{URL: "rediss://" + in.addr + "?skip_verify=true"})
	wantAlive(t, s, "s1", true)
	if err := s.Reconfigure(redis.Secrets{URL: "rediss://" + in.addr}); err != nil {
		t.Fatal(err)
	}
	wantUntrusted(t, s)
}

// TestTLSFiles checks what is said about the files of certificates and keys.
func TestTLSFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	ours := newAuthority(t)
	certPEM, keyPEM := ours.client(t)
	_, otherKey := ours.client(t)
	write(t, at("ca"), ours.pem)
	write(t, at("cert"), certPEM)
	write(t, at("key"), keyPEM)
	write(t, at("other-key"), otherKey)
	write(t, at("empty"))
	if err := syscall.Mkfifo(at("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return url.QueryEscape(at(name)) }
	for _, tt := range []struct {
		field, want string
		url         string
		tls         redis.TLS
	}{
		{"", "", "rediss://h", redis.TLS{CAFile: at("ca"), CertFile: at("cert"), KeyFile: at("key"), ServerName: "x"}},
		{"", "", "rediss://h?ssl_ca_certs=" + in("ca") + "&ssl_certfile=" + in("cert") + "&ssl_keyfile=" + in("key"), redis.TLS{ServerName: "x"}},
		{"sessions.tls", "is set, and redis_url does not use TLS; write rediss:// there", "redis://:canary@h", redis.TLS{ServerName: "x"}},
		{"sessions.tls", "is set, and redis_url does not use TLS", "unix:///s", redis.TLS{CAFile: at("ca")}},
		{"sessions.tls", "needs both cert_file and key_file", "rediss://h", redis.TLS{CertFile: at("cert")}},
		{"sessions.tls", "needs both cert_file and key_file", "rediss://h", redis.TLS{KeyFile: at("key")}},
		{"sessions.redis_url", "has ssl_keyfile, and not ssl_certfile", "rediss://h?ssl_keyfile=" + in("key"), redis.TLS{}},
		{"sessions.tls.ca_file", "keep one of the two", "rediss://h?ssl_ca_certs=" + in("ca"), redis.TLS{CAFile: at("ca")}},
		{"sessions.tls", "keep one of the two", "rediss://h?ssl_certfile=" + in("cert"), redis.TLS{CertFile: at("cert"), KeyFile: at("key")}},
		{"sessions.tls", "skip_verify", "rediss://h?skip_verify=true", redis.TLS{CAFile: at("ca")}},
		{"sessions.tls.ca_file", at("none") + " cannot be read: no such file", "rediss://h", redis.TLS{CAFile: at("none")}},
		{"sessions.tls.ca_file", at("empty") + " contains no certificate in PEM", "rediss://h", redis.TLS{CAFile: at("empty")}},
		{"sessions.tls.ca_file", at("key") + " contains no certificate in PEM", "rediss://h", redis.TLS{CAFile: at("key")}},
		{"sessions.tls.ca_file", at("pipe") + " is not a regular file", "rediss://h", redis.TLS{CAFile: at("pipe")}},
		{"sessions.tls.ca_file", dir + " is not a regular file", "rediss://h", redis.TLS{CAFile: dir}},
		{"sessions.tls.key_file", at("none") + " cannot be read", "rediss://h", redis.TLS{CertFile: at("cert"), KeyFile: at("none")}},
		{"sessions.tls.cert_file", at("cert") + " and the file of the key are not a certificate in PEM and its key", "rediss://h", redis.TLS{CertFile: at("cert"), KeyFile: at("other-key")}},
		{"sessions.redis_url", "the file of ssl_ca_certs cannot be read: no such file", "rediss://h?ssl_ca_certs=/canary", redis.TLS{}},
		{"sessions.redis_url", "the file of ssl_certfile and the file of the key", "rediss://h?ssl_certfile=" + in("cert"), redis.TLS{}},
	} {
		err := redis.Config{URL: tt.url, TLS: tt.tls}.Validate()
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.url, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s %+v: no error, want %s", tt.url, tt.tls, tt.want)
			continue
		}
		if found := authz.ConfigErrors(err); len(found) != 1 || found[0].Field != tt.field || !strings.Contains(found[0].Problem, tt.want) {
			t.Errorf("%s %+v:\n got %v\nwant %s: %s", tt.url, tt.tls, err, tt.field, tt.want)
		}
		noSecret(t, err)
	}
}
