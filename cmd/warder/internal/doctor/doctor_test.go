package doctor

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"warder/authz"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
)

func TestSkew(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		skew time.Duration
		want status
		word string
	}{
		{0, good, "apart"},
		{time.Second, good, "apart"},
		{-time.Second, good, "apart"},
		{1500 * time.Millisecond, warning, "1.5s ahead of"},
		{-1500 * time.Millisecond, warning, "1.5s behind"},
		{6 * time.Second, broken, "6s ahead of"},
		{-time.Hour, broken, "1h0m0s behind"},
	} {
		r := &report{}
		r.skew("clock", "", tt.skew)
		if f := r.found[0]; f.Status != tt.want || !strings.Contains(f.Message, tt.word) {
			t.Errorf("%v: %s: %s", tt.skew, f.Status, f.Message)
		}
	}
}

func TestListeners(t *testing.T) {
	t.Parallel()
	tcp := func(a string) config.Address { return config.Address{Network: "tcp", Address: a} }
	secure := config.TLS{CertFile: "a", KeyFile: "b"}
	mutual := config.TLS{CertFile: "a", KeyFile: "b", ClientCAFile: "c"}
	c := config.Read("", func(string) (string, bool) { return "", false })
	for _, tt := range []struct {
		listen      config.Listen
		grpc, admin status
	}{
		{config.Listen{GRPC: tcp("127.0.0.1:1"), Admin: tcp("localhost:2")}, good, good},
		{config.Listen{GRPC: tcp("[::1]:1"), Admin: config.Address{Network: "unix", Address: "/run/a"}}, good, good},
		{config.Listen{GRPC: tcp("0.0.0.0:1"), Admin: tcp("127.0.0.1:2")}, warning, good},
		{config.Listen{GRPC: tcp(":1"), Admin: tcp(":2")}, warning, warning},
		{config.Listen{GRPC: tcp("10.0.0.1:1"), Admin: tcp("[::]:2"), TLS: secure}, warning, warning},
		{config.Listen{GRPC: tcp("10.0.0.1:1"), Admin: tcp("127.0.0.1:2"), TLS: mutual}, good, good},
	} {
		r := &report{config: c}
		r.examineListeners(tt.listen)
		if r.found[0].Status != tt.grpc || r.found[1].Status != tt.admin {
			t.Errorf("%+v: %+v", tt.listen, r.found)
		}
	}
}

// TestCertificates checks what is said of a listener's certificates, whose connection is tried too.
func TestCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	authority, old := clitest.NewAuthority(t, "authority"), clitest.NewAuthority(t, "old")
	write := func(name string, pem []byte) string { return clitest.WriteFile(t, dir, name, string(pem)) }
	issue := func(name string, notAfter time.Time) config.TLS {
		cert, key := authority.Issue(t, name, notAfter, "warder.internal")
		return config.TLS{CertFile: write(name+".crt", cert), KeyFile: write(name+".key", key)}
	}
	with := func(l config.TLS, ca []byte) config.TLS {
		l.ClientCAFile = write(fmt.Sprint(len(ca), ".ca"), ca)
		return l
	}
	now := time.Now()
	far, near, past := issue("far", now.Add(90*24*time.Hour)), issue("near", now.Add(3*24*time.Hour+time.Minute)), issue("past", now.Add(-time.Minute))
	for _, tt := range []struct {
		files   config.TLS
		want    []status
		message string
	}{
		{far, []status{good}, "for warder.internal, 127.0.0.1, is valid until "},
		{near, []status{warning}, "in 3 days; see to its renewal"},
		{past, []status{broken}, "so no connection succeeds; renew it"},
		{with(far, authority.PEM), []status{good, warning}, "the authority of clients, CN=authority, expires at "},
		{with(far, append(slices.Clone(authority.PEM), old.PEM...)), []status{good, warning, warning}, "the authority of clients, CN=old, expires at "},
		{config.TLS{CertFile: far.KeyFile}, []status{broken}, "contains no certificate in PEM"},
		{config.TLS{CertFile: dir + "/none"}, []status{broken}, "none cannot be read: no such file or directory"},
		{config.TLS{CertFile: far.CertFile, ClientCAFile: far.KeyFile}, []status{good, broken}, "contains no certificate in PEM"},
	} {
		r := &report{config: config.Read("", func(string) (string, bool) { return "", false })}
		r.examineCertificates(tt.files)
		var got []status
		var messages []string
		for _, f := range r.found {
			got, messages = append(got, f.Status), append(messages, f.Message)
		}
		if !slices.Equal(got, tt.want) || !strings.Contains(strings.Join(messages, "\n"), tt.message) {
			t.Errorf("%+v: %v %q, want %v, %s", tt.files, got, messages, tt.want, tt.message)
		}
	}

	// What doctor says is what a client of such a listener meets.
	for _, tt := range []struct {
		files config.TLS
		good  bool
	}{{far, true}, {near, true}, {past, false}} {
		server, err := config.LoadTLS(tt.files)
		if err != nil {
			t.Fatal(err)
		}
		listener, err := tls.Listen("tcp", "127.0.0.1:0", server)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if conn, err := listener.Accept(); err == nil {
				_ = conn.(*tls.Conn).Handshake()
				_ = conn.Close()
			}
		}()
		conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{RootCAs: authority.Pool(), ServerName: "warder.internal", NextProtos: []string{"h2"}})
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != tt.good {
			t.Errorf("%s: %v", tt.files.CertFile, err)
		}
		_ = listener.Close()
	}
	if _, err := config.LoadTLS(config.TLS{CertFile: far.CertFile, KeyFile: near.KeyFile}); err == nil {
		t.Error("the key of another certificate is accepted")
	}
}

// TestDecidedBy checks that each refusal of a credential that a configuration decides names a key
// of it.
func TestDecidedBy(t *testing.T) {
	t.Parallel()
	of := map[authz.Reason]string{}
	for _, reason := range authz.Reasons() {
		of[reason] = decidedBy(reason, "exp missing")
		name := reason.String()
		switch decides := strings.HasPrefix(name, "token_") || strings.HasPrefix(name, "user_") || strings.HasPrefix(name, "api_key_") || strings.HasSuffix(name, "_unavailable"); {
		case reason == authz.ReasonTokenMalformed, reason == authz.ReasonAPIKeyMalformed:
			if of[reason] != "" {
				t.Errorf("%s is decided by %s; the form of a credential is not configured", name, of[reason])
			}
		case decides && of[reason] == "":
			t.Errorf("no key of the configuration decides %s", name)
		}
	}
	if got := decidedBy(authz.ReasonTokenClaims, "iss other"); got != "jwt.issuer" {
		t.Errorf("iss: %s", got)
	}
	if got := decidedBy(authz.ReasonTokenClaims, "aud other"); got != "jwt.audiences" {
		t.Errorf("aud: %s", got)
	}
}
