package main

import (
	"context"
	"encoding/json"
	"testing"

	"warder/envoy"
)

// startEnvoy starts a real Envoy with the shipped sidecar configuration in front
// of the rig, and returns its URL. open makes it let requests pass when warder
// fails to answer, with room for headers of some MiB.
func (r *rig) startEnvoy(t *testing.T, open bool) string {
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
		config = withRoomForHeaders(t, config)
	}
	e, err := envoy.StartProcess(t.Context(), binary, t.TempDir(), config, r.leaks.sink("envoy"))
	if err != nil {
		t.Fatalf("%v\n%s", err, tailOf(r.leaks.text("envoy"), 4000))
	}
	t.Cleanup(func() {
		r.keepStats(t, e)
		e.Stop()
	})
	return "http://" + e.Listen
}

// keepStats notes what Envoy's admin interface shows, for the search for secrets.
func (r *rig) keepStats(t *testing.T, e *envoy.Process) {
	for _, page := range []string{"/stats", "/config_dump", "/clusters"} {
		text, err := e.Get(context.WithoutCancel(t.Context()), page)
		if err != nil {
			t.Errorf("Envoy's %s: %v", page, err)
		}
		_, _ = r.leaks.sink("envoy " + page).Write(text)
	}
}

// withRoomForHeaders lifts the limits of the shipped configuration to the largest
// that Envoy knows.
func withRoomForHeaders(t *testing.T, config []byte) []byte {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal(config, &root); err != nil {
		t.Fatal(err)
	}
	at := root["static_resources"].(map[string]any)["listeners"].([]any)[0].(map[string]any)
	at["per_connection_buffer_limit_bytes"] = 64 << 20
	at = at["filter_chains"].([]any)[0].(map[string]any)["filters"].([]any)[0].(map[string]any)["typed_config"].(map[string]any)
	at["max_request_headers_kb"] = 8192
	config, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return config
}
