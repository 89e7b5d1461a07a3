package envoy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestEnvoyFullHeaders: a client that sends as many headers as Envoy takes, or as large ones,
// gets an answer that is about what it sent, whatever warder adds: 200, 400 or 431.
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

func different(n int) (lines []string) {
	for i := range n {
		lines = append(lines, fmt.Sprintf("x-a%d: b", i))
	}
	return lines
}

// TestLimitsOfConfigs: warder's defaults are the limits of the shipped configurations.
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
