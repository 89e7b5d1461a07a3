package redis

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"warder/authz"
)

// TLS configures connections with TLS. Files are in PEM. The zero TLS trusts the authorities of
// the system, and expects a certificate for the host of the URL.
type TLS struct {
	// CAFile holds the certificates of the authorities that are trusted instead.
	CAFile string
	// CertFile and KeyFile are warder's own certificate and its key, for a server that asks for
	// one. Both or neither are set.
	CertFile, KeyFile string
	// ServerName is the name that the server's certificate must have. "" means the URL's host.
	ServerName string
}

// maxPEM is the greatest size of a file, in bytes. The bundles of operating systems have some
// hundred KiB.
const maxPEM = 4 << 20

// A namedFile is a file that the configuration names.
type namedFile struct {
	key  string // of the configuration, and the URL's parameter after a space
	path string
}

// A namedTLS is a TLS with the keys that name its files.
type namedTLS struct{ ca, cert, key namedFile }

// files returns the files of the configuration and of the URL.
func (c TLS) files(l *location) (namedTLS, error) {
	inURL := func(parameter, path string) namedFile { return namedFile{"sessions.redis_url " + parameter, path} }
	named := namedTLS{
		ca:   namedFile{"sessions.tls.ca_file", c.CAFile},
		cert: namedFile{"sessions.tls.cert_file", c.CertFile},
		key:  namedFile{"sessions.tls.key_file", c.KeyFile},
	}
	if l.files.CAFile != "" {
		if c.CAFile != "" {
			return namedTLS{}, authz.Misconfigured(named.ca.key, "is set, and redis_url has ssl_ca_certs too; keep one of the two")
		}
		named.ca = inURL("ssl_ca_certs", l.files.CAFile)
	}
	if l.files.CertFile != "" || l.files.KeyFile != "" {
		if c.CertFile != "" || c.KeyFile != "" {
			return namedTLS{}, authz.Misconfigured("sessions.tls", "has cert_file or key_file, and redis_url has ssl_certfile or ssl_keyfile too; keep one of the two")
		}
		// As in Python, the key may be in the file of the certificate.
		named.cert = inURL("ssl_certfile", l.files.CertFile)
		named.key = inURL("ssl_keyfile", cmp.Or(l.files.KeyFile, l.files.CertFile))
	}
	if (named.cert.path == "") != (named.key.path == "") {
		field, _, _ := strings.Cut(named.cert.key, " ")
		if field == "sessions.redis_url" {
			return namedTLS{}, authz.Misconfigured(field, "has ssl_keyfile, and not ssl_certfile; give both")
		}
		return namedTLS{}, authz.Misconfigured("sessions.tls", "needs both cert_file and key_file")
	}
	return named, nil
}

// load reads the files. version tells apart what it has read.
func (c TLS) load(l *location) (loaded *tls.Config, version string, err error) {
	if !l.tls {
		if c != (TLS{}) {
			return nil, "", authz.Misconfigured("sessions.tls", "is set, and redis_url does not use TLS; write rediss:// there, or leave it out")
		}
		return nil, "", nil
	}
	named, err := c.files(l)
	if err != nil {
		return nil, "", err
	}
	if l.skipVerify && c != (TLS{CertFile: c.CertFile, KeyFile: c.KeyFile}) {
		return nil, "", authz.Misconfigured("sessions.tls", "says how to verify the server, and redis_url has skip_verify, which accepts any certificate; leave one of the two out")
	}
	loaded = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         c.ServerName, // without one, the host of each connection
		InsecureSkipVerify: l.skipVerify, //nolint:gosec // by the parameter skip_verify only, which warnings reports
	}
	sum := sha256.New()
	if named.ca.path != "" {
		pem, err := named.ca.read()
		if err != nil {
			return nil, "", err
		}
		loaded.RootCAs = x509.NewCertPool()
		if !loaded.RootCAs.AppendCertsFromPEM(pem) {
			return nil, "", named.ca.misconfigured("contains no certificate in PEM")
		}
		_, _ = sum.Write(pem)
	}
	if named.cert.path != "" {
		certPEM, err := named.cert.read()
		if err != nil {
			return nil, "", err
		}
		keyPEM, err := named.key.read()
		if err != nil {
			return nil, "", err
		}
		pair, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			return nil, "", named.cert.misconfigured("and the file of the key are not a certificate in PEM and its key, without a password")
		}
		loaded.Certificates = []tls.Certificate{pair}
		_, _ = sum.Write(certPEM)
		_, _ = sum.Write(keyPEM)
	}
	return loaded, string(sum.Sum(nil)), nil
}

// misconfigured returns an error about the file. It shows the path unless that is from the URL,
// of which errors show nothing.
func (f namedFile) misconfigured(problem string) error {
	key, parameter, inURL := strings.Cut(f.key, " ")
	if inURL {
		return authz.Misconfigured(key, "the file of %s %s", parameter, problem)
	}
	return authz.Misconfigured(key, "%s %s", f.path, problem)
}

// read reads the file. It must be a regular one, because reading a pipe may never end.
func (f namedFile) read() ([]byte, error) {
	data, err := readRegular(f.path)
	if err != nil {
		if pathError, ok := errors.AsType[*fs.PathError](err); ok {
			err = fmt.Errorf("cannot be read: %w", pathError.Err)
		}
		return nil, f.misconfigured(err.Error())
	}
	return data, nil
}

func readRegular(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // opening a pipe must not block
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file; name one")
	}
	data, err := io.ReadAll(io.LimitReader(file, maxPEM+1))
	if err == nil && len(data) > maxPEM {
		err = fmt.Errorf("is larger than %d MiB; name the right file", maxPEM>>20)
	}
	return data, err
}

// Files returns the files that the configuration and the URL name, by the key that names them:
// certificates and keys. Connections use what they held when Reconfigure was called last.
func (c Config) Files() map[string]string {
	files := map[string]string{}
	l, err := readURL(c.URL)
	if err != nil || !l.tls {
		return files
	}
	named, err := c.TLS.files(l)
	if err != nil {
		return files
	}
	for _, f := range []namedFile{named.ca, named.cert, named.key} {
		if f.path != "" {
			files[f.key] = f.path
		}
	}
	return files
}

// Warnings returns what the URL asks for without an effect, in one line, and what is dangerous
// in it.
func (c Config) Warnings() []string {
	l, err := readURL(c.URL)
	if err != nil {
		return nil
	}
	return l.warnings()
}

// isCertificateRefused reports whether the certificate of the server is not trusted.
func isCertificateRefused(err error) bool {
	return isType[*tls.CertificateVerificationError](err)
}
