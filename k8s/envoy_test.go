package k8s

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	mutationrulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
)

// bootstrapKey is the name under which a ConfigMap holds Envoy's configuration.
const bootstrapKey = "envoy.yaml"

// checkBootstrap: Envoy's configuration in a ConfigMap has the shape that Envoy
// knows, and the settings that warder's answers rest on.
func checkBootstrap(r *report, f *form, configMap object) {
	text, ok := dig(configMap.doc, "data", bootstrapKey).(string)
	if !ok {
		return
	}
	bad := func(format string, args ...any) { r.addf("%s: "+format, append([]any{configMap}, args...)...) }
	bootstrap, err := parseBootstrap(text)
	if err != nil {
		bad("%v", err)
		return
	}
	if a := bootstrap.GetAdmin().GetAddress().GetSocketAddress().GetAddress(); a != "127.0.0.1" {
		bad("Envoy's admin interface is on %q", a)
	}
	clusters := map[string]string{} // where the first endpoint of each is
	for _, c := range bootstrap.GetStaticResources().GetClusters() {
		clusters[c.GetName()] = ""
		for _, locality := range c.GetLoadAssignment().GetEndpoints() {
			for _, e := range locality.GetLbEndpoints() {
				clusters[c.GetName()] = addressText(e.GetEndpoint().GetAddress())
			}
		}
	}
	for _, listener := range bootstrap.GetStaticResources().GetListeners() {
		for _, chain := range listener.GetFilterChains() {
			for _, filter := range chain.GetFilters() {
				var hcm hcmv3.HttpConnectionManager
				if err := filter.GetTypedConfig().UnmarshalTo(&hcm); err != nil {
					bad("%s: %v", listener.GetName(), err)
					continue
				}
				checkConnectionManager(bad, &hcm)
				checkFilters(bad, f, clusters, &hcm)
			}
		}
	}
}

// parseBootstrap reads Envoy's YAML the way Envoy does: unknown fields are errors.
func parseBootstrap(text string) (*bootstrapv3.Bootstrap, error) {
	asJSON, err := toJSON([]byte(text))
	if err != nil {
		return nil, err
	}
	bootstrap := new(bootstrapv3.Bootstrap)
	if err := protojson.Unmarshal(asJSON, bootstrap); err != nil {
		return nil, err
	}
	return bootstrap, bootstrap.ValidateAll()
}

func addressText(a *corev3.Address) string {
	if pipe := a.GetPipe(); pipe != nil {
		return "unix://" + pipe.GetPath()
	}
	s := a.GetSocketAddress()
	return fmt.Sprintf("%s:%d", s.GetAddress(), s.GetPortValue())
}

// checkConnectionManager: one reading of a path, and addresses that a client
// cannot choose.
func checkConnectionManager(bad func(string, ...any), h *hcmv3.HttpConnectionManager) {
	common := h.GetCommonHttpProtocolOptions()
	for _, setting := range []struct {
		name string
		good bool
	}{
		{"use_remote_address: true", h.GetUseRemoteAddress().GetValue()},
		{"skip_xff_append: false", !h.GetSkipXffAppend()},
		{"internal_address_config with a list that is not empty", len(h.GetInternalAddressConfig().GetCidrRanges()) > 0},
		{"normalize_path: true", h.GetNormalizePath().GetValue()},
		{"merge_slashes: true", h.GetMergeSlashes()},
		{"path_with_escaped_slashes_action: REJECT_REQUEST", h.GetPathWithEscapedSlashesAction() == hcmv3.HttpConnectionManager_REJECT_REQUEST},
		{"headers_with_underscores_action: DROP_HEADER", common.GetHeadersWithUnderscoresAction() == corev3.HttpProtocolOptions_DROP_HEADER},
		{"max_headers_count: 100, as warder assumes", common.GetMaxHeadersCount().GetValue() == 100},
		{"max_request_headers_kb: 60, as warder assumes", h.GetMaxRequestHeadersKb().GetValue() == 60},
		{"request_headers_timeout", h.GetRequestHeadersTimeout().AsDuration() > 0},
	} {
		if !setting.good {
			bad("the connection manager needs %s", setting.name)
		}
	}
}

// checkFilters: identity headers go before ext_authz, and ext_authz is the last
// before the router.
func checkFilters(bad func(string, ...any), f *form, clusters map[string]string, h *hcmv3.HttpConnectionManager) {
	var names []string
	for _, filter := range h.GetHttpFilters() {
		names = append(names, filter.GetName())
		message, err := filter.GetTypedConfig().UnmarshalNew()
		if err != nil {
			bad("%s: %v", filter.GetName(), err)
			continue
		}
		switch config := message.(type) {
		case *mutationv3.HeaderMutation:
			for _, name := range removable() {
				removed := slices.ContainsFunc(config.GetMutations().GetRequestMutations(), func(m *mutationrulesv3.HeaderMutation) bool {
					return matchesWhole(m.GetRemoveOnMatch().GetKeyMatcher().GetSafeRegex().GetRegex(), name)
				})
				if !removed {
					bad("a client may send %s", name)
				}
			}
		case *extauthzv3.ExtAuthz:
			checkExtAuthz(bad, f, clusters, config)
		}
	}
	want := []string{"envoy.filters.http.header_mutation", "envoy.filters.http.ext_authz", "envoy.filters.http.grpc_web", "envoy.filters.http.router"}
	if !slices.Equal(names, want) {
		bad("the filters are %v, not %v", names, want)
	}
}

func checkExtAuthz(bad func(string, ...any), f *form, clusters map[string]string, a *extauthzv3.ExtAuthz) {
	timeout := a.GetGrpcService().GetTimeout().AsDuration()
	rules := a.GetDecoderHeaderMutationRules()
	for _, setting := range []struct {
		name string
		good bool
	}{
		{"failure_mode_allow: false", !a.GetFailureModeAllow()},
		{"status_on_error 503", a.GetStatusOnError().GetCode() == 503},
		{"transport_api_version: V3", a.GetTransportApiVersion() == corev3.ApiVersion_V3},
		{"encode_raw_headers: true", a.GetEncodeRawHeaders()},
		{"validate_mutations: true", a.GetValidateMutations()},
		{"clear_route_cache: false", !a.GetClearRouteCache()},
		{"no with_request_body", a.GetWithRequestBody() == nil},
		{"no allowed_headers: warder must see all names", a.GetAllowedHeaders() == nil && a.GetDisallowedHeaders() == nil},
		{"a timeout of more than 200ms and at most 1s", timeout > warderDeadline && timeout.Seconds() <= 1},
		// Which other headers warder sets is in its configuration (identity.headers).
		{"rules that keep answers from changing where a request goes", rules != nil && rules.GetDisallowIsError().GetValue() &&
			!rules.GetAllowAllRouting().GetValue() && !rules.GetAllowEnvoy().GetValue() && rules.GetDisallowSystem().GetValue() &&
			rules.GetAllowExpression() == nil},
	} {
		if !setting.good {
			bad("ext_authz needs %s", setting.name)
		}
	}
	name := a.GetGrpcService().GetEnvoyGrpc().GetClusterName()
	address, known := clusters[name]
	if !known || !slices.Contains(listeners(f), address) {
		bad("ext_authz asks cluster %q at %q, where no warder listens", name, address)
	}
}

// TestBootstrapIsTheTestedOne: the pods' Envoy has the settings of the
// configuration that package envoy tests with real requests; only addresses differ.
func TestBootstrapIsTheTestedOne(t *testing.T) {
	t.Parallel()
	tested, err := os.ReadFile("../envoy/configs/sidecar.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want, err := parseBootstrap(string(tested))
	if err != nil {
		t.Fatal(err)
	}
	objects, err := parseObjects("sidecar.yaml", readManifests(t)["sidecar.yaml"])
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(objects, func(o object) bool { return dig(o.doc, "data", bootstrapKey) != nil })
	got, err := parseBootstrap(objects[i].text("data", bootstrapKey))
	if err != nil {
		t.Fatal(err)
	}
	want.Node = got.GetNode()
	want.GetStaticResources().GetListeners()[0].Address = got.GetStaticResources().GetListeners()[0].GetAddress()
	for i, c := range want.GetStaticResources().GetClusters() {
		if c.GetName() == "warder" {
			c.LoadAssignment = got.GetStaticResources().GetClusters()[i].GetLoadAssignment()
		}
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("sidecar.yaml has another Envoy than envoy/configs/sidecar.yaml (-tested +here):\n%s", diff)
	}
}

// TestEnvoyAcceptsManifests has Envoy itself validate each bootstrap; a warning
// counts as a refusal.
func TestEnvoyAcceptsManifests(t *testing.T) {
	t.Parallel()
	found, _ := filepath.Glob("../.tools/venv/lib/python3*/site-packages/envoy/_bin/envoy")
	if len(found) == 0 {
		t.Fatal("no Envoy in .tools/venv; run make tools")
	}
	tried := 0
	for file, text := range readManifests(t) {
		objects, err := parseObjects(file, text)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			bootstrap, ok := dig(o.doc, "data", bootstrapKey).(string)
			if !ok {
				continue
			}
			tried++
			path := filepath.Join(t.TempDir(), bootstrapKey)
			writeFile(t, path, bootstrap)
			validate := exec.CommandContext(t.Context(), found[0], "--mode", "validate", "-c", path, "-l", "warning", "--disable-hot-restart")
			out, err := validate.CombinedOutput()
			if err != nil || bytes.Contains(out, []byte("[warning]")) || bytes.Contains(out, []byte("[error]")) {
				t.Errorf("%s: envoy: %v\n%s", o, err, out)
			}
		}
	}
	if tried == 0 {
		t.Error("no manifest holds a configuration of Envoy")
	}
}

// toJSON returns YAML as JSON, of which it is a superset.
func toJSON(text []byte) ([]byte, error) {
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, err
	}
	return json.Marshal(tree)
}
