package config

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"warder/cmd/warder/internal/clitest"
)

func TestLoadTLSRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := clitest.NewAuthority(t, "ca")
	cert, key := ca.Issue(t, "a", time.Now().Add(time.Hour))
	_, other := ca.Issue(t, "b", time.Now().Add(time.Hour))
	good := TLS{CertFile: clitest.WriteFile(t, dir, "c", string(cert)), KeyFile: clitest.WriteFile(t, dir, "k", string(key)), ClientCAFile: clitest.WriteFile(t, dir, "ca", string(ca.PEM))}
	if _, err := LoadTLS(good); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want   string
		change func(*TLS)
	}{
		{"cannot be read: no such file", func(s *TLS) { s.CertFile = dir + "/gone" }},
		{"cannot be read: no such file", func(s *TLS) { s.KeyFile = dir + "/gone" }},
		{"cannot be read: no such file", func(s *TLS) { s.ClientCAFile = dir + "/gone" }},
		{"is a folder", func(s *TLS) { s.CertFile = dir }},
		{"are not a certificate and its key", func(s *TLS) { s.KeyFile = clitest.WriteFile(t, dir, "other", string(other)) }},
		{"are not a certificate and its key", func(s *TLS) { s.CertFile = clitest.WriteFile(t, dir, "empty", "") }},
		{"contains no certificate", func(s *TLS) { s.ClientCAFile = s.KeyFile }},
	} {
		s := good
		c.change(&s)
		if _, err := LoadTLS(s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("loadTLS: %v, want an error with %q", err, c.want)
		} else if strings.Contains(err.Error(), "PRIVATE") || bytes.Contains(key, []byte(err.Error())) {
			t.Errorf("the key is in the error: %v", err)
		}
	}
	if _, err := os.Stat(good.KeyFile); err != nil {
		t.Fatal(err)
	}
}
