package envoy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

// TestBoundedWebsocket tests the settings that README gives for bounding websockets, with 1s in
// place of 900s. They must end a websocket through a real Envoy although it is in use.
func TestBoundedWebsocket(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(conn, buffered)
	}))
	t.Cleanup(app.Close)
	const manager = "static_resources/listeners/0/filter_chains/0/filters/0/typed_config/"
	for name, bound := range map[string]struct{ in, key, at string }{
		"one route":  {"(?m)^route: .*max_stream_duration.*$", "route", manager + "route_config/virtual_hosts/0/routes/0/route"},
		"all routes": {"(?m)common_http_protocol_options: {.*max_stream_duration.*$", "common_http_protocol_options", manager + "common_http_protocol_options"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(string(regexp.MustCompile(bound.in).Find(readme)), "max_stream_duration: 900s", "max_stream_duration: 1s", 1)
			var given map[string]any
			if err := yaml.Unmarshal([]byte(text), &given); err != nil || given[bound.key] == nil {
				t.Fatalf("README.md gives no %s: %q %v", bound.key, text, err)
			}
			b := newBench(t, Config{}, nil, func(config *tree) {
				config.set(bound.at, given[bound.key])
				config.set("static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address", config.address("Upstream", app.Listener.Addr().String()))
			})
			if open, err := websocket(t, b.address); open < 500*time.Millisecond || open > 10*time.Second {
				t.Errorf("the websocket ended after %v: %v", open, err)
			}
		})
	}
}

// websocket opens a websocket and keeps it in use. It returns how long the websocket lasted and
// how it ended.
func websocket(t *testing.T, address string) (time.Duration, error) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	begun := time.Now()
	_, _ = io.WriteString(conn, "GET /users/socket HTTP/1.1\r\nHost: api.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: "+bearer(t)+"\r\n\r\n")
	r := bufio.NewReader(conn)
	response, err := http.ReadResponse(r, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the upgrade: %v %v", response, err)
	}
	for {
		if _, err = conn.Write([]byte{'.'}); err == nil {
			_, err = r.ReadByte()
		}
		if err != nil {
			return time.Since(begun), err
		}
		time.Sleep(20 * time.Millisecond)
	}
}
