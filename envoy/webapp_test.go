package envoy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	grpcmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// longAgo is longer than the 15 s that Envoy uses for routes without a timeout.
const longAgo = 16 * time.Second

// startWebApp runs a FastAPI application until the test ends, and returns its address.
func startWebApp(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "../.tools/venv/bin/python", "testdata/fastapi/app.py")
	cmd.SysProcAttr = processAttributes()
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v; run make tools", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strings.TrimSpace(port))
}

// shippedEnvoys runs a warder and an Envoy with each shipped configuration in front of the
// application, whose gRPC is on another port. It returns the addresses of the Envoys.
func shippedEnvoys(t *testing.T, app, appGRPC string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	writeCertificates(t, dir)
	certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, name := range []string{"sidecar.yaml", "service.yaml"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var secure credentials.TransportCredentials
		if name == "service.yaml" {
			secure = credentials.NewServerTLSFromCert(&certificate)
		}
		warder := NewGRPCServer(newTestServer(t, Config{}), nil, secure)
		warder.SetServing(true)
		go func() { _ = warder.Serve(l) }()
		t.Cleanup(warder.Stop)
		var root any
		if err := yaml.Unmarshal(bytes.ReplaceAll(readConfig(t, name), []byte("/etc/envoy/tls/"), []byte(dir+"/")), &root); err != nil {
			t.Fatal(err)
		}
		config := &tree{root: root}
		config.set("static_resources/listeners/0/address", config.address("Listen", "127.0.0.1:0"))
		config.set("admin/address", config.address("Admin", "127.0.0.1:0"))
		for i, address := range []string{app, l.Addr().String(), appGRPC} {
			config.set(fmt.Sprintf("static_resources/clusters/%d/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address", i), config.address("Upstream", address))
		}
		text, err := json.Marshal(config.root)
		if err != nil || len(config.problems) > 0 {
			t.Fatal(err, config.problems)
		}
		all[name] = startEnvoy(t, text)
	}
	return all
}

// TestWebApplication tests that an ordinary web application works behind each shipped
// configuration.
func TestWebApplication(t *testing.T) {
	t.Parallel()
	appGRPC := grpc.NewServer()
	watched := health.NewServer()
	healthpb.RegisterHealthServer(appGRPC, watched)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = appGRPC.Serve(l) }()
	t.Cleanup(appGRPC.Stop)
	for name, address := range shippedEnvoys(t, startWebApp(t), l.Addr().String()) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
			t.Cleanup(client.CloseIdleConnections)
			w := webClient{base: "http://" + address, address: address, authorization: bearer(t), client: client}
			for name, test := range map[string]func(*testing.T, webClient){
				"requests": testRequests, "upload": testUpload, "slow": testSlow, "events": testEvents, "websocket": testWebsocket, "HTTP/1.0": testHTTP10, "gRPC": testGRPC, "gRPC-Web": testGRPCWeb,
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					test(t, w)
				})
			}
		})
	}
}

// A webClient asks the application through Envoy.
type webClient struct {
	base, address, authorization string
	client                       *http.Client
}

// do sends a request with a session and returns the response.
func (w webClient) do(t *testing.T, method, path string, body io.Reader, headers ...string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, w.base+path, body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", w.authorization)
	for i := 0; i < len(headers); i += 2 {
		request.Header[headers[i]] = []string{headers[i+1]}
	}
	response, err := w.client.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return response, string(text)
}

func testRequests(t *testing.T, w webClient) {
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		response, body := w.do(t, method, "/users/echo", nil)
		if response.StatusCode != 200 || method != "HEAD" && !strings.Contains(body, `"user":"42"`) {
			t.Errorf("%s: %d %s", method, response.StatusCode, body)
		}
	}
	if response, body := w.do(t, "GET", "/users/redirect", nil); response.StatusCode != 200 || response.Request.URL.Path != "/users/echo" {
		t.Errorf("redirect: %d %s", response.StatusCode, body)
	}
	// Many headers of 1000 bytes: 57 KB.
	var many []string
	for i := range 57 {
		many = append(many, fmt.Sprintf("X-Many-%d", i), strings.Repeat("x", 1000))
	}
	if response, body := w.do(t, "GET", "/users/echo", nil, many...); response.StatusCode != 200 {
		t.Errorf("57 KB of headers: %d %s", response.StatusCode, body)
	}
	if response, _ := w.do(t, "GET", "/users/large-headers", nil); response.StatusCode != 200 || len(response.Header.Get("X-Large-11")) != 4000 {
		t.Errorf("48 KB of headers of an answer: %d", response.StatusCode)
	}
	response, body := w.do(t, "GET", "/users/echo", nil, "ot-baggage-sentry-trace_id", "1")
	if response.StatusCode != 200 || strings.Contains(body, "trace_id") {
		t.Errorf("a header with an underscore: %d %s", response.StatusCode, body)
	}
	response, body = w.do(t, "POST", "/users/echo", strings.NewReader("expected"), "Expect", "100-continue")
	if response.StatusCode != 200 || !strings.Contains(body, `"size":8`) {
		t.Errorf("Expect: 100-continue: %d %s", response.StatusCode, body)
	}
}

func testUpload(t *testing.T, w webClient) {
	const size = 100 << 20
	sum := sha256.New()
	_, _ = io.CopyN(sum, zeros{}, size)
	// A reader of unknown length is sent in chunks.
	response, body := w.do(t, "PUT", "/users/echo", io.LimitReader(zeros{}, size))
	if response.StatusCode != 200 || !strings.Contains(body, fmt.Sprintf(`"sha256":"%x"`, sum.Sum(nil))) {
		t.Errorf("100 MB: %d %s", response.StatusCode, body)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func testSlow(t *testing.T, w webClient) {
	if response, body := w.do(t, "GET", fmt.Sprintf("/users/slow?seconds=%v", longAgo.Seconds()), nil); response.StatusCode != 200 {
		t.Errorf("a slow answer: %d %s", response.StatusCode, body)
	}
}

func testEvents(t *testing.T, w webClient) {
	response, body := w.do(t, "GET", fmt.Sprintf("/users/events?count=4&pause=%v", longAgo.Seconds()/3), nil)
	if response.StatusCode != 200 || !strings.Contains(body, "data: 3") {
		t.Errorf("events: %d %s", response.StatusCode, body)
	}
}

// testWebsocket tests that the upgrade is checked and that an open websocket stays open.
func testWebsocket(t *testing.T, w webClient) {
	dial := func(lines string) (net.Conn, *bufio.Reader, *http.Response) {
		conn, err := net.Dial("tcp", w.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(conn, "GET /users/socket HTTP/1.1\r\nHost: api.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+lines+"\r\n")
		r := bufio.NewReader(conn)
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		return conn, r, response
	}
	if _, _, response := dial(""); response.StatusCode != 401 {
		t.Errorf("a websocket without a session: %d", response.StatusCode)
	}
	conn, r, response := dial("Authorization: " + w.authorization + "\r\n")
	if response.StatusCode != 101 {
		t.Fatalf("a websocket with a session: %d", response.StatusCode)
	}
	for _, pause := range []time.Duration{0, longAgo} {
		time.Sleep(pause)
		// A final text frame of 2 bytes, masked with zeros; the answer is not masked.
		_, _ = conn.Write([]byte{0x81, 0x82, 0, 0, 0, 0, 'h', 'i'})
		frame := make([]byte, 2+len("42: hi"))
		if _, err := io.ReadFull(r, frame); err != nil || string(frame[2:]) != "42: hi" {
			t.Fatalf("a message after %v: %q %v", pause, frame, err)
		}
	}
}

// testHTTP10 sends health checks as load balancers do, over HTTP/1.0 with and without Host.
func testHTTP10(t *testing.T, w webClient) {
	for _, host := range []string{"", "Host: api.example.com\r\n"} {
		conn, err := net.Dial("tcp", w.address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(conn, "GET /public/health HTTP/1.0\r\n"+host+"\r\n")
		all, err := io.ReadAll(conn)
		_ = conn.Close()
		if err != nil || !bytes.Contains(all, []byte(" 200 OK")) {
			t.Errorf("HTTP/1.0 with %q: %v %s", host, err, all)
		}
	}
}

func testGRPC(t *testing.T, w webClient) {
	conn, err := grpc.NewClient(w.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := healthpb.NewHealthClient(conn)
	if _, err := c.Check(t.Context(), &healthpb.HealthCheckRequest{}); status.Code(err) != codes.Unauthenticated || status.Convert(err).Message() != "Authentication required." {
		t.Errorf("a call without a session: %v", err)
	}
	ctx, cancel := context.WithCancel(grpcmetadata.AppendToOutgoingContext(t.Context(), "authorization", w.authorization))
	defer cancel()
	if r, err := c.Check(ctx, &healthpb.HealthCheckRequest{}); err != nil || r.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("a call: %v %v", r, err)
	}
	stream, err := c.Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatalf("a stream: %v", err)
	}
	// The stream is quiet for longer than a route without its own timeout would allow.
	quiet := make(chan error, 1)
	go func() {
		_, err := stream.Recv()
		quiet <- err
	}()
	select {
	case err := <-quiet:
		t.Errorf("a quiet stream ended: %v", err)
	case <-time.After(longAgo):
	}
}

func testGRPCWeb(t *testing.T, w webClient) {
	response, body := w.do(t, "POST", "/grpc.health.v1.Health/Check", strings.NewReader("\x00\x00\x00\x00\x00"), "Content-Type", "application/grpc-web+proto")
	if response.StatusCode != 200 || !strings.Contains(body, "\x08\x01") || !strings.Contains(body, "grpc-status:0") {
		t.Errorf("gRPC-Web: %d %v %q", response.StatusCode, response.Header, body)
	}
}
