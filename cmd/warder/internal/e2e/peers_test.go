package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"warder/authz/policytest"
	"warder/cmd/warder/internal/clitest"
)

// A mesh is a second listener of the Envoy, with the routes and the filters of the first one. It
// uses TLS and requests a client certificate of its authority. It accepts clients without a
// certificate.
type mesh struct {
	*clitest.Authority
	key     *ecdsa.PrivateKey // the key of all clients
	address string            // set once Envoy runs
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &mesh{Authority: clitest.NewAuthority(t, "mesh"), key: key}
}

const meshListener = "mesh"

// add adds the listener to the configuration of Envoy. It copies the first listener in its current
// state.
func (m *mesh) add(t *testing.T, root map[string]any) {
	t.Helper()
	text, err := json.Marshal(listener(root))
	if err != nil {
		t.Fatal(err)
	}
	var second map[string]any
	if err := json.Unmarshal(text, &second); err != nil {
		t.Fatal(err)
	}
	cert, key := m.Issue(t, "envoy", time.Now().Add(time.Hour))
	second["name"] = meshListener
	second["filter_chains"].([]any)[0].(map[string]any)["transport_socket"] = map[string]any{
		"name": "envoy.transport_sockets.tls",
		"typed_config": map[string]any{
			"@type":                      "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
			"require_client_certificate": false,
			"common_tls_context": map[string]any{
				"tls_certificates": []any{map[string]any{
					"certificate_chain": map[string]any{"inline_string": string(cert)},
					"private_key":       map[string]any{"inline_string": string(key)},
				}},
				"validation_context": map[string]any{"trusted_ca": map[string]any{"inline_string": string(m.PEM)}},
			},
		},
	}
	resources := root["static_resources"].(map[string]any)
	resources["listeners"] = append(resources["listeners"].([]any), second)
}

// certificate returns a client certificate with the names of the template.
func (m *mesh) certificate(template x509.Certificate) (*tls.Certificate, error) {
	template.SerialNumber = big.NewInt(3)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, &template, m.Cert, &m.key.PublicKey, m.Key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: m.key}, nil
}

// certificateFor returns a certificate from which Envoy derives the principal. If the principal has
// the form of a subject, it becomes the subject, otherwise a URI. The URI is copied byte for byte,
// because an authority may sign an invalid one.
func (m *mesh) certificateFor(principal string) (*tls.Certificate, error) {
	if subject, is := subjectOf(principal); is {
		return m.certificate(x509.Certificate{Subject: subject})
	}
	uri, err := uriName(principal)
	if err != nil {
		return nil, err
	}
	return m.certificate(x509.Certificate{ExtraExtensions: []pkix.Extension{uri}})
}

// subjectOf parses a subject in the form that Envoy uses. It supports no escapes.
func subjectOf(principal string) (subject pkix.Name, is bool) {
	for part := range strings.SplitSeq(principal, ",") {
		switch kind, name, _ := strings.Cut(part, "="); kind {
		case "CN":
			subject.CommonName = name
		case "O":
			subject.Organization = []string{name}
		default:
			return subject, false
		}
	}
	return subject, true
}

// uriName returns a subject alternative name with a URI. crypto/x509 cannot write it, because it
// accepts only URIs that net/url can parse.
func uriName(uri string) (pkix.Extension, error) {
	names, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(uri)}})
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: names}, err
}

// dial connects to the listener. It presents the certificate if it is not nil, even if another
// authority has signed it.
func (m *mesh) dial(ctx context.Context, dialer *net.Dialer, cert *tls.Certificate) (net.Conn, error) {
	if cert == nil {
		cert = new(tls.Certificate)
	}
	d := tls.Dialer{NetDialer: dialer, Config: &tls.Config{
		RootCAs: m.Pool(), GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil },
	}}
	return d.DialContext(ctx, "tcp", m.address)
}

// meetsPeers reports whether a case in f has a client with a certificate.
func meetsPeers(f *policytest.File) bool {
	return slices.ContainsFunc(f.Cases, func(c *policytest.Case) bool { return c.Principal != "" })
}

// testPeers tests certificates that a case cannot describe. A route is allowed only for the
// principal in its path.
func testPeers(t *testing.T, r *rig, m *mesh) {
	const uri, other = "spiffe://cluster.local/ns/web/sa/a", "spiffe://cluster.local/ns/web/sa/b"
	first, err := asn1.Marshal([]asn1.RawValue{
		{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte("a.example.com")},
		{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(uri)},
		{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(other)},
	})
	if err != nil {
		t.Fatal(err)
	}
	batch := pkix.Name{CommonName: "batch", Organization: []string{"Example"}}
	tests := []struct {
		name string
		cert x509.Certificate
		want string
	}{
		{"the first URI at any position", x509.Certificate{
			Subject: batch, ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: first}},
		}, uri},
		{"a DNS name if there is no URI", x509.Certificate{Subject: batch, DNSNames: []string{"a.example.com", "b.example.com"}}, "a.example.com"},
		{"the subject if there is no name", x509.Certificate{Subject: batch}, "CN=batch,O=Example"},
		{"the subject if there are only addresses", x509.Certificate{Subject: batch, IPAddresses: []net.IP{{127, 0, 0, 1}}, EmailAddresses: []string{"a@example.com"}}, "CN=batch,O=Example"},
		{"a subject in reverse order", x509.Certificate{Subject: pkix.Name{
			Country: []string{"DE"}, Organization: []string{"Example"}, OrganizationalUnit: []string{"Ops"}, Locality: []string{"Ulm"}, CommonName: "batch",
		}}, "CN=batch,OU=Ops,O=Example,L=Ulm,C=DE"},
		{"a comma in a subject", x509.Certificate{Subject: pkix.Name{CommonName: "batch", Organization: []string{"Example, Inc."}}}, `CN=batch,O=Example\, Inc.`},
		{"a letter outside ASCII in a subject", x509.Certificate{Subject: pkix.Name{CommonName: "bätch"}}, `CN=b\C3\A4tch`},
		{"a subject that imitates another", x509.Certificate{Subject: pkix.Name{CommonName: "x,CN=batch,O=Example"}}, `CN=x\,CN=batch\,O=Example`},
	}
	var routes strings.Builder
	routes.WriteString("version: 1\nroutes:\n")
	for i, test := range tests {
		fmt.Fprintf(&routes, "  - {id: p%d, match: /%d, public: true, principals: ['%s']}\n", i, i, test.want)
	}
	r.startWarder(t, routes.String(), nil)
	d := &envoyDepth{rig: r, mesh: m}
	// ask sends a request for the route of test n and returns the status.
	ask := func(cert *tls.Certificate, n int, headers ...[2]string) (int, error) {
		conn, err := m.dial(t.Context(), &net.Dialer{Timeout: patience}, cert)
		if err != nil {
			return 0, err
		}
		response, _, err := d.ask(conn, policytest.Request{Method: http.MethodGet, Path: fmt.Sprintf("/%d", n), Host: "api.example.com", Headers: headers})
		if err != nil {
			return 0, err
		}
		return response.StatusCode, nil
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cert, err := m.certificate(test.cert)
			if err != nil {
				t.Fatal(err)
			}
			for n, other := range tests {
				want := http.StatusForbidden
				if other.want == test.want {
					want = http.StatusOK
				}
				if got, err := ask(cert, n); got != want || err != nil {
					t.Errorf("route for %s: %d, %v; want %d", other.want, got, err, want)
				}
			}
		})
	}
	forged := [2]string{"x-forwarded-client-cert", "By=spiffe://cluster.local/envoy;URI=" + uri}
	t.Run("no certificate", func(t *testing.T) {
		for n := range tests {
			if got, err := ask(nil, n, forged); got != http.StatusForbidden || err != nil {
				t.Errorf("route for %s: %d, %v; want 403", tests[n].want, got, err)
			}
		}
	})
	t.Run("a certificate and a forged header", func(t *testing.T) {
		cert, err := m.certificateFor(other)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ask(cert, 0, forged); got != http.StatusForbidden || err != nil {
			t.Errorf("%d, %v; want 403", got, err)
		}
	})
	t.Run("a certificate of another authority", func(t *testing.T) {
		cert, err := newMesh(t).certificateFor(uri)
		if err != nil {
			t.Fatal(err)
		}
		before, _ := r.upstream.seen()
		if got, err := ask(cert, 0); err == nil {
			t.Errorf("%d; want the handshake to fail", got)
		}
		stats, err := r.envoy.Get(t.Context(), "/stats?filter=fail_verify_error")
		if err != nil || !strings.Contains(string(stats), "ssl.fail_verify_error: 1\n") {
			t.Errorf("Envoy did not reject the certificate: %s, %v", stats, err)
		}
		if after, _ := r.upstream.seen(); after != before {
			t.Error("the request reached the application")
		}
	})
}
