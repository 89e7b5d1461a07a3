package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"warder/envoy"
)

// startEnvoy starts a real Envoy with the shipped sidecar configuration in front of the rig and
// returns its URL. If open is true, Envoy allows requests when warder does not respond, and accepts
// headers of some MiB. Otherwise edit may change the configuration.
func (r *rig) startEnvoy(t *testing.T, open bool, edit func(root map[string]any)) string {
	t.Helper()
	binary, err := envoy.FindBinary("")
	if err != nil {
		t.Fatalf("%v", err)
	}
	config, err := envoy.SidecarConfig(envoy.ConfigOptions{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Upstream: r.upstream.Listener.Addr().String(),
		Warder: "unix://" + r.socket(), FailureModeAllow: open,
	})
	if err != nil {
		t.Fatal(err)
	}
	if open {
		edit = withRoomForHeaders
	}
	if edit != nil {
		var root map[string]any
		if err := json.Unmarshal(config, &root); err != nil {
			t.Fatal(err)
		}
		edit(root)
		if config, err = json.Marshal(root); err != nil {
			t.Fatal(err)
		}
	}
	return r.runEnvoy(t, binary, config)
}

// runEnvoy runs an Envoy with a configuration until the test ends, and returns its URL.
func (r *rig) runEnvoy(t *testing.T, binary string, config []byte) string {
	t.Helper()
	e, err := envoy.StartProcess(t.Context(), binary, t.TempDir(), config, r.leaks.sink("envoy"))
	if err != nil {
		t.Fatalf("%v\n%s", err, tailOf(r.leaks.text("envoy"), 4000))
	}
	r.envoy = e
	t.Cleanup(func() {
		r.keepStats(t, e)
		e.Stop()
	})
	return "http://" + e.Listen
}

// keepStats records pages of Envoy's admin interface, so that they are searched for secrets.
func (r *rig) keepStats(t *testing.T, e *envoy.Process) {
	for _, page := range []string{"/stats", "/config_dump", "/clusters"} {
		text, err := e.Get(context.WithoutCancel(t.Context()), page)
		if err != nil {
			t.Errorf("Envoy's %s: %v", page, err)
		}
		_, _ = r.leaks.sink("envoy " + page).Write(text)
	}
}

// withRoomForHeaders raises the limits of the shipped configuration to the largest ones that Envoy
// supports.
func withRoomForHeaders(root map[string]any) {
	listener(root)["per_connection_buffer_limit_bytes"] = 64 << 20
	manager(root)["max_request_headers_kb"] = 8192
}

// withPatience raises the timeout of a check for busy machines. The tests check the answer,
// not its duration.
func withPatience(root map[string]any) {
	extAuthz := manager(root)["http_filters"].([]any)[1].(map[string]any)["typed_config"].(map[string]any)
	extAuthz["grpc_service"].(map[string]any)["timeout"] = fmt.Sprintf("%.0fs", patience.Seconds())
}

func listener(root map[string]any) map[string]any {
	return root["static_resources"].(map[string]any)["listeners"].([]any)[0].(map[string]any)
}

// manager returns the configuration of the HTTP connection manager.
func manager(root map[string]any) map[string]any {
	chain := listener(root)["filter_chains"].([]any)[0].(map[string]any)
	return chain["filters"].([]any)[0].(map[string]any)["typed_config"].(map[string]any)
}
