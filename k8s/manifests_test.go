package k8s

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// forms are the files that are applied together, in order; an object of a later
// file replaces the one of the same name before it.
var forms = map[string][]string{
	"sidecar":               {"sidecar.yaml"},
	"service":               {"service.yaml"},
	"istio":                 {"service.yaml", "istio/shared.yaml", "istio/mesh-config.yaml"},
	"istio sidecar":         {"istio/sidecar.yaml", "istio/mesh-config.yaml"},
	"envoy gateway":         {"service.yaml", "envoy-gateway/shared.yaml"},
	"envoy gateway sidecar": {"envoy-gateway/sidecar.yaml"},
}

// provided is what the comments of the files ask the user to bring, by
// "Kind namespace/name", with the keys that it has.
var provided = map[string][]string{
	"Namespace app":                  nil, // of istio/shared.yaml; the other forms bring their own
	"Namespace envoy-gateway-system": nil,
	"Service app/app":                nil,
	"Secret warder/warder-tls":       {"tls.crt", "tls.key", "ca.crt"},
	"ConfigMap warder/warder-ca":     {"ca.crt"},
	"Secret app/warder-client":       {"tls.crt", "tls.key"},
	"Secret app/app-example-com":     {"tls.crt", "tls.key"},
	"GatewayClass eg":                nil,
}

// TestManifests checks each form as a cluster would see it, and then what a
// cluster would not see before it is too late.
func TestManifests(t *testing.T) {
	t.Parallel()
	all := readManifests(t)
	for name, files := range forms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, problem := range check(t, all, files) {
				t.Error(problem)
			}
		})
	}
	for file := range all {
		used := false
		for _, files := range forms {
			used = used || slices.Contains(files, file)
		}
		if !used {
			t.Errorf("%s belongs to no form, so nothing checks it", file)
		}
	}
}

// check returns all that is wrong with the files as one form, with their
// content in all.
func check(t *testing.T, all map[string]string, files []string) []string {
	t.Helper()
	r := &report{}
	set := &form{}
	for _, file := range files {
		objects, err := parseObjects(file, all[file])
		if err != nil {
			r.addf("%v", err)
			continue
		}
		for _, o := range objects {
			checkSchema(t, r, o)
			set.add(r, o)
		}
	}
	for _, w := range set.workloads() {
		checkPatch(t, r, w)
	}
	if len(r.problems) > 0 {
		return r.problems // the checks below rest on objects of the right shape
	}
	checkReferences(r, set)
	checkAsking(r, set)
	for _, w := range set.workloads() {
		checkPod(r, set, w)
		checkWarder(r, set, w)
	}
	for _, o := range set.objects {
		if o.kind() == "ConfigMap" {
			checkBootstrap(r, set, o)
		}
	}
	return r.problems
}

// readManifests returns the manifests of this folder, and those for Istio and Envoy Gateway.
func readManifests(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	var names []string
	for _, pattern := range []string{"*.yaml", "istio/*.yaml", "envoy-gateway/*.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) < 2 {
			t.Fatalf("found %d of %s: %v", len(found), pattern, err)
		}
		names = append(names, found...)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(data)
	}
	return all
}

// A report collects problems.
type report struct{ problems []string }

func (r *report) addf(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// require adds the problem unless ok.
func (r *report) require(ok bool, format string, args ...any) {
	if !ok {
		r.addf(format, args...)
	}
}

// An object is one document of a manifest.
type object struct {
	file string
	doc  map[string]any
}

func (o object) text(path ...string) string {
	s, _ := dig(o.doc, path...).(string)
	return s
}

func (o object) kind() string      { return o.text("kind") }
func (o object) name() string      { return o.text("metadata", "name") }
func (o object) namespace() string { return o.text("metadata", "namespace") }
func (o object) key() string       { return key(o.kind(), o.namespace(), o.name()) }
func (o object) String() string    { return o.file + ": " + o.key() }

// key is how this test names an object: "Service warder/warder", "Namespace app".
func key(kind, namespace, name string) string {
	if namespace == "" {
		return kind + " " + name
	}
	return kind + " " + namespace + "/" + name
}

// into decodes a part of a document into a T that has the fields of interest.
func into[T any](part any) T {
	var t T
	data, err := json.Marshal(part)
	if err == nil {
		err = json.Unmarshal(data, &t)
	}
	if err != nil {
		panic(fmt.Sprintf("%T from what passed its schema: %v", t, err))
	}
	return t
}

// dig walks down maps.
func dig(v any, path ...string) any {
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// parseObjects reads the documents of a manifest; one without a kind is Istio's mesh
// configuration.
func parseObjects(file, text string) ([]object, error) {
	var objects []object
	for decoder := yaml.NewDecoder(strings.NewReader(text)); ; {
		var doc map[string]any
		switch err := decoder.Decode(&doc); {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if doc == nil {
			continue // the comment before the first document
		}
		if doc["kind"] == nil {
			doc = map[string]any{"kind": "MeshConfig", "spec": doc}
		}
		objects = append(objects, object{file, into[map[string]any](doc)})
	}
}

// A form is the objects that end up in the cluster.
type form struct{ objects []object }

func (f *form) add(r *report, o object) {
	i := slices.IndexFunc(f.objects, func(other object) bool { return other.key() == o.key() })
	switch {
	case i < 0:
		f.objects = append(f.objects, o)
	case f.objects[i].file == o.file:
		r.addf("%s: twice in one file", o)
	default:
		f.objects[i] = o
	}
}

// find returns the object of that key.
func (f *form) find(key string) (object, bool) {
	for _, o := range f.objects {
		if o.key() == key {
			return o, true
		}
	}
	return object{}, false
}

// exists reports whether the form has the object, or the user brings it.
func (f *form) exists(key string) bool {
	_, ours := f.find(key)
	_, theirs := provided[key]
	return ours || theirs
}

// content returns what a ConfigMap or Secret holds under a name. For one that
// the user brings there is no text.
func (f *form) content(key, name string) (text string, ok bool) {
	o, found := f.find(key)
	if !found {
		return "", slices.Contains(provided[key], name)
	}
	for _, field := range []string{"data", "stringData"} {
		if text, ok := dig(o.doc, field, name).(string); ok {
			return text, true
		}
	}
	return "", false
}
