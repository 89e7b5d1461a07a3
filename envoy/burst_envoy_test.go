package envoy

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"warder/authz"
)

// TestEnvoyBurst sends 2000 requests at once through an Envoy that has just connected and does
// not know warder's limits yet. The Envoy lets a request through if its check gets no answer.
// The test expects that it lets none through.
func TestEnvoyBurst(t *testing.T) {
	t.Parallel()
	const requests = 2000
	const cluster = "static_resources/clusters/1/"
	const http2 = cluster + "typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions/explicit_http_config/http2_protocol_options"
	for name, options := range map[string]map[string]any{
		"as shipped":                          nil,
		"without bound":                       {},
		"with more streams than warder takes": {"max_concurrent_streams": 100_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Checks take so long that all of them are in flight at the same time.
			slow := decider(func(ctx context.Context, _ *authz.Request) authz.Decision {
				<-ctx.Done()
				return authz.Deny(authz.ReasonCredentialsMissing)
			})
			b := newBench(t, Config{Decider: slow}, func(o *ConfigOptions) { o.FailureModeAllow = true }, func(config *tree) {
				if options != nil {
					config.set(http2, options)
				}
				// The test must not depend on the speed of the machine.
				config.set(cluster+"connect_timeout", "60s")
				config.set("static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/1/typed_config/grpc_service/timeout", "60s")
			})
			conns := make([]net.Conn, requests)
			for i := range conns {
				conn, err := net.Dial("tcp", b.address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
				conns[i] = conn
			}
			var all sync.WaitGroup
			var mu sync.Mutex
			statuses := map[string]int{}
			for _, conn := range conns {
				all.Go(func() {
					_, _ = io.WriteString(conn, "GET /users/x HTTP/1.1\r\nhost: api.example.com\r\nconnection: close\r\n\r\n")
					text, err := io.ReadAll(conn)
					line, _, found := strings.Cut(string(text), "\r\n")
					if !found {
						line = fmt.Sprint(err)
					}
					mu.Lock()
					defer mu.Unlock()
					statuses[line]++
				})
			}
			all.Wait()
			// A check that waited longer than its deadline for the CPU is overloaded.
			denied := statuses["HTTP/1.1 401 Unauthorized"] + statuses["HTTP/1.1 503 Service Unavailable"]
			if _, hits := b.seen(); hits > 0 || denied != requests || statuses["HTTP/1.1 401 Unauthorized"] == 0 {
				t.Errorf("%d requests reached the upstream; %v", hits, statuses)
			}
		})
	}
}
