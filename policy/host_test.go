package policy_test

import (
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"warder/policy"
)

// TestValidHost: one row a kind. The decision corpus has more, through every door.
func TestValidHost(t *testing.T) {
	t.Parallel()
	name253 := strings.Repeat(strings.Repeat("a", 61)+".", 4) + "aaaaa"
	for _, test := range []struct {
		hosts []string
		valid bool
	}{
		{[]string{"a", "A-1", "my_app", "_", "api.example.com", "API.Example.COM.", "xn--mnchen-3ya.example", "-a-.b", "1.2.3.4.test", "0x7f.test", "1a", "a.1b", "0xg"}, true},
		{[]string{strings.Repeat("a", 63), name253, name253 + ".", name253 + ".:65535"}, true},
		{[]string{"a:", "a:1", "a:65535", "a:00080", "a.:80", "[::1]:", "192.0.2.7:8080"}, true},
		{[]string{"0.0.0.0", "127.0.0.1", "255.255.255.255", "[::]", "[::1]", "[2001:DB8::1]", "[1:2:3:4:5:6:7:8]", "[::ffff:192.0.2.7]"}, true},

		{[]string{"", ".", "..", "a..", "a..b", ".a", ":80", ":", ".:80"}, false},
		{[]string{strings.Repeat("a", 64), "b." + strings.Repeat("a", 64), name253 + "a", "a." + name253, strings.Repeat("a.", 200)}, false},
		{[]string{"a:0", "a:00000", "a:65536", "a:99999", "a:000080", "a:x", "a:80x", "a:+80", "a:-1", "a: 80", "a:80:80", "a:80:", "a::80", "a:８０"}, false},
		{[]string{"user@a", "u:p@a", "@a", "a@", "a,b", "a, b", "a b", " a", "a ", "a\tb", "a\x00", "a\n", "a\r\nb", "a/", "/a", "a?", "a#", "a\\b", "a;b", "a'b", "a\"b", "a%41", "a%2e", "a*", "*.a", "a+b", "a=b", "a&b", "a~b", "a!b", "a(b)", "a{b}", "a|b", "a^b", "a`b", "a<b>", "http://a"}, false},
		{[]string{"ä", "a\xff", "a\u212Aom", "a\uff0eb", "a\u3002b", "\u00adexample.com"}, false},
		{[]string{"[a]", "[]", "[", "]", "[::1", "::1]", "::1", "2001:db8::1", "[::1]x", "x[::1]", "[::1].", "[::1]]", "[[::1]]", "[::1%eth0]", "[::1%25eth0]", "[127.0.0.1]", "[v1.a]", "[1:2:3:4:5:6:7]", "[12345::]", "[::1]:x", "[::1]:0", "[::1]80", "[ ::1]"}, false},
		{[]string{"1", "0", "127.1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.256", "01.2.3.4", "127.000.000.001", "0177.0.0.1", "2130706433", "4294967296", "0x7f.1", "0X7F000001", "0x", "a.0x", "a.1", "1.", "127.0.0.1.", "127.0.0.1..", "127.1.:80", "a.0x1F", "0x7f.0x0.0x0.0x1"}, false},
	} {
		for _, host := range test.hosts {
			if got := policy.ValidHost(host); got != test.valid {
				t.Errorf("%q is a host: %v, want %v", host, got, test.valid)
			}
		}
	}
}

// TestHostBytes: of all bytes only those of labels stand in a name, wherever.
func TestHostBytes(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		b := string([]byte{byte(c)})
		label := strings.Contains("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", b)
		for host, want := range map[string]bool{
			"api" + b + "example.com": label || b == ".",
			b + "api.example.com":     label,
			"api.example.com" + b:     label || b == "." || b == ":",
			"api.example.com:8" + b:   '0' <= c && c <= '9',
			"192.0.2.7" + b:           label || b == ":",
			"[::1" + b + "]":          strings.Contains("0123456789abcdefABCDEF", b),
			"[::1]" + b:               b == ":",
		} {
			if got := policy.ValidHost(host); got != want {
				t.Errorf("%q is a host: %v, want %v", host, got, want)
			}
		}
	}
}

var (
	nameForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?$`)
	lastForm = regexp.MustCompile(`(^|\.)([0-9]+|0[xX][0-9A-Fa-f]*)\.?$`)
	v4Form   = regexp.MustCompile(`^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(\.|$)){4}$`)
	v6Form   = regexp.MustCompile(`^\[[0-9A-Fa-f:.]+\]$`)
	hostPort = regexp.MustCompile(`^(.*?)(:[0-9]{0,5})?$`)
)

// isHost says once more, in another way, what a host is.
func isHost(text string) bool {
	if strings.ContainsAny(text, "\r\n") {
		return false
	}
	m := hostPort.FindStringSubmatch(text)
	if m == nil {
		return false
	}
	if port := strings.TrimPrefix(m[2], ":"); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return false
		}
	}
	switch host := m[1]; {
	case v6Form.MatchString(host):
		addr, err := netip.ParseAddr(host[1 : len(host)-1])
		return err == nil && addr.Is6()
	case v4Form.MatchString(host) && !strings.HasSuffix(host, "."):
		return true
	default:
		return nameForm.MatchString(host) && len(strings.TrimSuffix(host, ".")) <= 253 && !lastForm.MatchString(host)
	}
}

// FuzzHost: what is a host is what the grammar above says, other readers find the same
// host in it, and what is none has no route.
func FuzzHost(f *testing.F) {
	for _, seed := range []string{
		"api.example.com", "API.example.com.:443", "user@api.example.com", "evil,api.example.com", "a:80:80", "a/", "a?", "a..", "[a]", "a:x", "::1", "[::1]:80",
		"[fe80::1%25eth0]", "127.0.0.1", "127.1", "1.2.3.4.5", "0x7f.1", "a:0", "a:65536", "", ".", ":", "[2001:DB8:0::1]", "a.0x", "my_app", "a\u212A", "0177.0.0.1.",
	} {
		f.Add(seed)
	}
	all := compile(f, `{id: exact, match: {hosts: [api.example.com], paths: ["/**"]}, public: true}`, `{id: six, match: {hosts: ["[2001:db8::1]"], paths: ["/**"]}, public: true}`, `{id: any, match: "/**", public: true}`)
	path := pathOf(f, "/x")
	f.Fuzz(func(t *testing.T, host string) {
		valid := policy.ValidHost(host)
		if want := isHost(host); valid != want {
			t.Fatalf("%q is a host: %v, want %v", host, valid, want)
		}
		route := all.Match("GET", host, path)
		if host != "" && valid != (route != nil) {
			t.Fatalf("%q is a host: %v, and matches %v", host, valid, route)
		}
		if !valid {
			return
		}
		u, err := url.Parse("http://" + host + "/x")
		if err != nil || u.User != nil || u.Path != "/x" || u.RawQuery != "" {
			t.Fatalf("%q is read as %+v by others: %v", host, u, err)
		}
		name := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
		want := "any"
		if addr, err := netip.ParseAddr(name); err == nil && addr == netip.MustParseAddr("2001:db8::1") {
			want = "six"
		} else if name == "api.example.com" {
			want = "exact"
		}
		if route.ID != want {
			t.Errorf("%q matches %s, want %s", host, route.ID, want)
		}
	})
}
