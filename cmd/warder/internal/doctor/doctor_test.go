package doctor

import (
	"strings"
	"testing"
	"time"

	"warder/authz"
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
