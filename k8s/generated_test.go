package k8s

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

// readGenerated returns what a control plane makes of objects of this folder: see TestGenerated,
// which make k8s-generated-check runs.
func readGenerated(t *testing.T, name string) map[string]any {
	t.Helper()
	text, err := os.ReadFile("testdata/generated/" + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := toJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(asJSON, &root); err != nil {
		t.Fatal(err)
	}
	return dig(root, "static_resources").(map[string]any)
}

// each calls do for every map in v.
func each(v any, do func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		do(v)
		for _, inner := range v {
			each(inner, do)
		}
	case []any:
		for _, inner := range v {
			each(inner, do)
		}
	}
}

// TestGeneratedAsks checks how a proxy asks in the configuration that a control plane makes: each
// time with a timeout, as a gRPC call over HTTP/2 to where warder is, and with a 503 when there is no answer.
func TestGeneratedAsks(t *testing.T) {
	t.Parallel()
	const socket = "/run/warder/warder.sock"
	for name, where := range map[string]string{
		"istio": "10.244.0.20", "istio-gateway": "10.244.0.20", "istio-sidecar": socket, "envoy-gateway": "10.96.1.2", "envoy-gateway-sidecar": socket,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resources := readGenerated(t, name)
			clusters := map[any]string{}
			for _, c := range resources["clusters"].([]any) {
				text, err := json.Marshal(c)
				if err != nil {
					t.Fatal(err)
				}
				clusters[dig(c, "name")] = string(text)
			}
			asks, logs := 0, 0
			each(resources["listeners"], func(m map[string]any) {
				kind, _ := m["@type"].(string)
				var grpc any
				switch {
				case strings.HasSuffix(kind, ".ExtAuthz"):
					asks++
					grpc = m["grpc_service"]
					if m["failure_mode_allow"] == true {
						t.Error("no answer is a yes")
					}
					// For what is not HTTP there is no status: the connection is closed.
					if code := dig(m, "status_on_error", "code"); code != "ServiceUnavailable" && strings.Contains(kind, ".filters.http.") {
						t.Errorf("no answer is %v", code)
					}
					if timeout := dig(grpc, "timeout"); timeout != "0.500s" {
						t.Errorf("waits for %v", timeout)
					}
				case strings.HasSuffix(kind, ".HttpGrpcAccessLogConfig"):
					logs++
					grpc = dig(m, "common_config", "grpc_service")
				default:
					return
				}
				cluster := clusters[dig(grpc, "envoy_grpc", "cluster_name")]
				if !strings.Contains(cluster, `"`+where+`"`) {
					t.Errorf("%s calls a cluster that is not at %s: %s", kind, where, cluster)
				}
				if !strings.Contains(cluster, "http2_protocol_options") {
					t.Errorf("%s calls a cluster without HTTP/2: %s", kind, cluster)
				}
			})
			if asks == 0 || logs == 0 {
				t.Errorf("%d places ask for a check, %d send an access log", asks, logs)
			}
		})
	}
}

// TestGeneratedForms checks that a warder in the pod is asked in the same way as the shared one:
// the listeners differ in the name of the cluster only. So the decision corpus, which runs with the
// configurations of the shared one, holds for both.
func TestGeneratedForms(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		shared, sidecar string
		names           []string // of warder and its clusters, before and after
	}{
		{"istio", "istio-sidecar", []string{"warder.warder.svc.cluster.local", "warder.sidecar.internal", "istio-ext-authz-warder-sidecar", "istio-ext-authz-warder"}},
		{"envoy-gateway", "envoy-gateway-sidecar", []string{"warder.warder:9191", "warder.app"}},
	} {
		t.Run(tt.sidecar, func(t *testing.T) {
			t.Parallel()
			listeners := func(name string) any {
				text, err := json.Marshal(readGenerated(t, name)["listeners"])
				if err != nil {
					t.Fatal(err)
				}
				var list any
				if err := yaml.Unmarshal([]byte(strings.NewReplacer(tt.names...).Replace(string(text))), &list); err != nil {
					t.Fatal(err)
				}
				return list
			}
			if diff := cmp.Diff(listeners(tt.shared), listeners(tt.sidecar)); diff != "" {
				t.Errorf("(-%s +%s):\n%s", tt.shared, tt.sidecar, diff)
			}
		})
	}
}

// TestGeneratedCallers checks that the proxy of warder's own pods lets only the named identities
// call warder, for its two calls: every filter chain for its port has the rule, and none is for
// connections without mutual TLS.
func TestGeneratedCallers(t *testing.T) {
	t.Parallel()
	chains := 0
	for _, l := range readGenerated(t, "istio-warder")["listeners"].([]any) {
		for _, c := range dig(l, "filter_chains").([]any) {
			if dig(c, "filter_chain_match", "destination_port") != 9191.0 {
				continue
			}
			chains++
			if dig(c, "filter_chain_match", "transport_protocol") != "tls" {
				t.Errorf("%v takes connections without TLS", dig(c, "name"))
			}
			rules := 0
			each(c, func(m map[string]any) {
				if kind, _ := m["@type"].(string); !strings.HasSuffix(kind, ".filters.http.rbac.v3.RBAC") || m["rules"] == nil {
					return
				}
				rules++
				if action := dig(m, "rules", "action"); action != nil && action != "ALLOW" {
					t.Errorf("action %v", action)
				}
				text, err := json.Marshal(dig(m, "rules", "policies"))
				if err != nil {
					t.Fatal(err)
				}
				for _, part := range append([]string{"spiffe://cluster.local/ns/app/sa/app"}, warderCalls...) {
					if !strings.Contains(string(text), `"exact":"`+part+`"`) {
						t.Errorf("the rule does not name %s: %s", part, text)
					}
				}
			})
			if rules != 1 {
				t.Errorf("%v has %d rules for who may call", dig(c, "name"), rules)
			}
		}
	}
	if chains == 0 {
		t.Error("no filter chain for warder's port")
	}
}
