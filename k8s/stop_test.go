package k8s

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

const (
	// defaultGrace is what Kubernetes gives a pod to stop when the pod says nothing.
	defaultGrace = 30 * time.Second
	// Envoy Gateway makes the pods of its Envoys, drains each Envoy for gatewayDrain and
	// gives the pod gatewayGrace, unless its EnvoyProxy says otherwise.
	gatewayDrain = time.Minute
	gatewayGrace = 6 * time.Minute
	// The defaults of shutdown.delay and shutdown.timeout (see TestShutdownDefaults).
	defaultDelay   = 5 * time.Second
	defaultTimeout = 10 * time.Second
	// applicationStop is what is left at least for an application to end by itself.
	applicationStop = 10 * time.Second
)

// checkStop: a pod's grace period is long enough for all that stops in it, one after
// the other: the preStop hooks of its containers, the application, then its sidecars
// in reverse order, among them warder, which serves on for shutdown.delay and then
// finishes what is in flight for at most shutdown.timeout.
func checkStop(bad func(string, ...any), w workload, warder container, s settings) {
	grace := defaultGrace
	if w.patch != nil {
		grace = gatewayGrace
	}
	if seconds := w.pod.TerminationGracePeriodSeconds; seconds != nil {
		grace = time.Duration(*seconds) * time.Second
	}
	sleepOf := func(c container) time.Duration {
		hook := c.Lifecycle.PreStop
		if hook == nil {
			return 0
		}
		if hook.Sleep == nil {
			bad("the preStop hook of %s is no sleep, so nobody knows how long it takes", c.Name)
			return 0
		}
		return time.Duration(hook.Sleep.Seconds) * time.Second
	}
	needed := s.stop()
	first := time.Duration(0) // containers that are no sidecars stop at the same time
	for _, c := range w.pod.Containers {
		first = max(first, sleepOf(c))
	}
	needed += first
	for _, c := range w.pod.InitContainers {
		if c.RestartPolicy == "Always" {
			needed += sleepOf(c)
		}
	}
	if w.patch != nil {
		needed += gatewayDrain
	} else if slices.ContainsFunc(w.pod.Containers, func(c container) bool { return c.Name != warder.Name }) {
		needed += applicationStop
	}
	if grace < needed {
		bad("terminationGracePeriodSeconds is %v, and the pod takes up to %v to stop", grace, needed)
	}
}

// stop is how long this warder takes at most to end after SIGTERM.
func (s settings) stop() time.Duration {
	delay, timeout := defaultDelay, defaultTimeout
	if s.Shutdown.Delay != nil {
		delay = *s.Shutdown.Delay
	}
	if s.Shutdown.Timeout != nil {
		timeout = *s.Shutdown.Timeout
	}
	return delay + timeout
}

// TestShutdownDefaults: these tests assume the defaults that the schema of the
// configuration documents.
func TestShutdownDefaults(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../cmd/warder/internal/config/config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Defs map[string]struct {
			Properties map[string]struct{ Default any }
		} `json:"$defs"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	documented := schema.Defs["shutdown"].Properties
	if documented["delay"].Default != defaultDelay.String() || documented["timeout"].Default != defaultTimeout.String() {
		t.Errorf("the schema documents %v, not %v and %v", documented, defaultDelay, defaultTimeout)
	}
}

// TestStopIsCounted: what of a pod counts, and how.
func TestStopIsCounted(t *testing.T) {
	t.Parallel()
	const (
		app     = "{name: app, lifecycle: {preStop: {sleep: {seconds: 5}}}}"
		warder  = "{name: warder, restartPolicy: Always}"
		envoy   = "{name: envoy, restartPolicy: Always, lifecycle: {preStop: {sleep: {seconds: 7}}}}"
		migrate = "{name: migrate, lifecycle: {preStop: {sleep: {seconds: 600}}}}"
	)
	for _, c := range []struct{ name, pod, config, want string }{
		{"warder alone", "{terminationGracePeriodSeconds: 15, containers: [{name: warder}]}", "", ""},
		{"warder alone, too short", "{terminationGracePeriodSeconds: 14, containers: [{name: warder}]}", "", "is 14s, and the pod takes up to 15s"},
		{"the default of Kubernetes", "{containers: [{name: warder}]}", "shutdown: {timeout: 26s}", "is 30s, and the pod takes up to 31s"},
		{"as configured", "{terminationGracePeriodSeconds: 3, containers: [{name: warder}]}", "shutdown: {delay: 1s, timeout: 2s}", ""},
		{"no delay", "{terminationGracePeriodSeconds: 9, containers: [{name: warder}]}", "shutdown: {delay: 0s}", "takes up to 10s"},
		{"with an application", "{terminationGracePeriodSeconds: 29, initContainers: [" + warder + "], containers: [" + app + "]}", "", "is 29s, and the pod takes up to 30s"},
		{"with Envoy too", "{terminationGracePeriodSeconds: 36, initContainers: [" + migrate + ", " + warder + ", " + envoy + "], containers: [" + app + "]}", "", "takes up to 37s"},
		{"long enough", "{terminationGracePeriodSeconds: 37, initContainers: [" + migrate + ", " + warder + ", " + envoy + "], containers: [" + app + "]}", "", ""},
		{"a hook of unknown length", "{containers: [{name: warder, lifecycle: {preStop: {exec: {command: [x]}}}}]}", "", "hook of warder is no sleep"},
	} {
		var doc map[string]any
		var s settings
		if err := yaml.Unmarshal([]byte(c.pod), &doc); err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal([]byte(c.config), &s); err != nil {
			t.Fatal(err)
		}
		r := &report{}
		checkStop(r.addf, workload{pod: into[podSpec](doc)}, container{Name: "warder"}, s)
		if got := strings.Join(r.problems, "; "); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
