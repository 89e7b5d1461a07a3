//go:build translate

package k8s

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/early_data/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/compressor/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/xff/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/encoding/protojson"
)

// A translation is the Envoy configuration that a control plane makes of objects of this folder.
type translation struct {
	name, from string // from: "istio" or "egctl", the translator of Envoy Gateway
	files      []string
	pod        string // whose proxy, for Istio
	listener   string // the one that takes the requests in
}

var translations = []translation{
	{"istio", "istio", []string{"service.yaml", "istio/shared.yaml"}, "app/app-1", "virtualInbound"},
	{"istio-sidecar", "istio", []string{"istio/sidecar.yaml"}, "app/app-1", "virtualInbound"},
	{"istio-gateway", "istio", []string{"service.yaml", "istio/shared.yaml"}, "ingress/gateway-1", "0.0.0.0_80"},
	{"istio-warder", "istio", []string{"service.yaml", "istio/shared.yaml"}, "warder/warder-1", "virtualInbound"},
	{"envoy-gateway", "egctl", []string{"service.yaml", "envoy-gateway/shared.yaml"}, "", "app/edge/https"},
	{"envoy-gateway-sidecar", "egctl", []string{"envoy-gateway/sidecar.yaml"}, "", "app/edge/https"},
}

// TestGenerated checks that the files of testdata/generated are what the control planes' own
// translators make of the objects of this folder today.
func TestGenerated(t *testing.T) {
	for _, tr := range translations {
		t.Run(tr.name, func(t *testing.T) {
			var root map[string]any
			if tr.from == "istio" {
				root = translateIstio(t, tr)
			} else {
				root = translateGateway(t, tr)
			}
			var made bytes.Buffer
			fmt.Fprintf(&made, "# What %s makes of %s: the listener that takes requests in, and\n# the clusters that it names. Made by make k8s-generated.\n",
				filepath.Base(translator(t, tr.from)), strings.Join(tr.files, " and "))
			encoder := yaml.NewEncoder(&made)
			encoder.SetIndent(2)
			if err := encoder.Encode(reached(t, root, tr.listener)); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata/generated", tr.name+".yaml")
			if *update {
				if err := os.WriteFile(file, made.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), made.String()); diff != "" {
				t.Errorf("%s is not current; run make k8s-generated (-file +made):\n%s", file, diff)
			}
		})
	}
}

// translator returns the program that make k8s-generated builds.
func translator(t *testing.T, name string) string {
	t.Helper()
	found, _ := filepath.Glob("../.tools/bin/" + name + "-*")
	if len(found) != 1 {
		t.Fatalf("found %d of .tools/bin/%s-*, want 1; make k8s-generated-check builds them", len(found), name)
	}
	return found[0]
}

func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, stderr.Bytes())
	}
	return out.Bytes()
}

func translateIstio(t *testing.T, tr translation) map[string]any {
	t.Helper()
	out := filepath.Join(t.TempDir(), "proxy.json")
	args := append([]string{"-mesh", "istio/mesh-config.yaml", "-pod", tr.pod, "-o", out, "testdata/translate/istio.yaml"}, tr.files...)
	run(t, translator(t, tr.from), args...)
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	return root
}

// gatewayKinds are what Envoy Gateway reads.
var gatewayKinds = []string{
	"Namespace", "Service", "EndpointSlice", "Secret", "ConfigMap", "GatewayClass", "Gateway", "HTTPRoute", "ReferenceGrant", "BackendTLSPolicy",
	"EnvoyProxy", "ClientTrafficPolicy", "SecurityPolicy", "Backend",
}

func translateGateway(t *testing.T, tr translation) map[string]any {
	t.Helper()
	var input bytes.Buffer
	for _, file := range append(slices.Clone(tr.files), "testdata/translate/envoy-gateway.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		objects, err := parseObjects(file, string(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			if !slices.Contains(gatewayKinds, o.kind()) || o.key() == "GatewayClass eg" && slices.Contains(tr.files, "envoy-gateway/sidecar.yaml") {
				continue
			}
			if o.key() == "Service warder/warder" { // a cluster gives it an address
				o.doc["spec"].(map[string]any)["clusterIP"] = "10.96.1.2"
			}
			text, err := json.Marshal(o.doc)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&input, "---\n%s\n", text)
		}
	}
	certificates(t, &input)
	file := filepath.Join(t.TempDir(), "in.yaml")
	writeFile(t, file, input.String())
	out := run(t, translator(t, tr.from), "x", "translate", "--from", "gateway-api", "--to", "xds", "-f", file, "-o", "json")
	return folded(t, out)
}

// certificates writes the Secrets and the ConfigMap that the user brings.
func certificates(t *testing.T, to *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	files := [3]string{}
	for i, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		files[i] = filepath.Join(dir, name)
	}
	writeCertificate(t, files[0], files[1], files[2])
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, name := range []string{"app-example-com", "warder-client"} {
		text, err := json.Marshal(map[string]any{
			"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": map[string]any{"name": name, "namespace": "app"},
			"data": map[string]any{"tls.crt": []byte(read(files[0])), "tls.key": []byte(read(files[1]))},
		})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(to, "---\n%s\n", text)
	}
	text, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "warder-ca", "namespace": "warder"}, "data": map[string]any{"ca.crt": read(files[2])},
	})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(to, "---\n%s\n", text)
}

// folded returns a dump of dynamic resources as static resources, as Envoy's own field names.
func folded(t *testing.T, dump []byte) map[string]any {
	t.Helper()
	type config map[string]any
	var all struct {
		XDS map[string]struct{ Configs []config }
	}
	if err := json.Unmarshal(dump, &all); err != nil {
		t.Fatalf("%v in %s", err, dump)
	}
	listeners, clusters := []any{}, []any{}
	routes, endpoints := map[string]any{}, map[string]any{}
	plain := func(v any) map[string]any {
		m := v.(map[string]any)
		delete(m, "@type")
		return m
	}
	for _, gateway := range all.XDS {
		for _, c := range gateway.Configs {
			for _, l := range items(c["dynamicListeners"]) {
				listeners = append(listeners, plain(dig(l, "activeState", "listener")))
			}
			for _, d := range items(c["dynamicActiveClusters"]) {
				clusters = append(clusters, plain(dig(d, "cluster")))
			}
			for _, r := range items(c["dynamicRouteConfigs"]) {
				r := plain(dig(r, "routeConfig"))
				routes[r["name"].(string)] = r
			}
			for _, e := range items(c["dynamicEndpointConfigs"]) {
				e := plain(dig(e, "endpointConfig"))
				endpoints[e["clusterName"].(string)] = e
			}
		}
	}
	for _, c := range clusters {
		c := c.(map[string]any)
		if c["type"] == "EDS" {
			c["loadAssignment"] = endpoints[dig(c, "edsClusterConfig", "serviceName").(string)]
			c["type"] = "STATIC"
			delete(c, "edsClusterConfig")
		}
	}
	each(listeners, func(m map[string]any) {
		if name, ok := dig(m, "rds", "routeConfigName").(string); ok {
			delete(m, "rds")
			m["routeConfig"] = routes[name]
		}
	})
	text, err := json.Marshal(map[string]any{"staticResources": map[string]any{"listeners": listeners, "clusters": clusters}})
	if err != nil {
		t.Fatal(err)
	}
	bootstrap := new(bootstrapv3.Bootstrap)
	if err := protojson.Unmarshal(text, bootstrap); err != nil {
		t.Fatal(err)
	}
	if text, err = (protojson.MarshalOptions{UseProtoNames: true}).Marshal(bootstrap); err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	return root
}

func items(v any) []any {
	list, _ := v.([]any)
	return list
}

// reached returns the listener of that name, and the clusters that it names.
func reached(t *testing.T, root map[string]any, listener string) map[string]any {
	t.Helper()
	listeners := items(dig(root, "static_resources", "listeners"))
	i := slices.IndexFunc(listeners, func(l any) bool { return dig(l, "name") == listener })
	if i < 0 {
		var names []any
		for _, l := range listeners {
			names = append(names, dig(l, "name"))
		}
		t.Fatalf("no listener %q, only %q", listener, names)
	}
	named := map[any]bool{}
	each(listeners[i], func(m map[string]any) {
		for _, name := range []string{"cluster", "cluster_name"} {
			named[m[name]] = true
		}
	})
	var clusters []any
	for _, c := range items(dig(root, "static_resources", "clusters")) {
		if named[dig(c, "name")] {
			clusters = append(clusters, c)
		}
	}
	return whole(map[string]any{"static_resources": map[string]any{"listeners": []any{listeners[i]}, "clusters": clusters}}).(map[string]any)
}

// whole returns v with whole numbers as such; JSON makes floats of them, and YAML writes those
// as powers of ten.
func whole(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			v[name] = whole(inner)
		}
	case []any:
		for i, inner := range v {
			v[i] = whole(inner)
		}
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	}
	return v
}
