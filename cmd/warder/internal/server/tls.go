package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"sync/atomic"
	"time"

	"warder/cmd/warder/internal/config"
)

// A tlsReloader provides the latest valid certificate, key and CA of its files.
type tlsReloader struct {
	files   config.TLS
	current atomic.Pointer[tls.Config]
	changes *fileWatch
	log     *slog.Logger
}

// newTLSReloader loads the files, which must be valid at first.
func newTLSReloader(files config.TLS, log *slog.Logger) (*tlsReloader, error) {
	paths := []string{files.CertFile, files.KeyFile}
	if files.ClientCAFile != "" {
		paths = append(paths, files.ClientCAFile)
	}
	r := &tlsReloader{files: files, changes: newFileWatch(paths, log), log: log}
	c, err := config.LoadTLS(files)
	if err != nil {
		return nil, err
	}
	r.current.Store(c)
	r.warnExpired(c)
	return r, nil
}

// config returns a configuration that a listener can keep. It uses the latest certificate
// for each connection.
func (r *tlsReloader) config() *tls.Config {
	c := r.current.Load().Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return r.current.Load(), nil }
	return c
}

// reload reloads the files. If they are not valid, it keeps the last valid certificate.
func (r *tlsReloader) reload() {
	c, err := config.LoadTLS(r.files)
	if err != nil {
		r.log.Error("TLS files not reloaded, the last good ones stay", "error", err)
		return
	}
	r.current.Store(c)
	r.log.Info("TLS files reloaded", "expires", c.Certificates[0].Leaf.NotAfter)
	r.warnExpired(c)
}

// reloadNow is like reload, but does not wait until the files have settled.
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
