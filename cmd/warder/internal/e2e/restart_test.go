package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"warder/authz/authztest"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
	"warder/envoy"
)

// restarts is the number of restarts of a warder under load.
const restarts = 10

// A replica is one of the warders behind an Envoy. It keeps its address over restarts.
type replica struct {
	config, admin string
	running       *program
}

// start starts the replica and waits until it is ready.
func (r *replica) start(t *testing.T, leaks *leaks) {
	t.Helper()
	r.running = startProgram(t, leaks, nil, "serve", "-c", r.config)
	waitFor(t, "a replica to be ready", func() error { return readyz(r.admin, io.Discard) })
}

// newReplica writes the configuration of a warder with in-memory stores.
func newReplica(t *testing.T, listen map[string]any, delay time.Duration) *replica {
	t.Helper()
	dir := t.TempDir()
	r := &replica{admin: authztest.FreeAddress(t)}
	listen["admin"] = r.admin
	text, err := yaml.Marshal(map[string]any{
		"listen": listen, "shutdown": map[string]any{"delay": delay.String()},
		"policy":    clitest.WriteFile(t, dir, "policy.yaml", "version: 1\nroutes: [{id: all, match: /**, public: true}]\n"),
		"jwt":       map[string]any{"keys": []any{map[string]any{"secret_file": clitest.WriteFile(t, dir, "jwt", clitest.Secret)}}},
		"sessions":  map[string]any{"redis_url": "memory://"},
		"directory": map[string]any{"file": clitest.WriteFile(t, dir, "directory.yaml", "users:\n  - {id: \"42\", is_active: true}\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.config = clitest.WriteFile(t, dir, "warder.yaml", string(text))
	return r
}

// A load sends requests to the address that target returns, until it is stopped.
type load struct {
	stopped      atomic.Bool
	clients      sync.WaitGroup
	sent, failed atomic.Int64
	first        atomic.Pointer[string] // the first failure
}

func startLoad(target func() (base string, done func())) *load {
	l := new(load)
	for range 4 {
		l.clients.Go(func() {
			client := http.Client{Timeout: patience, Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for !l.stopped.Load() {
				base, done := target()
				said := ""
				response, err := client.Get(base + "/x")
				if err != nil {
					said = err.Error()
				} else {
					body, err := io.ReadAll(response.Body)
					_ = response.Body.Close()
					if err != nil || response.StatusCode != http.StatusOK {
						said = fmt.Sprintf("%d %s %v", response.StatusCode, body, err)
					}
				}
				done()
				l.sent.Add(1)
				if said != "" {
					l.failed.Add(1)
					l.first.CompareAndSwap(nil, &said)
				}
				time.Sleep(5 * time.Millisecond) // a few hundred requests per second
			}
		})
	}
	return l
}

// end stops the load and requires that no request has failed.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.stopped.Store(true)
	l.clients.Wait()
	if l.failed.Load() > 0 {
		t.Errorf("%d of %d requests failed over %d restarts, the first with %s", l.failed.Load(), l.sent.Load(), restarts, *l.first.Load())
	}
	if l.sent.Load() < 100*restarts {
		t.Errorf("only %d requests were sent, want at least %d", l.sent.Load(), 100*restarts)
	}
}

// shippedService returns the decoded service.yaml, and the health check of warder in it.
func shippedService(t *testing.T, certificates string) (root, health map[string]any) {
	t.Helper()
	text, err := fs.ReadFile(envoy.Configs(), "service.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(bytes.ReplaceAll(text, []byte("/etc/envoy/tls/"), []byte(certificates+"/")), &root); err != nil {
		t.Fatal(err)
	}
	return root, cluster(root, 1)["health_checks"].([]any)[0].(map[string]any)
}

func cluster(root map[string]any, i int) map[string]any {
	return root["static_resources"].(map[string]any)["clusters"].([]any)[i].(map[string]any)
}

func durationOf(t *testing.T, value any) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(value.(string))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// noticed returns the maximum time until Envoy detects that a warder does not serve.
func noticed(t *testing.T, health map[string]any) time.Duration {
	t.Helper()
	interval := max(durationOf(t, health["interval"]), durationOf(t, health["no_traffic_interval"]), durationOf(t, health["no_traffic_healthy_interval"]))
	threshold := health["unhealthy_threshold"].(int)
	return time.Duration(threshold)*(interval+durationOf(t, health["interval_jitter"])) + durationOf(t, health["timeout"])
}

// serviceName is the name of warder in service.yaml.
const serviceName = "warder.warder.svc.cluster.local"

// serviceTLS writes a certificate for warder into a folder, which is good for Envoy as well, and
// returns listen.tls.
func serviceTLS(t *testing.T, authority *clitest.Authority, dir string) map[string]any {
	t.Helper()
	cert, key := authority.Issue(t, serviceName, time.Now().Add(time.Hour), serviceName)
	return map[string]any{
		"cert_file": clitest.WriteFile(t, dir, "tls.crt", string(cert)), "key_file": clitest.WriteFile(t, dir, "tls.key", string(key)),
		"client_ca_file": clitest.WriteFile(t, dir, "ca.crt", string(authority.PEM)),
	}
}

// serviceConfig puts addresses into the decoded service.yaml and returns it as JSON.
func serviceConfig(t *testing.T, root map[string]any, listen, app string, warders ...string) []byte {
	t.Helper()
	for i, addresses := range [][]string{{app}, warders} {
		var endpoints []any
		for _, address := range addresses {
			endpoints = append(endpoints, endpointOf(t, address))
		}
		cluster(root, i)["load_assignment"].(map[string]any)["endpoints"] = []any{map[string]any{"lb_endpoints": endpoints}}
	}
	listener(root)["address"] = addressOf(t, listen)
	root["admin"].(map[string]any)["address"] = addressOf(t, "127.0.0.1:0")
	config, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// TestShutdownDelayIsEnough checks that the default of shutdown.delay is at least a second longer
// than the time that Envoy with service.yaml needs to detect the shutdown.
func TestShutdownDelayIsEnough(t *testing.T) {
	t.Parallel()
	_, health := shippedService(t, "/tls")
	delay := config.DefaultSettings().Shutdown.Delay
	if needed := noticed(t, health); delay < needed+time.Second {
		t.Errorf("shutdown.delay is %v and Envoy detects the shutdown after %v; want a difference of at least a second", delay, needed)
	}
}

// TestRestartsBehindService restarts two warders alternately behind an Envoy with service.yaml.
func TestRestartsBehindService(t *testing.T) {
	dir := t.TempDir()
	files := serviceTLS(t, clitest.NewAuthority(t, "ca"), dir)
	root, health := shippedService(t, dir)
	// The intervals and the delay are shorter than the shipped ones. Their relation is the same.
	for _, interval := range []string{"interval", "no_traffic_interval", "no_traffic_healthy_interval", "unhealthy_interval"} {
		health[interval] = fmt.Sprintf("%.3fs", durationOf(t, health[interval]).Seconds()/5)
	}
	health["interval_jitter"] = "0.020s"
	health["timeout"] = "1s"
	delay := 2 * time.Second
	if delay < noticed(t, health) {
		t.Fatal("the delay of the test is too short for its health checks")
	}
	leaks, up := newLeaks(), startUpstream(t)
	var replicas []*replica
	var warders []string
	for range 2 {
		address := authztest.FreeAddress(t)
		r := newReplica(t, map[string]any{"grpc": address, "tls": files}, delay)
		r.start(t, leaks)
		t.Cleanup(func() { r.running.stop(t) })
		replicas, warders = append(replicas, r), append(warders, address)
	}
	config := serviceConfig(t, root, "127.0.0.1:0", up.Listener.Addr().String(), warders...)
	e := startShippedEnvoy(t, config, leaks)
	healthy := func(n int) {
		t.Helper()
		waitFor(t, fmt.Sprintf("Envoy to see %d healthy warders", n), func() error {
			page, err := e.Get(t.Context(), "/stats?filter=cluster.warder.membership_healthy")
			if err == nil && strings.TrimSpace(string(page)) != fmt.Sprintf("cluster.warder.membership_healthy: %d", n) {
				err = fmt.Errorf("%s", page)
			}
			return err
		})
	}
	healthy(2)
	l := startLoad(func() (string, func()) { return "http://" + e.Listen, func() {} })
	for i := range restarts {
		r := replicas[i%2]
		r.running.stop(t)
		r.start(t, leaks)
		healthy(2)
	}
	l.end(t)
}

// TestRestartsInKubernetesOrder restarts pods of a warder and an Envoy with sidecar.yaml in the
// order of Kubernetes: the pod gets no new requests, then Envoy ends, then warder ends. warder gets
// its signal first, because Kubernetes may signal all containers at once. It must continue to
// respond.
func TestRestartsInKubernetesOrder(t *testing.T) {
	leaks, up := newLeaks(), startUpstream(t)
	type pod struct {
		warder   *replica
		envoy    *envoy.Process
		requests sync.WaitGroup
		config   []byte
	}
	var mu sync.Mutex
	var ready []*pod // the pods that the load balancer uses
	start := func(p *pod) {
		p.warder.start(t, leaks)
		p.envoy = startShippedEnvoy(t, p.config, leaks)
		mu.Lock()
		defer mu.Unlock()
		ready = append(ready, p)
	}
	for range 2 {
		socket := "unix://" + filepath.Join(clitest.SocketDir(t), "w.sock")
		config, err := envoy.SidecarConfig(envoy.ConfigOptions{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Upstream: up.Listener.Addr().String(), Warder: socket})
		if err != nil {
			t.Fatal(err)
		}
		p := &pod{warder: newReplica(t, map[string]any{"grpc": socket}, time.Second), config: config}
		start(p)
		t.Cleanup(func() { p.warder.running.stop(t) })
	}
	var turn atomic.Int64
	l := startLoad(func() (string, func()) {
		mu.Lock()
		defer mu.Unlock()
		p := ready[int(turn.Add(1))%len(ready)]
		p.requests.Add(1)
		return "http://" + p.envoy.Listen, p.requests.Done
	})
	for range restarts {
		mu.Lock()
		p := ready[0]
		mu.Unlock()
		_ = p.warder.running.cmd.Process.Signal(syscall.SIGTERM)
		before := l.sent.Load()
		waitFor(t, "requests while warder drains", func() error {
			if l.sent.Load() < before+20 {
				return fmt.Errorf("%d requests", l.sent.Load()-before)
			}
			return nil
		})
		mu.Lock()
		ready = ready[1:]
		mu.Unlock()
		p.requests.Wait()
		p.envoy.Stop()
		if <-p.warder.running.ended; p.warder.running.err != nil {
			t.Errorf("warder ended with %v", p.warder.running.err)
		}
		start(p)
	}
	l.end(t)
}

func endpointOf(t *testing.T, address string) any {
	t.Helper()
	return map[string]any{"endpoint": map[string]any{"address": addressOf(t, address)}}
}

func addressOf(t *testing.T, address string) any {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"socket_address": map[string]any{"address": host, "port_value": json.Number(port)}}
}

// startShippedEnvoy starts an Envoy that runs until the test ends.
func startShippedEnvoy(t *testing.T, config []byte, leaks *leaks) *envoy.Process {
	t.Helper()
	binary, err := envoy.FindBinary("")
	if err != nil {
		t.Fatal(err)
	}
	e, err := envoy.StartProcess(t.Context(), binary, t.TempDir(), config, leaks.sink("envoy"))
	if err != nil {
		t.Fatalf("%v\n%s", err, tailOf(leaks.text("envoy"), 4000))
	}
	t.Cleanup(e.Stop)
	return e
}
