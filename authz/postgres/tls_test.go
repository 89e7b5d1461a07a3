package postgres_test

import (
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

	"warder/authz/authztest"
	"warder/authz/postgres"
)

// certified returns a certificate for the names, and a file with it as an authority.
func certified(t *testing.T, until time.Time, names []string, ips ...net.IP) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "common"}, NotBefore: until.Add(-time.Hour * 2), NotAfter: until,
		DNSNames: names, IPAddresses: ips, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

// overTLS serves a database with a certificate, also where the server was built without TLS.
func overTLS(t *testing.T, db *authztest.Postgres, certificate tls.Certificate) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	serve := func(plain net.Conn) {
		defer plain.Close()
		request := make([]byte, 8) // SSLRequest
		if _, err := io.ReadFull(plain, request); err != nil {
			return
		}
		if _, err := plain.Write([]byte("S")); err != nil {
			return
		}
		client := tls.Server(plain, &tls.Config{Certificates: []tls.Certificate{certificate}})
		server, err := net.Dial("tcp", db.Addr)
		if err != nil {
			return
		}
		defer server.Close()
		go func() {
			defer server.Close()
			_, _ = io.Copy(server, client)
		}()
		_, _ = io.Copy(client, server)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return l.Addr().String()
}

// TestCertificateNames says which name a certificate does not have.
func TestCertificateNames(t *testing.T) {
	t.Parallel()
	db := authztest.StartPostgres(t)
	db.Exec(t, postgres.Schema)
	later, loopback := time.Now().Add(time.Hour), net.IPv4(127, 0, 0, 1)
	other, _ := certified(t, later, nil, loopback)
	for _, tt := range []struct {
		name, want, mode string
		certificate      *tls.Certificate // instead of the one that is signed
		until            time.Time
		names            []string
		ips              []net.IP
	}{
		{name: "it has the name", mode: "verify-full", until: later, ips: []net.IP{loopback}},
		{name: "any name", mode: "verify-ca", until: later, names: []string{"db.internal"}},
		{name: "another name", mode: "verify-full", until: later, names: []string{"db.internal", "*.db.internal"}, ips: []net.IP{net.IPv4(10, 0, 0, 1)},
			want: `its certificate does not have the name of the host in the URL; it is for "db.internal", "*.db.internal", "10.0.0.1": write one of its names`},
		{name: "many names", mode: "verify-full", until: later, names: []string{"a", "b", "c", "d", "e", "f"}, want: `it is for "a", "b", "c", "d", "e", …:`},
		{name: "no name", mode: "verify-full", until: later, want: "it is for no host (a common name does not count)"},
		{name: "expired", mode: "verify-full", until: time.Now().Add(-time.Hour), ips: []net.IP{loopback}, want: "its certificate has expired, or is not valid yet"},
		{name: "of another authority", mode: "verify-full", certificate: &other, until: later, ips: []net.IP{loopback}, want: "its certificate is not trusted; name the authority with sslrootcert"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			certificate, authority := certified(t, tt.until, tt.names, tt.ips...)
			if tt.certificate != nil {
				certificate = *tt.certificate
			}
			addr := overTLS(t, db, certificate)
			url := strings.Replace(strings.Replace(db.URL(), db.Addr, addr, 1), "sslmode=disable", "sslmode="+tt.mode+"&sslrootcert="+authority, 1)
			_, err := open(t, postgres.Config{DatabaseURL: url}).Check(t.Context())
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Check = %v, want %q", err, tt.want)
			}
			noSecret(t, db, err)
		})
	}
}
