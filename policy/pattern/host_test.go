package pattern_test

import (
	"net/netip"
	"strings"
	"testing"

	"warder/policy/pattern"
)

func TestValidHost(t *testing.T) {
	t.Parallel()
	name63, name253 := strings.Repeat("a", 63), strings.Repeat("abcdefg.", 31)+"abcde"
	for _, c := range []struct {
		want bool
		host string
	}{
		{true, ""},
		{true, "api.example.com"}, {true, "API.Example.COM"}, {true, "api.example.com."}, {true, "api.example.com.:443"},
		{true, "a"}, {true, "a_b"}, {true, "_dmarc.a"}, {true, "xn--nxasmq6b.test"}, {true, "1.2.3.a"}, {true, "0xyz"}, {true, "1a"},
		{true, name63 + ".a"}, {true, name253}, {true, name253 + "."}, {true, name253 + ".:65535"},
		{true, "a:"}, {true, "a:0"}, {true, "a:65535"}, {true, "a:00080"},
		{true, "127.0.0.1"}, {true, "127.0.0.1:80"}, {true, "127.0.0.1."},
		{true, "[::1]"}, {true, "[::1]:80"}, {true, "[::1]:"}, {true, "[::ffff:1.2.3.4]"}, {true, "[2001:DB8::1]"},

		{false, "."}, {false, ".."}, {false, ":"}, {false, ":80"}, {false, ".a"}, {false, "a.."}, {false, "a..b"}, {false, "a....."}, {false, ".:80"},
		{false, "a:x"}, {false, "a:80:80"}, {false, "a:80."}, {false, "a:-1"}, {false, "a:+1"}, {false, "a: 80"}, {false, "a:65536"}, {false, "a:99999999999999999999"}, {false, "a:0x50"},
		{false, name63 + "a"}, {false, name63 + "a.b"}, {false, "b." + name63 + "a"}, {false, name253 + "f"},
		{false, "256.0.0.1"}, {false, "1.2.3"}, {false, "1.2.3.4.5"}, {false, "127.1"}, {false, "2130706433"}, {false, "0177.0.0.1"}, {false, "0x7f.0.0.1"}, {false, "127.0.0.0x1"}, {false, "0x7F000001"}, {false, "0x"}, {false, "a.1"},
		{false, "::1"}, {false, "::"}, {false, "fe80::1:80"}, {false, "[::1"}, {false, "::1]"}, {false, "[]"}, {false, "["}, {false, "[a]"}, {false, "[127.0.0.1]"},
		{false, "[::1]a"}, {false, "[::1]."}, {false, "[::1]:x"}, {false, "[::1]:80:80"}, {false, "[[::1]]"}, {false, "[::1%lo]"}, {false, "[::1%25lo]"}, {false, "[v1.a]"}, {false, "a[::1]"},
	} {
		if got := pattern.ValidHost(c.host); got != c.want {
			t.Errorf("%q: %v, want %v", c.host, got, c.want)
		}
	}
	// A byte that is in no name is in no host, wherever it stands.
	for c := range 256 {
		b := string([]byte{byte(c)})
		if c == '-' || c == '_' || c == '.' || c == ':' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
			continue
		}
		for _, host := range []string{b, b + "a.test", "a" + b + "b.test", "a.test" + b, "a.test:80" + b, "a.test:" + b + "80", "[::1]" + b, "127.0.0.1" + b} {
			if pattern.ValidHost(host) {
				t.Errorf("%q is taken for a host", host)
			}
		}
	}
}

// FuzzHost: what is taken for a host is one to other readers, and matches as it is
// written in a pattern.
func FuzzHost(f *testing.F) {
	for _, host := range []string{"", "api.example.com:80", "[::1]:80", "user@a", "a,b", "127.1", "[fe80::1%25lo]", "a.."} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !pattern.ValidHost(host) || host == "" {
			return
		}
		if strings.ContainsAny(host, "@,/?#\\%*' \t\r\n") || strings.Count(host, ":") > 1 && host[0] != '[' {
			t.Fatalf("%q is taken for a host", host)
		}
		if text, _, closed := strings.Cut(strings.TrimPrefix(host, "["), "]"); closed {
			if addr, err := netip.ParseAddr(text); err != nil || !addr.Is6() {
				t.Fatalf("%q is taken for an address", host)
			}
		}
	})
}
