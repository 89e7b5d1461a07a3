package envoy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestEnvoyFullHeaders sends as many headers as Envoy accepts, or headers as large. The
// response must be about what the client sent, whatever warder adds: 200, 400 or 431.
func TestEnvoyFullHeaders(t *testing.T) {
	t.Parallel()
	authorization := "authorization: " + bearer(t)
	for _, limits := range []struct{ count, kb int }{{0, 0}, {60, 20}} { // 0: those of the shipped configuration
		b := newBench(t, Config{MaxHeaders: limits.count, MaxHeaderKB: limits.kb}, nil, func(t *tree) {
			const manager = "static_resources/listeners/0/filter_chains/0/filters/0/typed_config/"
			if limits.count > 0 {
				t.set(manager+"common_http_protocol_options/max_headers_count", limits.count)
				t.set(manager+"max_request_headers_kb", limits.kb)
			}
		})
		count, bytes := limits.count, limits.kb<<10
		if count == 0 {
			count, bytes = DefaultMaxHeaders, DefaultMaxHeaderKB<<10
		}
		for path, line := range map[string]string{
			"/public/x": "x-a: b", "/open/x": "x-a: b", "/users/x": authorization, "/keys/x": "x-api-key: " + adaKey, "/watched/x": "x-a: b",
		} {
			t.Run(fmt.Sprint(count, path), func(t *testing.T) {
				t.Parallel()
				seen := map[int]int{}
				ask := func(fits bool, what string, lines ...string) {
					response, body := b.send(t, "GET", path, append(lines, line)...)
					status := response.StatusCode
					seen[status]++
					if status != 200 && status != 400 && status != 431 || fits && status != 200 {
						t.Errorf("%s: %d %s", what, status, body)
					}
				}
				removed := []string{"x-original-url: /", "x-http-method: GET", "x-original.url: /"}
				for n := count - 16; n <= count; n++ {
					ask(n == count-16, fmt.Sprint(n, " fields of one name"), slices.Repeat([]string{"x-a: b"}, n)...)
					ask(n == count-16, fmt.Sprint(n, " fields"), append(different(n-len(removed)), removed...)...)
				}
				for size := bytes - 1200; size < bytes+20; size += 61 {
					ask(size == bytes-1200, fmt.Sprint(size, " bytes"), "x-a: "+strings.Repeat("b", size))
				}
				if seen[200] == 0 || seen[400] == 0 || seen[431] == 0 {
					t.Errorf("%v: not every kind of answer is met", seen)
				}
			})
		}
	}
}

// TestEnvoyHosts sends hosts that real clients can write, on a public route for any host.
func TestEnvoyHosts(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{}, nil, nil)
	for _, test := range []struct {
		head   string // the request line and the Host fields
		status int
	}{
		{"GET /public/x HTTP/1.1\r\nHost: api.example.com", 200},
		{"GET /public/x HTTP/1.1\r\nHost: API.example.com.:8443", 200},
		{"GET /public/x HTTP/1.1\r\nHost: [::1]:80", 200},
		{"GET http://api.example.com/public/x HTTP/1.1\r\nHost: other.test", 200},
		{"GET /public/x HTTP/1.0", 200}, // Envoy sets the host to localhost
		{"GET /public/x HTTP/1.0\r\nHost: a", 200},
		{"GET /public/x HTTP/1.1", 400},
		{"GET /public/x HTTP/1.1\r\nHost:", 400},
		{"GET /public/x HTTP/1.0\r\nHost: ", 400},
		{"GET /public/x HTTP/1.1\r\nHost: :80", 400},
		{"GET /public/x HTTP/1.1\r\nHost: user@api.example.com", 400},
		{"GET /public/x HTTP/1.1\r\nHost: evil.test,api.example.com", 400},
		{"GET /public/x HTTP/1.1\r\nHost: evil.test\r\nHost: api.example.com", 400},
		{"GET /public/x HTTP/1.1\r\nHost: api.example.com:80:80", 400},
		{"GET /public/x HTTP/1.1\r\nHost: api.example.com/", 400},
		{"GET /public/x HTTP/1.1\r\nHost: api.example.com..", 400},
		{"GET /public/x HTTP/1.1\r\nHost: [api.example.com]", 400},
		{"GET /public/x HTTP/1.1\r\nHost: ::1", 400},
		{"GET /public/x HTTP/1.1\r\nHost: 127.1", 400},
		{"GET http://api.example.com:80:80/public/x HTTP/1.1\r\nHost: a", 400},
		{"GET http://0x7f.1/public/x HTTP/1.1\r\nHost: a", 400},
	} {
		_, before := b.seen()
		status := b.exchange(t, test.head+"\r\nConnection: close\r\n\r\n")
		if _, after := b.seen(); status != test.status || (after > before) != (status == 200) {
			t.Errorf("%q: %d with %d hits, want %d", test.head, status, after-before, test.status)
		}
	}
}

// exchange sends a text and returns the status of the response.
func (b *bench) exchange(t *testing.T, text string) int {
	t.Helper()
	conn, err := net.Dial("tcp", b.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func different(n int) (lines []string) {
	for i := range n {
		lines = append(lines, fmt.Sprintf("x-a%d: b", i))
	}
	return lines
}

// TestLimitsOfConfigs tests that warder's defaults are the limits in the shipped
// configurations.
func TestLimitsOfConfigs(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"sidecar.yaml", "service.yaml"} {
		m := decode(t, readConfig(t, name)).manager
		count, kb := m.GetCommonHttpProtocolOptions().GetMaxHeadersCount().GetValue(), m.GetMaxRequestHeadersKb().GetValue()
		if count != DefaultMaxHeaders || kb != DefaultMaxHeaderKB {
			t.Errorf("%s: %d headers of %d KB, want %d and %d", name, count, kb, DefaultMaxHeaders, DefaultMaxHeaderKB)
		}
	}
}
