package doctor

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
)

// soon is when a certificate that ends is worth a warning: what renews certificates does so weeks
// before.
const soon = 14 * 24 * time.Hour

// examineCertificates says how long the certificates of the listener are valid. That the key is
// that of the certificate was checked with the configuration.
func (r *report) examineCertificates(files config.TLS) {
	const check = "listen.tls"
	own, err := certificates(files.CertFile)
	if err != nil {
		r.fault(check, "listen.tls.cert_file", err)
		return
	}
	now := time.Now()
	status, state := validity(own[0], now)
	r.say(check, status, "listen.tls.cert_file", "the certificate of %s, for %s, %s", files.CertFile, namesOf(own[0]), state)
	if len(own[0].DNSNames)+len(own[0].IPAddresses)+len(own[0].URIs) == 0 {
		r.say(check, warning, "listen.tls.cert_file", "the certificate of %s has no subject alternative name, so Envoy can verify who signed it and not whose it is", files.CertFile)
	}
	for _, c := range own[1:] {
		if status, state := validity(c, now); status != good {
			r.say(check, status, "listen.tls.cert_file", "an authority in %s, %s, %s", files.CertFile, namesOf(c), state)
		}
	}
	if files.ClientCAFile == "" {
		return
	}
	authorities, err := certificates(files.ClientCAFile)
	if err != nil {
		r.fault(check, "listen.tls.client_ca_file", err)
		return
	}
	for _, c := range authorities {
		status, state := validity(c, now)
		if status == broken && len(authorities) > 1 {
			status = warning // clients of the others pass
		}
		r.say(check, status, "listen.tls.client_ca_file", "the authority of clients, %s, %s", namesOf(c), state)
	}
}

// validity says until when a certificate is valid.
func validity(c *x509.Certificate, now time.Time) (status, string) {
	date := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	switch left := c.NotAfter.Sub(now); {
	case now.Before(c.NotBefore):
		return broken, fmt.Sprintf("is not valid before %s; look at the clock of this machine", date(c.NotBefore))
	case left < 0:
		return broken, fmt.Sprintf("has expired at %s, so no connection succeeds; renew it, warder reads it again by itself", date(c.NotAfter))
	case left < soon:
		return warning, fmt.Sprintf("expires at %s, in %d days; see to its renewal", date(c.NotAfter), int(left.Hours()/24))
	}
	return good, "is valid until " + date(c.NotAfter)
}

// namesOf returns the names of a certificate for a message.
func namesOf(c *x509.Certificate) string {
	names := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	for _, uri := range c.URIs {
		names = append(names, uri.String())
	}
	if len(names) == 0 {
		names = []string{c.Subject.String()}
	}
	return strings.Join(names, ", ")
}

// certificates reads the certificates of a file, of which there is one or more.
func certificates(path string) (found []*x509.Certificate, err error) {
	data, err := cli.ReadBounded(path, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s holds a certificate that cannot be read: %w", path, err)
		}
		found = append(found, c)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s contains no certificate in PEM", path)
	}
	return found, nil
}
