package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"warder/cmd/warder/internal/cli"
)

// LoadTLS reads a certificate, its key, and the CA of clients if one is configured.
func LoadTLS(files TLS) (*tls.Config, error) {
	certPEM, certErr := cli.ReadBounded(files.CertFile, maxConfigSize)
	keyPEM, keyErr := cli.ReadBounded(files.KeyFile, maxConfigSize)
	if err := errors.Join(named(files.CertFile, certErr), named(files.KeyFile, keyErr)); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s and %s are not a certificate and its key: %w", files.CertFile, files.KeyFile, err)
	}
	c := &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2"},
		// A session ticket could outlive the CA that the client was verified against.
		SessionTicketsDisabled: true,
	}
	if files.ClientCAFile == "" {
		return c, nil
	}
	caPEM, err := cli.ReadBounded(files.ClientCAFile, maxConfigSize)
	if err != nil {
		return nil, named(files.ClientCAFile, err)
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(caPEM) {
		return nil, fmt.Errorf("%s contains no certificate in PEM", files.ClientCAFile)
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
