package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"warder/authz/authztest"
	"warder/authz/policytest"
	"warder/envoy"
)

// generatedDir holds what the control planes of Istio and Envoy Gateway make of the objects in
// k8s/istio and k8s/envoy-gateway.
const generatedDir = repository + "/k8s/testdata/generated"

// testGenerated runs the decision corpus through Envoys with generated configurations. What a
// control plane cannot set makes a difference to some cases; differences.yaml names each of them.
func testGenerated(t *testing.T, leaks *leaks) {
	r := newRig(t, leaks, authztest.StartRedis(t, "e2e-c4n4ry-generated-password"), authztest.StartPostgres(t))
	all := readDifferences(t)
	for _, name := range []string{"istio", "istio-gateway", "envoy-gateway"} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t)
			base := r.startGenerated(t, name, func(root map[string]any) {
				if name == "envoy-gateway" { // by contextExtensions of a SecurityPolicy for each route
					withChosenRoutes(root, authztest.LoadCorpus(t, corpusDir), "envoy.filters.http.ext_authz/securitypolicy/app/warder")
				}
				m.add(t, root)
			})
			var err error
			if m.address, err = r.envoy.Listener(t.Context(), meshListener); err != nil {
				t.Fatal(err)
			}
			different := all[name]
			authztest.RunCorpus(t, corpusDir, func(t *testing.T, f *policytest.File) policytest.Depth {
				different.apply(t, f)
				r.secret = []byte(policytest.Secret)
				r.putFacts(t, f)
				r.startWarder(t, f.Policy, r.corpusConfig(f))
				d := &envoyDepth{rig: r, address: strings.TrimPrefix(base, "http://"), file: f, mesh: m, overTLS: meetsPeers(f)}
				return &generatedDepth{d, different}
			})
			different.checkUsed(t)
			testGeneratedLog(t, r, base)
			testGeneratedSilence(t, r, base)
		})
	}
}

// testGeneratedLog checks that the access log that the control plane has set up reaches warder.
func testGeneratedLog(t *testing.T, r *rig, base string) {
	r.startWarder(t, faultPolicy, nil)
	if got := r.get(t, base, "/open?access_token=gen3r4ted-c4n4ry", nil); got != http.StatusOK {
		t.Errorf("a public route: %d", got)
	}
	r.leaks.secret("a canary", "gen3r4ted-c4n4ry")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		select {
		case line := <-r.warder.accesses:
			if strings.Contains(string(line), `"path":"/open`) {
				return
			}
		case <-ctx.Done():
			t.Fatal("the access log has no line for this request")
		}
	}
}

// testGeneratedSilence checks that no answer of warder is a 503, also for a public route.
func testGeneratedSilence(t *testing.T, r *rig, base string) {
	r.stopWarder(t)
	before, _ := r.upstream.seen()
	if got := r.get(t, base, "/open", nil); got != http.StatusServiceUnavailable {
		t.Errorf("without warder: %d, want 503", got)
	}
	if after, _ := r.upstream.seen(); after != before {
		t.Error("without warder, the request reached the application")
	}
}

// startGenerated starts a real Envoy with a generated configuration in front of the rig, and
// returns its URL.
func (r *rig) startGenerated(t *testing.T, name string, edit func(root map[string]any)) string {
	t.Helper()
	binary, err := envoy.FindBinary("")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(generatedDir, name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := yaml.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	r.onLoopback(t, root)
	edit(root)
	config, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return r.runEnvoy(t, binary, config)
}

// onLoopback changes what depends on the place where an Envoy runs: addresses, certificates, the
// host names of routes, and filters for telemetry that only Istio's build of Envoy has. How
// requests are read and how warder is asked stays as the control plane has made it, but for the
// timeout.
func (r *rig) onLoopback(t *testing.T, root map[string]any) {
	t.Helper()
	root["admin"] = map[string]any{"address": socketAddress("127.0.0.1:0")}
	l := listener(root)
	l["address"] = socketAddress("127.0.0.1:0")
	chain := plainChain(t, l)
	l["filter_chains"] = []any{chain}
	for _, key := range []string{"listener_filters", "listener_filters_timeout", "continue_on_listener_filters_timeout", "use_original_dst", "bind_to_port", "default_filter_chain"} {
		delete(l, key)
	}
	delete(chain, "filter_chain_match")
	delete(chain, "transport_socket")
	isIstios := func(filter any) bool { return strings.HasPrefix(filter.(map[string]any)["name"].(string), "istio.") }
	chain["filters"] = slices.DeleteFunc(chain["filters"].([]any), isIstios)
	m := manager(root)
	m["http_filters"] = slices.DeleteFunc(m["http_filters"].([]any), isIstios)
	for _, host := range m["route_config"].(map[string]any)["virtual_hosts"].([]any) {
		host.(map[string]any)["domains"] = []any{"*"}
	}
	asked := map[string]bool{} // clusters that are warder
	for _, grpc := range grpcServices(l) {
		asked[grpc["envoy_grpc"].(map[string]any)["cluster_name"].(string)] = true
	}
	extAuthz := filterWith(t, m, "ext_authz")
	extAuthz["grpc_service"].(map[string]any)["timeout"] = fmt.Sprintf("%.0fs", patience.Seconds())
	for _, c := range root["static_resources"].(map[string]any)["clusters"].([]any) {
		c := c.(map[string]any)
		address := any(socketAddress(r.upstream.Listener.Addr().String()))
		if asked[c["name"].(string)] {
			address = map[string]any{"pipe": map[string]any{"path": r.socket()}}
		}
		c["type"] = "STATIC"
		for _, key := range []string{"transport_socket", "transport_socket_matches", "filters", "original_dst_lb_config", "upstream_bind_config", "cluster_type", "eds_cluster_config"} {
			delete(c, key)
		}
		if c["lb_policy"] == "CLUSTER_PROVIDED" {
			delete(c, "lb_policy")
		}
		c["load_assignment"] = map[string]any{"cluster_name": c["name"], "endpoints": []any{map[string]any{
			"lb_endpoints": []any{map[string]any{"endpoint": map[string]any{"address": address}}},
		}}}
	}
}

func socketAddress(address string) map[string]any {
	host, port, _ := strings.Cut(address, ":")
	return map[string]any{"socket_address": map[string]any{"address": host, "port_value": json.Number(port)}}
}

// plainChain returns the filter chain that asks warder, and of those the one for connections
// without TLS, if the listener tells them apart.
func plainChain(t *testing.T, l map[string]any) map[string]any {
	t.Helper()
	var found map[string]any
	for _, c := range l["filter_chains"].([]any) {
		c := c.(map[string]any)
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		match, _ := c["filter_chain_match"].(map[string]any)
		if strings.Contains(string(text), "filters.http.ext_authz.v3.ExtAuthz") && (found == nil || match["transport_protocol"] == "raw_buffer") {
			found = c
		}
	}
	if found == nil {
		t.Fatal("no filter chain asks warder")
	}
	for _, f := range found["filters"].([]any) {
		if strings.HasSuffix(f.(map[string]any)["name"].(string), "http_connection_manager") {
			found["filters"] = []any{f}
		}
	}
	return found
}

// grpcServices returns the services that the filters and the access logs in v call.
func grpcServices(v any) (found []map[string]any) {
	switch v := v.(type) {
	case map[string]any:
		if service, ok := v["grpc_service"].(map[string]any); ok {
			found = append(found, service)
		}
		for _, each := range v {
			found = append(found, grpcServices(each)...)
		}
	case []any:
		for _, each := range v {
			found = append(found, grpcServices(each)...)
		}
	}
	return found
}

// filterWith returns the configuration of the HTTP filter of a kind.
func filterWith(t *testing.T, manager map[string]any, kind string) map[string]any {
	t.Helper()
	for _, f := range manager["http_filters"].([]any) {
		config := f.(map[string]any)["typed_config"].(map[string]any)
		if strings.Contains(config["@type"].(string), ".filters.http."+kind+".") {
			return config
		}
	}
	t.Fatalf("no filter %s", kind)
	return nil
}

// A generatedDepth is an envoyDepth for an Envoy that may hand on another path than it got.
type generatedDepth struct {
	*envoyDepth
	different *differences
}

func (d *generatedDepth) Do(ctx context.Context, c *policytest.Case) (policytest.Outcome, error) {
	out, err := d.envoyDepth.Do(ctx, c)
	// Headers that the control planes add to every answer.
	out.Response = slices.DeleteFunc(out.Response, func(h [2]string) bool {
		return h[0] == "X-Envoy-Decorator-Operation" || h[0] == "X-Envoy-Upstream-Service-Time"
	})
	if want := d.different.paths[nameOf(c)]; err == nil && want != "" {
		d.rig.upstream.mu.Lock()
		got := d.rig.upstream.path
		d.rig.upstream.mu.Unlock()
		if got != want {
			err = fmt.Errorf("the application got %s, want %s", got, want)
		}
	}
	return out, err
}

// differences are the cases that end otherwise behind a generated configuration.
type differences struct {
	exceptions map[string]policytest.Exception
	paths      map[string]string // that the application gets
	met        map[string]bool
}

// readDifferences reads differences.yaml: by configuration, groups of cases with the reason that
// they share. FILE/* stands for the cases of a file that are not named themselves.
func readDifferences(t *testing.T) map[string]*differences {
	t.Helper()
	type group struct {
		Why   string
		Cases map[string]struct {
			Skip         string
			Status       int
			Want         string
			As           string
			WantClientIP string `yaml:"want_client_ip"`
			Path         string
		}
	}
	text, err := os.ReadFile(filepath.Join(generatedDir, "differences.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file map[string][]group
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	all := map[string]*differences{}
	for name, groups := range file {
		d := &differences{map[string]policytest.Exception{}, map[string]string{}, map[string]bool{}}
		for _, g := range groups {
			if len(strings.Fields(g.Why)) < 5 {
				t.Errorf("%s: a group without a reason: %q", name, g.Why)
			}
			for each, c := range g.Cases {
				if _, twice := d.exceptions[each]; twice {
					t.Errorf("%s: %s: twice", name, each)
				}
				d.exceptions[each] = policytest.Exception{Skip: c.Skip, Status: c.Status, Want: c.Want, As: c.As, WantClientIP: c.WantClientIP}
				d.paths[each] = c.Path
			}
		}
		all[name] = d
	}
	return all
}

func nameOf(c *policytest.Case) string { return c.File().Name + "/" + c.Name }

// apply replaces what the cases of a file say of a real Envoy. A request that the policy denies
// stays denied, unless it is another request by then: one with the path that the application gets.
func (d *differences) apply(t *testing.T, f *policytest.File) {
	t.Helper()
	for _, c := range f.Cases {
		name := nameOf(c)
		e, found := d.exceptions[name]
		if !found {
			name = f.Name + "/*"
			e, found = d.exceptions[name]
		}
		if !found {
			continue
		}
		d.met[name] = true
		allowed := c.Wanted(policytest.DepthWire).Allow
		c.Envoy = e
		if e.Skip == "" && c.Wanted(policytest.DepthEnvoy).Allow && !allowed && d.paths[nameOf(c)] == "" {
			t.Errorf("%s: allowed, and the policy denies it", nameOf(c))
		}
	}
}

// checkUsed checks that each difference is one of a case.
func (d *differences) checkUsed(t *testing.T) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(d.exceptions)) {
		if !d.met[name] {
			t.Errorf("differences.yaml: no case %s", name)
		}
	}
}
