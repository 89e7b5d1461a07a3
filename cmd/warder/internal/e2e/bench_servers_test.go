//go:build bench

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.yaml.in/yaml/v4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"warder/authz/authztest"
	"warder/envoy"
)

// The programs under measurement. make bench builds both in the same way.
const (
	warderBinary = repository + "/bin/warder"
	stockBinary  = repository + "/bin/stock"
)

// A contestant is a running authorization server.
type contestant struct {
	name  string // stock or warder
	addr  string // address of the gRPC listener
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // result of Wait, valid once ended is closed
}

// launch starts a program that ends with the test, and writes its standard error to a file.
// Standard output goes to stdout, or is discarded if stdout is nil.
func launch(t *testing.T, name string, stdout *os.File, args ...string) *contestant {
	t.Helper()
	path, err := filepath.Abs(args[0])
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := os.Create(filepath.Join(t.TempDir(), name+".stderr"))
	if err != nil {
		t.Fatal(err)
	}
	c := &contestant{name: name, cmd: exec.Command(path, args[1:]...), ended: make(chan struct{})}
	dieWithParent(c.cmd)
	c.cmd.Stderr = stderr
	if stdout != nil { // a nil *os.File would not be a nil io.Writer
		c.cmd.Stdout = stdout
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.ended)
	}()
	t.Cleanup(func() {
		c.stop()
		if t.Failed() {
			text, _ := os.ReadFile(stderr.Name())
			t.Logf("%s wrote:\n%s", name, tailOf(string(text), 4000))
		}
		stderr.Close()
	})
	return c
}

func (c *contestant) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // the process may have ended already
	select {
	case <-c.ended:
	case <-time.After(patience):
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
}

func startStock(t *testing.T) *contestant {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := launch(t, "stock", w, stockBinary)
	w.Close()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("the stock server printed no address: %v", err)
	}
	c.addr = strings.TrimSpace(line)
	return c
}

// startWarder starts warder with the stores of the benchmark. It logs denials, as by default, and
// discards the log.
func (b *bench) startWarder(t *testing.T, policy, consistency string) *contestant {
	t.Helper()
	addr, admin := authztest.FreeAddress(t), authztest.FreeAddress(t)
	c := launch(t, "warder", nil, warderBinary, "serve", "-c", b.warderConfig(t, t.TempDir(), addr, admin, policy, consistency))
	c.addr = addr
	waitFor(t, "warder to be ready", func() error {
		select {
		case <-c.ended:
			return fatal{fmt.Errorf("it ended: %w", c.err)}
		default:
		}
		return readyz(admin, io.Discard)
	})
	return c
}

// stall is the value of every timeout. A pause of the machine should cause a slow answer, not
// a different one.
const stall = 5 * time.Second

// warderConfig writes warder.yaml and the files that it names into dir.
func (b *bench) warderConfig(t *testing.T, dir, addr, admin, policy, consistency string) string {
	t.Helper()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text, err := yaml.Marshal(map[string]any{
		"listen":   map[string]any{"grpc": addr, "admin": admin},
		"policy":   write("policy.yaml", policy),
		"deadline": (stall - time.Second).String(),
		"jwt":      map[string]any{"keys": []any{map[string]any{"secret_file": write("jwt", benchSecret+"\n")}}},
		"sessions": map[string]any{
			"redis_url_file": write("redis", b.redis.URL()), "consistency": consistency, "timeout": (stall - 2*time.Second).String(),
		},
		"directory": map[string]any{
			"database_url_file": write("database", b.postgres.URL()), "max_staleness": "5s", "timeout": (stall - 2*time.Second).String(),
		},
		"shutdown": map[string]any{"delay": "0s"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return write("warder.yaml", string(text))
}

// unavailable returns why warder does not support a consistency, or "" if it does.
func (b *bench) unavailable(t *testing.T, consistency string) string {
	t.Helper()
	config := b.warderConfig(t, t.TempDir(), "127.0.0.1:9191", "127.0.0.1:9192", benchPolicy, consistency)
	out, err := exec.Command(warderBinary, "validate", "-c", config).CombinedOutput()
	if err == nil {
		return ""
	}
	for line := range strings.Lines(string(out)) {
		if _, problem, found := strings.Cut(line, "sessions.consistency: "); found {
			return strings.TrimSpace(problem)
		}
	}
	t.Fatalf("warder validate: %v\n%s", err, out)
	return ""
}

func (c *contestant) usage(t *testing.T) usage {
	t.Helper()
	return usageOf(t, c.cmd.Process.Pid)
}

// bytesCodec passes gRPC messages through unchanged, so that the size of a response on the wire is
// known.
type bytesCodec struct{}

func (bytesCodec) Name() string                       { return "proto" }
func (bytesCodec) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (bytesCodec) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }

// ask sends one CheckRequest with a real gRPC client. It returns the response and its size on the
// wire.
func ask(ctx context.Context, addr string, request []byte) (*authv3.CheckResponse, int, error) {
	conn, err := grpc.NewClient("passthrough:"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, stall)
	defer cancel()
	var answer []byte
	err = conn.Invoke(ctx, authv3.Authorization_Check_FullMethodName, &request, &answer, grpc.ForceCodec(bytesCodec{}))
	if err != nil {
		return nil, 0, err
	}
	response := new(authv3.CheckResponse)
	return response, len(answer), proto.Unmarshal(answer, response)
}

// expect sends one check to a contestant and requires a decision and a reason. Those of warder are
// in its dynamic metadata. The stock server must allow the request. expect returns the size of the
// response.
func (c *contestant) expect(t *testing.T, request []byte, decision, reason string) int {
	t.Helper()
	response, size, err := ask(t.Context(), c.addr, request)
	if err != nil {
		t.Fatalf("check of the %s server: %v", c.name, err)
	}
	got := "deny"
	if response.GetOkResponse() != nil && response.GetStatus().GetCode() == 0 {
		got = "allow"
	}
	if c.name == "stock" {
		decision, reason = "allow", ""
	}
	metadata := response.GetDynamicMetadata().GetFields()
	gotReason := metadata["reason"].GetStringValue()
	if got != decision || gotReason != reason || (reason != "" && metadata["decision"].GetStringValue() != decision) {
		t.Fatalf("the %s server answers %s %q, want %s %q", c.name, got, gotReason, decision, reason)
	}
	return size
}

// A proxy is a real Envoy with one worker. It sends a check to a contestant and then responds
// itself, so that no application is measured.
type proxy struct {
	*envoy.Process
	asks *contestant
}

// upstreamAnswer is the body of Envoy's response to an allowed request.
const upstreamAnswer = "hello\n"

func (b *bench) startProxy(t *testing.T, asks *contestant, config map[string]any) proxy {
	t.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	output, err := os.Create(filepath.Join(dir, "envoy.output")) // a file does not need a reader
	if err != nil {
		t.Fatal(err)
	}
	process, err := envoy.StartProcess(t.Context(), b.envoy, dir, text, output)
	if err != nil {
		written, _ := os.ReadFile(output.Name())
		t.Fatalf("%v\n%s", err, tailOf(string(written), 4000))
	}
	t.Cleanup(func() {
		process.Stop()
		output.Close()
	})
	return proxy{process, asks}
}

func directResponse() map[string]any {
	return map[string]any{
		"match":           map[string]any{"prefix": "/"},
		"direct_response": map[string]any{"status": http.StatusOK, "body": map[string]any{"inline_string": upstreamAnswer}},
	}
}

func grpcService(cluster string) map[string]any {
	return map[string]any{"envoy_grpc": map[string]any{"cluster_name": cluster}, "timeout": stallSeconds}
}

var stallSeconds = fmt.Sprintf("%gs", stall.Seconds())

// shippedProxy returns our sidecar.yaml as shipped, including the access log that warder writes.
// Only the response and the timeout of the check are changed.
func shippedProxy(t *testing.T, asks string) map[string]any {
	t.Helper()
	text, err := envoy.SidecarConfig(envoy.ConfigOptions{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Warder: asks})
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	manager := at(root, "static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config").(map[string]any)
	at(manager, "route_config", "virtual_hosts", 0).(map[string]any)["routes"] = []any{directResponse()}
	at(manager, "http_filters", 1, "typed_config", "grpc_service").(map[string]any)["timeout"] = stallSeconds
	return root
}

// at returns the element of decoded JSON at a path of keys and indexes.
func at(node any, steps ...any) any {
	for _, step := range steps {
		switch step := step.(type) {
		case string:
			node = node.(map[string]any)[step]
		case int:
			node = node.([]any)[step]
		}
	}
	return node
}

// plainProxy returns the minimal configuration that uses an authorization server: ext_authz
// with only the address of the server, and no access log.
func plainProxy(t *testing.T, asks string) map[string]any {
	t.Helper()
	typed := func(name, kind string, config map[string]any) map[string]any {
		full := map[string]any{"@type": "type.googleapis.com/" + kind}
		maps.Copy(full, config)
		return map[string]any{"name": name, "typed_config": full}
	}
	socket := func(addr string) map[string]any {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		return map[string]any{"socket_address": map[string]any{"address": host, "port_value": n}}
	}
	manager := typed("envoy.filters.network.http_connection_manager",
		"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", map[string]any{
			"stat_prefix": "ingress",
			"route_config": map[string]any{"virtual_hosts": []any{map[string]any{
				"name": "app", "domains": []any{"*"}, "routes": []any{directResponse()},
			}}},
			"http_filters": []any{
				typed("envoy.filters.http.ext_authz", "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", map[string]any{
					"transport_api_version": "V3", "grpc_service": grpcService("authz"),
				}),
				typed("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router", nil),
			},
		})
	cluster := map[string]any{
		"name": "authz", "type": "STATIC",
		"load_assignment": map[string]any{"cluster_name": "authz", "endpoints": []any{map[string]any{
			"lb_endpoints": []any{map[string]any{"endpoint": map[string]any{"address": socket(asks)}}},
		}}},
		"typed_extension_protocol_options": map[string]any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": map[string]any{
				"@type":                "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
				"explicit_http_config": map[string]any{"http2_protocol_options": map[string]any{}},
			},
		},
	}
	return map[string]any{
		"admin": map[string]any{"address": socket("127.0.0.1:0")},
		"static_resources": map[string]any{
			"listeners": []any{map[string]any{
				"name": "ingress", "address": socket("127.0.0.1:0"),
				"filter_chains": []any{map[string]any{"filters": []any{manager}}},
			}},
			"clusters": []any{cluster},
		},
	}
}

// counters returns the counters of the proxy's ext_authz filter.
func (p proxy) counters(t *testing.T) map[string]int {
	t.Helper()
	text, err := p.Get(t.Context(), "/stats?filter=ext_authz")
	if err != nil {
		t.Fatal(err)
	}
	counters, err := parseCounters(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return counters
}

// expect sends one request and requires a status. It returns the size of the body.
func (p proxy) expect(t *testing.T, headers [][2]string, status int) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.Listen+hotPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		request.Header.Set(h[0], h[1])
	}
	client := http.Client{Timeout: stall, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != status || (status == http.StatusOK && string(body) != upstreamAnswer) {
		t.Fatalf("Envoy with the %s server answers %d %q, want %d", p.asks.name, response.StatusCode, body, status)
	}
	return len(body)
}

// A recorder is an authorization server that keeps the CheckRequests of Envoy.
type recorder struct {
	authv3.UnimplementedAuthorizationServer
	asked chan *authv3.CheckRequest
}

func (r recorder) Check(_ context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	r.asked <- in
	return &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}}, nil
}

// record returns, for each set of headers, the encoded CheckRequest that a real Envoy with our
// configuration sends for a request of h2load.
func (b *bench) record(t *testing.T, sets map[string][][2]string) map[string][]byte {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := recorder{asked: make(chan *authv3.CheckRequest, 1)}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, r)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	asks := &contestant{name: "recording", addr: listener.Addr().String()}
	envoy := b.startProxy(t, asks, shippedProxy(t, asks.addr))
	defer envoy.Stop()

	recorded := map[string][]byte{}
	for name, headers := range sets {
		b.load(t, "http://"+envoy.Listen+hotPath, headers, "", 1, 1, 1)
		select {
		case in := <-r.asked:
			if recorded[name], err = proto.Marshal(in); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatal("Envoy sent no check")
		}
	}
	return recorded
}

// load runs h2load with n requests. It returns the summary and the sorted latencies. body is the
// file to send, or "" for a GET request.
func (b *bench) load(t *testing.T, url string, headers [][2]string, body string, clients, streams, n int) (loaded, []time.Duration) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "h2load.log")
	args := []string{"-c", strconv.Itoa(clients), "-m", strconv.Itoa(streams), "-n", strconv.Itoa(n), "--log-file", log}
	for _, h := range headers {
		args = append(args, "-H", h[0]+": "+h[1])
	}
	if body != "" {
		args = append(args, "-d", body)
	}
	ctx, cancel := context.WithTimeout(b.ctx, 10*b.benchTime+2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "h2load", append(args, url)...)
	dieWithParent(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("h2load: %v\n%s", errors.Join(err, ctx.Err()), out)
	}
	l, err := parseLoad(string(out))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	latencies, err := parseLatencies(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return l, slices.Clip(latencies)
}
