package k8s

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

var update = flag.Bool("update", false, "write the files that are made from others")

// helm runs the helm that make tools installs, and returns its standard output.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	found, _ := filepath.Glob("../.tools/bin/helm-*")
	if len(found) != 1 {
		t.Fatalf("found %d of .tools/bin/helm-*, want 1; run make tools", len(found))
	}
	var out, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), found[0], args...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+t.TempDir(), "HELM_CONFIG_HOME="+t.TempDir(), "HELM_DATA_HOME="+t.TempDir(), "KUBECONFIG=/dev/null")
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return "", errors.New(out.String() + stderr.String())
	}
	return out.String(), nil
}

// render returns the objects of the chart for a release in a namespace, hooks included.
func render(t *testing.T, release, namespace string, args ...string) (string, error) {
	t.Helper()
	return helm(t, append([]string{"template", release, "chart", "--namespace", namespace, "--kube-version", "1.37.0"}, args...)...)
}

// beside are the objects that the user brings when the chart is installed with the values of
// chart/ci.
const beside = `apiVersion: v1
kind: Namespace
metadata: {name: data}
---
apiVersion: v1
kind: Secret
metadata: {name: warder, namespace: data}
stringData: {jwt-secret: change-me, redis-url: "redis://r:6379/0", database-url: "postgres://w@p:5432/app"}
---
apiVersion: v1
kind: Secret
metadata: {name: warder-tls, namespace: data}
stringData: {tls.crt: "", tls.key: "", ca.crt: ""}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: pg-ca, namespace: data}
data: {ca.crt: ""}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: routes, namespace: data}
data:
  routes.yaml: |
    version: 1
    routes:
      - {id: health, match: GET /healthz, public: true}
---
`

// TestChart lints the chart with each file of values, and checks what it renders in the same
// way as the manifests of this folder.
func TestChart(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("chart/ci/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d files of values: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			if _, err := helm(t, "lint", "chart", "--strict", "--quiet", "--values", file); err != nil {
				t.Error(err)
			}
			out, err := render(t, "site", "data", "--values", file, "--api-versions", "monitoring.coreos.com/v1/PodMonitor", "--api-versions", "monitoring.coreos.com/v1/ServiceMonitor", "--api-versions", "monitoring.coreos.com/v1/PrometheusRule")
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(file, "own-chart") {
				out += ownPods(t, file)
			}
			for _, problem := range check(t, map[string]string{file: beside + out}, []string{file}) {
				t.Error(problem)
			}
		})
	}
}

// ownPods returns what a chart renders that has warder as a dependency and the sidecars in its
// own Deployment.
func ownPods(t *testing.T, values string) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "Chart.yaml"), "apiVersion: v2\nname: shop\nversion: 1.0.0\ndependencies: [{name: warder, version: '*'}]\n")
	if err := os.CopyFS(filepath.Join(dir, "charts/warder"), os.DirFS("chart")); err != nil {
		t.Fatal(err)
	}
	inner, err := os.ReadFile(values)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "values.yaml"), "warder:\n  "+strings.ReplaceAll(string(inner), "\n", "\n  "))
	deployment, err := os.ReadFile("testdata/chart/own-deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "templates/deployment.yaml"), string(deployment))
	out, err := helm(t, "template", "site", dir, "--namespace", "data", "--kube-version", "1.37.0", "--show-only", "templates/deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestChartIsManifests checks that sidecar.yaml and service.yaml are what the chart renders
// with the values in testdata/chart: as objects, in any order and with other comments.
func TestChartIsManifests(t *testing.T) {
	t.Parallel()
	manifests := readManifests(t)
	for name, release := range map[string]string{"sidecar": "app", "service": "warder"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := render(t, release, release, "--no-hooks", "--values", "testdata/chart/"+name+".yaml")
			if err != nil {
				t.Fatal(err)
			}
			want, got := plain(t, manifests[name+".yaml"]), plain(t, out)
			delete(want, key("Namespace", "", release)) // helm install --create-namespace makes it
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the manifest (-) is not what the chart renders (+):\n%s", diff)
			}
		})
	}
}

// TestChartIsIstio checks that the chart in the mode of Istio renders what istio/shared.yaml has
// in warder's namespace.
func TestChartIsIstio(t *testing.T) {
	t.Parallel()
	out, err := render(t, "warder", "warder", "--no-hooks", "--values", "testdata/chart/istio.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got := plain(t, out)
	compared := 0
	for name, want := range plain(t, readManifests(t)["istio/shared.yaml"]) {
		if dig(want, "metadata", "namespace") != "warder" {
			continue
		}
		compared++
		if diff := cmp.Diff(want, got[name]); diff != "" {
			t.Errorf("%s: the manifest (-) is not what the chart renders (+):\n%s", name, diff)
		}
	}
	if compared < 6 {
		t.Errorf("only %d objects compared", compared)
	}
}

// plain returns the objects of a manifest by key, without what Helm adds to each (labels, the
// annotation of the configuration), and with files of YAML parsed.
func plain(t *testing.T, text string) map[string]any {
	t.Helper()
	objects, err := parseObjects("-", text)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{}
	for _, o := range objects {
		doc := withoutHelm(t, o.doc).(map[string]any)
		delete(doc["metadata"].(map[string]any), "labels")
		all[o.key()] = doc
	}
	return all
}

func withoutHelm(t *testing.T, v any) any {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for name, value := range v {
			switch name {
			case "app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart", "checksum/config":
				continue
			}
			if text, ok := value.(string); ok && strings.HasSuffix(name, ".yaml") {
				var file any
				if err := yaml.Unmarshal([]byte(text), &file); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				value = into[any](file)
			}
			m[name] = withoutHelm(t, value)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = withoutHelm(t, item)
		}
		return list
	}
	return v
}

// TestChartRefuses checks that mistakes in values end the rendering with a message that says
// what would be right.
func TestChartRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"policy: 0 sources are set; set exactly one of", nil},
		{"policy: 2 sources are set; set exactly one of", []string{"policy.text=version: 1", "policy.existingConfigMap=routes"}},
		{`policy.files: "app.yml" is not the name of a policy file`, []string{`policy.files.app\.yml=version: 1`}},
		{"secrets.databaseURL, secrets.jwtSecret, secrets.redisURL: missing", []string{"policy.existingConfigMap=routes", "secrets.existingSecret="}},
		{"secrets.redisURL: missing; set secrets.existingSecret to a Secret with the keys", []string{"policy.existingConfigMap=routes", "secrets.existingSecret=", "secrets.jwtSecret=x", "secrets.databaseURL=x"}},
		{"app.image: missing", []string{"policy.existingConfigMap=routes", "mode=sidecar", "app.enabled=true"}},
		{"tls.istio.principals: missing; name who may ask warder", []string{"policy.existingConfigMap=routes", "tls.mode=istio"}},
		{"tls.certManager.issuerRef.name: missing", []string{"policy.existingConfigMap=routes", "tls.certManager.enabled=true"}},
		{"autoscaling: minReplicas 5 is more than maxReplicas 3", []string{"policy.existingConfigMap=routes", "autoscaling.minReplicas=5", "autoscaling.maxReplicas=3"}},
		{"an empty selector would let every namespace in", []string{"policy.existingConfigMap=routes", "networkPolicy.clientNamespaceLabels=null"}},
		// By values.schema.json.
		{"mode", []string{"policy.existingConfigMap=routes", "mode=daemon"}},
		{"memoryLimit", []string{"policy.existingConfigMap=routes", "memoryLimit=128Mi"}},
		{"memoryLimitMiB", []string{"policy.existingConfigMap=routes", "memoryLimitMiB=8"}},
		{"digest", []string{"policy.existingConfigMap=routes", "image.digest=latest"}},
		{"exstingSecret", []string{"policy.existingConfigMap=routes", "secrets.exstingSecret=x"}},
		{"existingSecret", []string{"policy.existingConfigMap=routes", "tls.existingSecret="}},
	} {
		args := []string{"--set", "secrets.existingSecret=warder"}
		for _, set := range tt.args {
			args = append(args, "--set", set)
		}
		out, err := render(t, "x", "x", args...)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v and %d bytes, want an error with %q", tt.args, err, len(out), tt.want)
		}
	}
}

// rendered returns the objects of a release site in the namespace data.
func rendered(t *testing.T, args ...string) *form {
	t.Helper()
	out, err := render(t, "site", "data", args...)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := parseObjects("-", out)
	if err != nil {
		t.Fatal(err)
	}
	return &form{objects: objects}
}

// TestChartValidates checks that the hook validates exactly the policy and the configuration
// that the release will have.
func TestChartValidates(t *testing.T) {
	t.Parallel()
	f := rendered(t, "--values", "chart/ci/service-istio-values.yaml")
	job, ok := f.find("Job data/site-warder-validate")
	if !ok {
		t.Fatal("no Job")
	}
	hook, _ := f.find("ConfigMap data/site-warder-validate")
	config, _ := f.find("ConfigMap data/site-warder-config")
	policy, _ := f.find("ConfigMap data/site-warder-policy")
	if diff := cmp.Diff(config.text("data", "warder.yaml"), hook.text("data", "warder.yaml")); diff != "" {
		t.Errorf("another configuration (-release +hook):\n%s", diff)
	}
	if diff := cmp.Diff(policy.text("data", "policy.yaml"), hook.text("data", "policy-policy.yaml")); diff != "" {
		t.Errorf("another policy (-release +hook):\n%s", diff)
	}
	for _, o := range []object{job, hook} {
		if got := o.text("metadata", "annotations", "helm.sh/hook"); got != "pre-install,pre-upgrade,pre-rollback" {
			t.Errorf("%s: hook %q", o, got)
		}
	}
	checked := &report{}
	pod := into[podSpec](dig(job.doc, "spec", "template", "spec"))
	for _, c := range pod.containers() {
		checkContainer(checked.addf, pod, c)
		for _, m := range c.VolumeMounts {
			checkMount(checked.addf, pod, c, m)
		}
	}
	for _, problem := range checked.problems {
		t.Error(problem)
	}
}

// TestChartSchema checks that values.schema.json describes values.yaml: the same keys, with the
// same types.
func TestChartSchema(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("chart/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(data, &values); err != nil {
		t.Fatal(err)
	}
	schema := schemaOf("", into[map[string]any](values)).(map[string]any)
	schema["$schema"] = "http://json-schema.org/draft-07/schema#"
	schema["properties"].(map[string]any)["global"] = map[string]any{"type": "object"} // Helm adds it
	got, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const file = "chart/values.schema.json"
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not made from values.yaml; run go test ./k8s -run TestChartSchema -update (-file +made):\n%s", file, diff)
	}
}

// valueRules is what values.yaml cannot say about a value, by its path.
var valueRules = map[string]map[string]any{
	"mode":                               {"enum": []any{"service", "sidecar"}},
	"image.digest":                       {"pattern": "^(sha256:[0-9a-f]{64})?$"},
	"image.pullPolicy":                   {"enum": []any{"", "Always", "IfNotPresent", "Never"}},
	"image.repository":                   {"minLength": 1},
	"memoryLimitMiB":                     {"minimum": 64},
	"replicas":                           {"minimum": 1},
	"autoscaling.minReplicas":            {"minimum": 2},
	"autoscaling.maxReplicas":            {"minimum": 2},
	"tls.existingSecret":                 {"minLength": 1},
	"tls.mode":                           {"enum": []any{"mutual", "istio"}},
	"tls.istio.principals":               {"items": map[string]any{"type": "string", "pattern": "[^*]"}},
	"tls.istio.monitoringNamespaces":     {"items": map[string]any{"type": "string"}},
	"tls.istio.namespace":                {"minLength": 1},
	"tls.certManager.issuerRef.kind":     {"enum": []any{"Issuer", "ClusterIssuer"}},
	"podDisruptionBudget.maxUnavailable": {"type": []any{"integer", "string"}, "minimum": 0},
	"service.trafficDistribution":        {"enum": []any{"", "PreferSameZone", "PreferSameNode", "PreferClose"}},
	"envoy.escapedSlashes":               {"enum": []any{"REJECT_REQUEST", "KEEP_UNCHANGED"}},
	"envoy.port":                         {"minimum": 1, "maximum": 65535},
	"envoy.adminPort":                    {"minimum": 1, "maximum": 65535},
	"envoy.trustedHops":                  {"minimum": 0},
	"envoy.concurrency":                  {"minimum": 1},
	"app.port":                           {"minimum": 1, "maximum": 65535},
	"app.grpcPort":                       {"type": []any{"integer", "string"}, "pattern": "^$"},
	"app.readinessPath":                  {"pattern": "^/"},
	"app.runAsUser":                      {"minimum": 1},
	"networkPolicy.storePorts":           {"items": map[string]any{"type": "integer"}},
}

// openValues are maps whose keys are the user's or Kubernetes' own.
var openValues = []string{
	"affinity", "app.resources", "commonAnnotations", "commonLabels", "config", "envoy.resources", "networkPolicy.clientNamespaceLabels",
	"networkPolicy.ingressNamespaceLabels", "networkPolicy.monitoringNamespaceLabels", "nodeSelector", "podAnnotations", "podLabels",
	"monitoring.dashboard.annotations", "monitoring.dashboard.labels", "monitoring.rules.labels",
	"podMonitor.labels", "policy.files", "resources.requests", "service.annotations", "serviceAccount.annotations", "serviceMonitor.labels",
}

// schemaOf returns the schema of a value in values.yaml.
func schemaOf(path string, value any) any {
	s := map[string]any{}
	switch v := value.(type) {
	case map[string]any:
		s["type"] = "object"
		if slices.Contains(openValues, path) {
			break
		}
		properties := map[string]any{}
		for name, inner := range v {
			properties[name] = schemaOf(strings.TrimPrefix(path+"."+name, "."), inner)
		}
		s["properties"], s["additionalProperties"] = properties, false
	case []any:
		s["type"] = "array"
	case string:
		s["type"] = "string"
	case bool:
		s["type"] = "boolean"
	case float64:
		s["type"] = "integer"
	}
	maps.Copy(s, valueRules[path])
	return s
}
