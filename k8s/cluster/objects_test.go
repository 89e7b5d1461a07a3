//go:build cluster

package cluster

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// A source is one way in which users come to objects: a manifest, the chart with one file of
// values, or a folder for kubectl apply -k.
type source struct {
	name string
	text string
}

// sources returns all that k8s/ ships. Injection comes last: its policies would change the pods of
// the others, also for a moment after they are removed.
func sources(t testing.TB) []source {
	t.Helper()
	return slices.Concat(manifests(t), charts(t), kustomizations(t), []source{injection(t)})
}

// injection returns the folder inject as one source, since its example needs its policies.
func injection(t testing.TB) source {
	t.Helper()
	var text strings.Builder
	for _, file := range []string{"inject.yaml", "example.yaml"} {
		data, err := os.ReadFile("../inject/" + file)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(data)
		text.WriteString("\n---\n")
	}
	return source{"inject", text.String()}
}

// manifests returns every other manifest below k8s/, in whatever folder.
func manifests(t testing.TB) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("..", path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch rel {
			case "chart", "kustomize", "inject": // below
				return filepath.SkipDir
			case "cluster", "image", "translate", "monitoring", "testdata": // nothing that is applied
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".yaml" {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		all = append(all, source{rel, string(data)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 5 {
		t.Fatalf("found %d manifests", len(all))
	}
	return all
}

// ownDeployment is the template of a chart that has warder as a dependency.
const ownDeployment = "../testdata/chart/own-deployment.yaml"

// charts returns what the chart renders with each file of values that it is tested with.
func charts(t testing.TB) []source {
	t.Helper()
	var all []source
	for _, pattern := range []string{"../chart/ci/*.yaml", "../testdata/chart/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) < 2 {
			t.Fatalf("found %d files %s: %v", len(files), pattern, err)
		}
		for _, file := range files {
			if filepath.Base(file) == filepath.Base(ownDeployment) {
				continue // a template
			}
			out := render(t, "../chart", "--values", file)
			if strings.Contains(file, "own-chart") {
				out += "\n---\n" + renderInOwnChart(t, file)
			}
			all = append(all, source{"chart with " + filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file), out})
		}
	}
	return all
}

// render returns what helm install would send for a chart, hooks included.
func render(t testing.TB, chart string, args ...string) string {
	t.Helper()
	args = append([]string{
		"template", "site", chart, "--namespace", "data", "--kube-version", "1.37.0",
		"--api-versions", "monitoring.coreos.com/v1/PodMonitor", "--api-versions", "monitoring.coreos.com/v1/ServiceMonitor",
		"--api-versions", "monitoring.coreos.com/v1/PrometheusRule",
	}, args...)
	var out, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), tool(t, "helm-*"), args...)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG=/dev/null")
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("helm %q: %v\n%s", args, err, &stderr)
	}
	return out.String()
}

// renderInOwnChart returns the Deployment of a chart that has warder as a dependency.
func renderInOwnChart(t testing.TB, values string) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "Chart.yaml"), "apiVersion: v2\nname: shop\nversion: 1.0.0\ndependencies: [{name: warder, version: '*'}]\n")
	if err := os.CopyFS(filepath.Join(dir, "charts/warder"), os.DirFS("../chart")); err != nil {
		t.Fatal(err)
	}
	inner, err := os.ReadFile(values)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "values.yaml"), "warder:\n  "+strings.ReplaceAll(string(inner), "\n", "\n  "))
	deployment, err := os.ReadFile(ownDeployment)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "templates/deployment.yaml"), string(deployment))
	return render(t, dir, "--show-only", "templates/deployment.yaml")
}

// kustomizations returns what kubectl apply -k sends for each folder that can be applied.
func kustomizations(t testing.TB) []source {
	t.Helper()
	var all []source
	files, err := filepath.Glob("../kustomize/*/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "kind: Component") {
			continue // a part of others
		}
		folder := filepath.Dir(file)
		built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
		if err != nil {
			t.Fatalf("%s: %v", folder, err)
		}
		out, err := built.AsYaml()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, source{"kustomize/" + filepath.Base(folder), string(out)})
	}
	if len(all) == 0 {
		t.Fatal("found no kustomization")
	}
	return all
}
