package envoy

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

//go:embed configs/*.yaml
var configFiles embed.FS

// Configs returns the shipped Envoy configurations: sidecar.yaml and service.yaml.
// Each is complete and works as it stands.
func Configs() fs.FS {
	files, err := fs.Sub(configFiles, "configs")
	if err != nil {
		return configFiles // cannot happen: the directory is embedded
	}
	return files
}

// ConfigOptions are the changes that [SidecarConfig] makes to sidecar.yaml. A zero field leaves
// the shipped value unchanged.
type ConfigOptions struct {
	Listen   string // host:port of the listener; port 0 lets the system choose
	Admin    string // host:port of Envoy's admin interface, a loopback address
	Upstream string // host:port of the application
	Warder   string // host:port, or unix:///path/to/socket

	// TrustedHops is the number of trusted proxies in front of Envoy (xff_num_trusted_hops).
	TrustedHops int
	// AccessLog is the file to which Envoy itself writes a line for every request. If it is
	// empty, Envoy writes lines only for failed requests, to standard output. The access log
	// that warder writes is not affected.
	AccessLog string
	// FailureModeAllow lets requests through when warder does not answer. It exists for tests
	// that show what warder still denies in this mode.
	FailureModeAllow bool
}

// SidecarConfig returns sidecar.yaml with the options applied, as JSON. Envoy reads JSON from a
// file whose name ends in .json.
func SidecarConfig(o ConfigOptions) ([]byte, error) {
	text, err := configFiles.ReadFile("configs/sidecar.yaml")
	if err != nil {
		return nil, err
	}
	var root any
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("sidecar.yaml: %w", err)
	}
	t := &tree{root: root}
	const (
		listener = "static_resources/listeners/0"
		manager  = listener + "/filter_chains/0/filters/0/typed_config"
		extAuthz = manager + "/http_filters/1/typed_config"
		ownLog   = manager + "/access_log/1"
		endpoint = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint"
	)
	if o.Listen != "" {
		t.set(listener+"/address", t.address("Listen", o.Listen))
	}
	if o.Admin != "" {
		t.set("admin/address", t.address("Admin", o.Admin))
	}
	if o.Upstream != "" {
		t.set("static_resources/clusters/0"+endpoint+"/address", t.address("Upstream", o.Upstream))
		t.set("static_resources/clusters/2"+endpoint+"/address", t.address("Upstream", o.Upstream)) // gRPC
	}
	if o.Warder != "" {
		t.set("static_resources/clusters/1"+endpoint+"/address", t.address("Warder", o.Warder))
	}
	if o.TrustedHops != 0 {
		t.set(manager+"/xff_num_trusted_hops", o.TrustedHops)
	}
	if o.AccessLog != "" {
		t.set(ownLog+"/name", "envoy.access_loggers.file")
		t.set(ownLog+"/typed_config/@type", "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog")
		t.set(ownLog+"/typed_config/path", o.AccessLog)
		t.set(ownLog+"/filter/status_code_filter/comparison/value/default_value", 0)
	}
	if o.FailureModeAllow {
		t.set(extAuthz+"/failure_mode_allow", true)
	}
	if err := errors.Join(t.problems...); err != nil {
		return nil, err
	}
	return json.MarshalIndent(t.root, "", "  ")
}

// A tree is a decoded configuration that is edited by path.
type tree struct {
	root     any
	problems []error
}

// set replaces or adds the last element of a path such as a/0/b. The elements before it must
// exist.
func (t *tree) set(path string, value any) {
	steps := strings.Split(path, "/")
	last := len(steps) - 1
	at := t.root
	for i, step := range steps {
		var next any
		found := false
		switch node := at.(type) {
		case map[string]any:
			if i == last {
				node[step] = value
				return
			}
			next, found = node[step]
		case []any:
			if n, err := strconv.Atoi(step); err == nil && 0 <= n && n < len(node) {
				next, found = node[n], true
			}
		}
		if !found {
			t.problems = append(t.problems, fmt.Errorf("sidecar.yaml: there is no %s", path))
			return
		}
		at = next
	}
}

// address returns the Envoy address of host:port or unix:///path.
func (t *tree) address(option, s string) any {
	if path, isUnix := strings.CutPrefix(s, "unix://"); isUnix && option == "Warder" {
		if !strings.HasPrefix(path, "/") {
			t.problems = append(t.problems, fmt.Errorf("envoy: ConfigOptions.%s is %q; write unix:///path/to/socket", option, s))
		}
		return map[string]any{"pipe": map[string]any{"path": path}}
	}
	host, port, err := net.SplitHostPort(s)
	number, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || net.ParseIP(host) == nil {
		t.problems = append(t.problems, fmt.Errorf("envoy: ConfigOptions.%s is %q; write an IP address and a port such as 127.0.0.1:8000", option, s))
		return nil
	}
	return map[string]any{"socket_address": map[string]any{"address": host, "port_value": number}}
}
