package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"testing"
	"time"

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
	listen, admin := freeAddress(t), freeAddress(t)
	config, err := envoy.SidecarConfig(envoy.ConfigOptions{
		Listen: listen, Admin: admin, Upstream: r.upstream.Listener.Addr().String(),
		Warder: "unix://" + r.socket(), FailureModeAllow: open,
	})
	if err != nil {
		t.Fatal(err)
	}
	if open {
		config = withRoomForHeaders(t, config)
	}
	cmd := exec.Command(binary, "-c", r.write("envoy.json", string(config)), "--use-dynamic-base-id", "--concurrency", "1", "-l", "warning")
	cmd.Stdout, cmd.Stderr = r.leaks.sink("envoy stdout"), r.leaks.sink("envoy stderr")
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed at the end
		close(ended)
	}()
	t.Cleanup(func() {
		r.keepStats(t, admin)
		_ = cmd.Process.Kill()
		<-ended
	})
	waitFor(t, "Envoy to be ready", func() error {
		select {
		case <-ended:
			return fatal{fmt.Errorf("it ended: %s", tailOf(r.leaks.text("envoy stderr"), 4000))}
		default:
		}
		response, err := (&http.Client{Timeout: time.Second}).Get("http://" + admin + "/ready")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("/ready is %d", response.StatusCode)
		}
		return nil
	})
	return "http://" + listen
}

// keepStats notes what Envoy's admin interface shows, for the search for secrets.
func (r *rig) keepStats(t *testing.T, admin string) {
	for _, page := range []string{"/stats", "/config_dump", "/clusters"} {
		response, err := (&http.Client{Timeout: 10 * time.Second}).Get("http://" + admin + page)
		if err != nil {
			t.Errorf("Envoy's %s: %v", page, err)
			continue
		}
		if _, err := io.Copy(r.leaks.sink("envoy "+page), response.Body); err != nil {
			t.Errorf("Envoy's %s: %v", page, err)
		}
		_ = response.Body.Close()
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
