package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// A tlsReloader serves the newest good certificate, key and CA of its files.
type tlsReloader struct {
	files   tlsSettings
	current atomic.Pointer[tls.Config]
	changes *fileWatch
	log     *slog.Logger
}

// newTLSReloader loads the files; they must be good to begin with.
func newTLSReloader(files tlsSettings, log *slog.Logger) (*tlsReloader, error) {
	paths := []string{files.CertFile, files.KeyFile}
	if files.ClientCAFile != "" {
		paths = append(paths, files.ClientCAFile)
	}
	r := &tlsReloader{files: files, changes: newFileWatch(paths, log), log: log}
	c, err := loadTLS(files)
	if err != nil {
		return nil, err
	}
	r.current.Store(c)
	r.warnExpired(c)
	return r, nil
}

// config returns what a listener uses for good: it asks for the newest
// certificate with each connection.
func (r *tlsReloader) config() *tls.Config {
	c := r.current.Load().Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return r.current.Load(), nil }
	return c
}

// reload takes the files in, or keeps what was good.
func (r *tlsReloader) reload() {
	c, err := loadTLS(r.files)
	if err != nil {
		r.log.Error("TLS files not reloaded, the last good ones stay", "error", err)
		return
	}
	r.current.Store(c)
	r.log.Info("TLS files reloaded", "expires", c.Certificates[0].Leaf.NotAfter)
	r.warnExpired(c)
}

// reloadNow is reload without waiting until the files have settled.
func (r *tlsReloader) reloadNow() {
	r.reload()
	r.changes.lookAgain()
}

func (r *tlsReloader) warnExpired(c *tls.Config) {
	leaf := c.Certificates[0].Leaf
	switch now := time.Now(); {
	case now.After(leaf.NotAfter):
		r.log.Error("TLS certificate has expired", "cert_file", r.files.CertFile, "expired", leaf.NotAfter)
	case now.Before(leaf.NotBefore):
		r.log.Error("TLS certificate is not yet valid", "cert_file", r.files.CertFile, "valid_from", leaf.NotBefore)
	}
}

// watch reloads when a file changes, until the context ends.
func (r *tlsReloader) watch(ctx context.Context) error {
	return r.changes.run(ctx, r.reload)
}

// loadTLS reads a certificate, its key, and the CA of clients when there is one.
func loadTLS(files tlsSettings) (*tls.Config, error) {
	certPEM, certErr := readBounded(files.CertFile, maxConfigSize)
	keyPEM, keyErr := readBounded(files.KeyFile, maxConfigSize)
	if err := errors.Join(named(files.CertFile, certErr), named(files.KeyFile, keyErr)); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s and %s are no pair of a certificate and its key: %w", files.CertFile, files.KeyFile, err)
	}
	c := &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2"},
		// A ticket would outlive the CA that its client was checked against.
		SessionTicketsDisabled: true,
	}
	if files.ClientCAFile == "" {
		return c, nil
	}
	caPEM, err := readBounded(files.ClientCAFile, maxConfigSize)
	if err != nil {
		return nil, named(files.ClientCAFile, err)
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(caPEM) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", files.ClientCAFile)
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return c, nil
}

func named(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %w", path, err)
}
