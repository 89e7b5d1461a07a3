//go:build bench

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
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

// The programs under measurement, and the load generator. make bench builds them.
const (
	warderBinary = repository + "/bin/warder"
	stockBinary  = repository + "/bin/stock"
	loadBinary   = repository + "/bin/load"
)

// A contestant is a running authorization server.
type contestant struct {
	name  string // stock, warder or opa
	addr  string // address of the gRPC listener
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // result of Wait, valid once ended is closed
}

// launch starts a program that ends with the test, and writes its standard error to a file.
// Standard output goes to stdout, or is discarded if stdout is nil. The program gets the variables
// of env in addition.
func launch(t *testing.T, name string, stdout *os.File, env []string, args ...string) *contestant {
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
	c.cmd.Env = append(os.Environ(), env...)
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

func startStock(t *testing.T, env []string) *contestant {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := launch(t, "stock", w, env, stockBinary)
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
func (b *bench) startWarder(t *testing.T, policy, consistency string, env ...string) *contestant {
	t.Helper()
	addr, admin := authztest.FreeAddress(t), authztest.FreeAddress(t)
	c := launch(t, "warder", nil, env, warderBinary, "serve", "-c", b.warderConfig(t, t.TempDir(), addr, admin, policy, consistency))
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
			"database_url_file": write("database", b.postgres.URL()), "max_staleness": "10m", "timeout": (stall - 2*time.Second).String(),
		},
		"shutdown": map[string]any{"delay": "0s"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return write("warder.yaml", string(text))
}

func (c *contestant) usage(t *testing.T) usage {
	t.Helper()
	return usageOf(t, c.cmd.Process.Pid)
}

// bytesCodec passes gRPC messages through unchanged, so that a response is known as it was
// sent.
type bytesCodec struct{}

func (bytesCodec) Name() string                       { return "proto" }
func (bytesCodec) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (bytesCodec) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }

// ask sends one CheckRequest with a real gRPC client. It returns the response, decoded and as sent.
func ask(ctx context.Context, addr string, request []byte) (*authv3.CheckResponse, []byte, error) {
	conn, err := grpc.NewClient("passthrough:"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, stall)
	defer cancel()
	var answer []byte
	err = conn.Invoke(ctx, checkMethod, &request, &answer, grpc.ForceCodec(bytesCodec{}))
	if err != nil {
		return nil, nil, err
	}
	response := new(authv3.CheckResponse)
	return response, answer, proto.Unmarshal(answer, response)
}

const checkMethod = authv3.Authorization_Check_FullMethodName

// expect sends one check to a contestant and requires the answer of a subject. The reason of warder
// is in its dynamic metadata. The stock server must allow the request. expect returns the answer.
func (c *contestant) expect(t *testing.T, request []byte, of subject) []byte {
	t.Helper()
	response, answer, err := ask(t.Context(), c.addr, request)
	if err != nil {
		t.Fatalf("check of %s: %v", c.name, err)
	}
	allowed := response.GetOkResponse() != nil && response.GetStatus().GetCode() == 0
	reason := response.GetDynamicMetadata().GetFields()["reason"].GetStringValue()
	if allowed != (of.status == http.StatusOK) && c.name != "stock" || c.name == "stock" && !allowed || reason != of.reason {
		t.Fatalf("%s answers %v, want status %d for the reason %q", c.name, response, of.status, of.reason)
	}
	return answer
}

// A proxy is a real Envoy with one worker. It sends a check to a contestant and then responds
// itself, so that no application is measured.
type proxy struct {
	*envoy.Process
	asks string // name of the contestant
}

// upstreamAnswer is the body of Envoy's response to an allowed request.
const upstreamAnswer = "hello\n"

func (b *bench) startProxy(t *testing.T, asks string, config map[string]any) proxy {
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
	return sidecar(t, asks, "", func(string) bool { return true })
}

// quietProxy returns our sidecar.yaml without the access log that warder writes.
func quietProxy(t *testing.T, asks string) map[string]any {
	t.Helper()
	return sidecar(t, asks, "", func(log string) bool { return log != "envoy.access_loggers.http_grpc" })
}

// fileLogProxy returns our sidecar.yaml with a log that Envoy writes as JSON to a file, in place of
// the one that warder writes.
func fileLogProxy(t *testing.T, asks string) map[string]any {
	t.Helper()
	return sidecar(t, asks, filepath.Join(t.TempDir(), "access.json"), func(log string) bool { return log == "envoy.access_loggers.file" })
}

// sidecar returns our sidecar.yaml with those of its access logs that are to stay.
func sidecar(t *testing.T, asks, file string, stays func(log string) bool) map[string]any {
	t.Helper()
	text, err := envoy.SidecarConfig(envoy.ConfigOptions{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Warder: asks, AccessLog: file})
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	manager := at(root, "static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config").(map[string]any)
	at(manager, "route_config", "virtual_hosts", 0).(map[string]any)["routes"] = []any{directResponse()}
	for _, filter := range manager["http_filters"].([]any) {
		if at(filter, "name") == "envoy.filters.http.ext_authz" {
			at(filter, "typed_config", "grpc_service").(map[string]any)["timeout"] = stallSeconds
		}
	}
	logs := manager["access_log"].([]any)
	kept := slices.DeleteFunc(slices.Clone(logs), func(log any) bool { return !stays(at(log, "name").(string)) })
	if len(kept) == 0 || file+asks == "" {
		t.Fatalf("no access log of sidecar.yaml is left of %v", logs)
	}
	manager["access_log"] = kept
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
	root := minimal(t, typed("envoy.filters.http.ext_authz", "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", map[string]any{
		"transport_api_version": "V3", "grpc_service": grpcService("authz"),
	}))
	root["static_resources"].(map[string]any)["clusters"] = []any{map[string]any{
		"name": "authz", "type": "STATIC",
		"load_assignment": map[string]any{"cluster_name": "authz", "endpoints": []any{map[string]any{
			"lb_endpoints": []any{map[string]any{"endpoint": map[string]any{"address": socket(t, asks)}}},
		}}},
		"typed_extension_protocol_options": map[string]any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": map[string]any{
				"@type":                "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
				"explicit_http_config": map[string]any{"http2_protocol_options": map[string]any{}},
			},
		},
	}}
	return root
}

// jwtProxy returns a configuration in which Envoy verifies the token and requires a role of it,
// without an authorization server. It knows no sessions and no users.
func jwtProxy(t *testing.T, _ string) map[string]any {
	t.Helper()
	keys := fmt.Sprintf(`{"keys":[{"kty":"oct","alg":"HS256","k":"%s"}]}`, base64.RawURLEncoding.EncodeToString([]byte(benchSecret)))
	return minimal(t,
		typed("envoy.filters.http.jwt_authn", "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication", map[string]any{
			"providers": map[string]any{"app": map[string]any{
				"local_jwks": map[string]any{"inline_string": keys}, "forward": true, "payload_in_metadata": "payload",
			}},
			"rules": []any{map[string]any{"match": map[string]any{"prefix": "/"}, "requires": map[string]any{"provider_name": "app"}}},
		}),
		typed("envoy.filters.http.rbac", "envoy.extensions.filters.http.rbac.v3.RBAC", map[string]any{
			"rules": map[string]any{"action": "ALLOW", "policies": map[string]any{"audit": map[string]any{
				"permissions": []any{map[string]any{"url_path": map[string]any{"path": map[string]any{"prefix": "/api/v1/assets/"}}}},
				"principals": []any{map[string]any{"sourced_metadata": map[string]any{"metadata_matcher": map[string]any{
					"filter": "envoy.filters.http.jwt_authn", "path": []any{map[string]any{"key": "payload"}, map[string]any{"key": "role"}},
					"value": map[string]any{"string_match": map[string]any{"exact": "CONTROL"}},
				}}}},
			}}},
		}))
}

func typed(name, kind string, config map[string]any) map[string]any {
	full := map[string]any{"@type": "type.googleapis.com/" + kind}
	maps.Copy(full, config)
	return map[string]any{"name": name, "typed_config": full}
}

func socket(t *testing.T, addr string) map[string]any {
	t.Helper()
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

// minimal returns a configuration with filters before the router, and nothing else.
func minimal(t *testing.T, filters ...any) map[string]any {
	t.Helper()
	manager := typed("envoy.filters.network.http_connection_manager",
		"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", map[string]any{
			"stat_prefix": "ingress",
			"route_config": map[string]any{"virtual_hosts": []any{map[string]any{
				"name": "app", "domains": []any{"*"}, "routes": []any{directResponse()},
			}}},
			"http_filters": append(filters, typed("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router", nil)),
		})
	return map[string]any{
		"admin": map[string]any{"address": socket(t, "127.0.0.1:0")},
		"static_resources": map[string]any{
			"listeners": []any{map[string]any{
				"name": "ingress", "address": socket(t, "127.0.0.1:0"),
				"filter_chains": []any{map[string]any{"filters": []any{manager}}},
			}},
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

// expect sends one request and requires a status, or with 0 a denial. It returns the body.
func (p proxy) expect(t *testing.T, headers [][2]string, status int) []byte {
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
	denied := response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden
	if status == 0 && !denied || status != 0 && response.StatusCode != status || (status == http.StatusOK && string(body) != upstreamAnswer) {
		t.Fatalf("Envoy with %q answers %d %q, want %d", p.asks, response.StatusCode, body, status)
	}
	return body
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

// record sets the CheckRequest of each credential: what a real Envoy with our configuration sends.
func (b *bench) record(t *testing.T) {
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
	envoy := b.startProxy(t, "recorder", shippedProxy(t, listener.Addr().String()))
	defer envoy.Stop()

	for name, c := range b.credentials {
		args := []string{"-url", "http://" + envoy.Listen + hotPath, "-connections", "1", "-requests", "1", "-status", "200"}
		for _, h := range c.headers {
			args = append(args, "-header", h[0]+": "+h[1])
		}
		if err := b.generate(t, args...).check(); err != nil {
			t.Fatal(err)
		}
		select {
		case in := <-r.asked:
			if c.request, err = proto.Marshal(in); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("Envoy sent no check for %s", name)
		}
	}
}

// generate runs the load generator on one core, which is enough for it.
func (b *bench) generate(t *testing.T, args ...string) offered {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 10*b.benchTime+5*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, loadBinary, args...)
	dieWithParent(cmd)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the load generator: %v", errors.Join(err, ctx.Err()))
	}
	var l offered
	if err := json.Unmarshal(out, &l); err != nil {
		t.Fatal(err)
	}
	return l
}
