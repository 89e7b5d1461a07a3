package k8s

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// TestKustomize builds the example of kustomize/ as kubectl apply -k does, and checks the
// objects in the same way as the manifests of this folder.
func TestKustomize(t *testing.T) {
	t.Parallel()
	out := kustomize(t, "kustomize/example")
	const name = "kustomize/example"
	for _, problem := range check(t, map[string]string{name: out}, []string{name}) {
		t.Error(problem)
	}
	objects, err := parseObjects(name, out)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range (&form{objects: objects}).workloads() {
		var names []string
		for _, c := range w.pod.containers() {
			names = append(names, c.Name)
		}
		if diff := cmp.Diff([]string{"warder", "envoy", "migrate", "app"}, names); diff != "" {
			t.Errorf("the containers in the order of their start (-want +got):\n%s", diff)
		}
	}
}

// TestKustomizeIsManifest checks that kustomize/ puts the same things into a pod as
// sidecar.yaml has.
func TestKustomizeIsManifest(t *testing.T) {
	t.Parallel()
	objects, err := parseObjects("sidecar.yaml", readManifests(t)["sidecar.yaml"])
	if err != nil {
		t.Fatal(err)
	}
	f := &form{objects: objects}
	for file, configMap := range map[string]string{"warder.yaml": "app-warder-config", "policy.yaml": "app-warder-policy", "envoy.yaml": "app-envoy"} {
		want, ok := f.content(key("ConfigMap", "app", configMap), file)
		got, err := os.ReadFile("kustomize/base/" + file)
		if err != nil || !ok {
			t.Fatalf("%s: %v, in the manifest: %t", file, err, ok)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s (-sidecar.yaml +kustomize/base):\n%s", file, diff)
		}
	}
	data, err := os.ReadFile("kustomize/sidecar/patch.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var patch map[string]any
	if err := yaml.Unmarshal(data, &patch); err != nil {
		t.Fatal(err)
	}
	deployment, _ := f.find(key("Deployment", "app", "app"))
	for _, part := range [][]string{{"initContainers"}, {"securityContext"}, {"enableServiceLinks"}} {
		path := append([]string{"spec", "template", "spec"}, part...)
		if diff := cmp.Diff(dig(deployment.doc, path...), into[any](dig(patch, path...))); diff != "" {
			t.Errorf("%v (-sidecar.yaml +kustomize/sidecar):\n%s", part, diff)
		}
	}
}

// kustomize returns what kubectl kustomize prints for a folder.
func kustomize(t *testing.T, folder string) string {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatal(err)
	}
	out, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
