package k8s

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestChartMonitoring checks that the chart has the dashboard and the rules of folder monitoring,
// in the objects and with the labels that Grafana's sidecar and the Prometheus operator look for,
// and only when they are asked for.
func TestChartMonitoring(t *testing.T) {
	t.Parallel()
	var dashboard, rules []byte
	for name, data := range map[string]*[]byte{"dashboard.json": &dashboard, "rules.yaml": &rules} {
		var err error
		if *data, err = os.ReadFile(filepath.Join("monitoring", name)); err != nil {
			t.Fatal(err)
		}
		inChart := filepath.Join("chart/files", name)
		if *update {
			if err := os.WriteFile(inChart, *data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(inChart); err != nil || !bytes.Equal(got, *data) {
			t.Errorf("%s is not monitoring/%s; run go test ./k8s -run TestChartMonitoring -update (%v)", inChart, name, err)
		}
	}

	const known = "monitoring.coreos.com/v1/PrometheusRule"
	on := []string{"--set", "monitoring.dashboard.enabled=true,monitoring.rules.enabled=true,monitoring.rules.labels.release=prometheus", "--set", "monitoring.dashboard.annotations.grafana_folder=Security"}
	for _, tt := range []struct {
		name             string
		args             []string
		dashboard, rules bool
	}{
		{"off", []string{"--api-versions", known}, false, false},
		{"on", append(on, "--api-versions", known), true, true},
		{"without the Prometheus operator", on, true, false},
	} {
		f := rendered(t, append(tt.args, "--values", "chart/ci/service-values.yaml")...)
		config, has := f.find("ConfigMap data/site-warder-dashboard")
		if has != tt.dashboard {
			t.Errorf("%s: a dashboard: %v, want %v", tt.name, has, tt.dashboard)
		}
		if has {
			if config.text("metadata", "labels", "grafana_dashboard") != "1" || config.text("metadata", "annotations", "grafana_folder") != "Security" {
				t.Errorf("%s: Grafana's sidecar does not find the dashboard: %v", tt.name, config.doc["metadata"])
			}
			if config.text("data", "warder.json") != string(dashboard) {
				t.Errorf("%s: the dashboard is not monitoring/dashboard.json", tt.name)
			}
		}
		rule, has := f.find("PrometheusRule data/site-warder")
		if has != tt.rules {
			t.Errorf("%s: rules: %v, want %v", tt.name, has, tt.rules)
		}
		if has {
			if rule.text("metadata", "labels", "release") != "prometheus" {
				t.Errorf("%s: labels %v", tt.name, dig(rule.doc, "metadata", "labels"))
			}
			want, err := parseObjects("-", "kind: PrometheusRule\nspec:\n  "+string(bytes.ReplaceAll(rules, []byte("\n"), []byte("\n  "))))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want[0].doc["spec"], rule.doc["spec"]); diff != "" {
				t.Errorf("%s: the rules are not monitoring/rules.yaml (-file +chart):\n%s", tt.name, diff)
			}
		}
	}
}
