package k8s

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// kubernetesSchemas are the strict schemas (unknown fields refused) of the
// newest Kubernetes that kubernetes-validate knows; make tools installs it.
const kubernetesSchemas = "../.tools/venv/lib/python3*/site-packages/kubernetes_validate/kubernetes-json-schema/v1.37.0-local-strict"

// checkSchema checks one object against the schema of its kind: Kubernetes' own
// ones, and for the kinds of Istio and gateways the extracts in testdata/crds.
func checkSchema(t *testing.T, r *report, o object) {
	t.Helper()
	schema, err := schemas(t).of(o)
	if err != nil {
		r.addf("%s: %v", o, err)
		return
	}
	value := any(o.doc)
	if o.kind() == "MeshConfig" {
		value = o.doc["spec"]
	}
	if err := schema.Validate(value); err != nil {
		r.addf("%s: %v", o, err)
	}
}

// checkPatch checks what an EnvoyProxy adds to a pod; the kind's own schema takes anything there.
func checkPatch(t *testing.T, r *report, w workload) {
	t.Helper()
	if w.patch == nil {
		return
	}
	schema, err := schemas(t).compile("podspec-v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(w.patch); err != nil {
		r.addf("%s: the patch: %v", w.object, err)
	}
}

// schemas reads the schemas once for all tests of a run.
func schemas(t *testing.T) *schemaSet {
	t.Helper()
	set, err := readSchemas()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

var readSchemas = sync.OnceValues(func() (*schemaSet, error) {
	found, _ := filepath.Glob(kubernetesSchemas)
	if len(found) == 0 {
		return nil, fmt.Errorf("no Kubernetes schemas in .tools/venv; run make tools")
	}
	s := &schemaSet{folder: found[0], compiler: jsonschema.NewCompiler(), compiled: map[string]*jsonschema.Schema{}}
	definitions, err := readJSON(filepath.Join(s.folder, "_definitions.json"))
	if err != nil {
		return nil, err
	}
	return s, s.compiler.AddResource(schemaBase+"_definitions.json", definitions)
})

// schemaBase is where the schemas say they are: they refer to
// /api/_definitions.json. Nothing is fetched from there: it is in memory first.
const schemaBase = "https://kubernetes.io/api/"

type schemaSet struct {
	folder   string
	compiler *jsonschema.Compiler

	mu       sync.Mutex
	compiled map[string]*jsonschema.Schema
}

// of returns the schema of an object.
func (s *schemaSet) of(o object) (*jsonschema.Schema, error) {
	if o.kind() == "MeshConfig" {
		return s.compile("mesh.istio.io_MeshConfig")
	}
	group, version, grouped := strings.Cut(o.text("apiVersion"), "/")
	switch {
	case !grouped:
		return s.compile(strings.ToLower(o.kind()) + "-" + group)
	case strings.Contains(group, ".") && !strings.HasSuffix(group, ".k8s.io") || strings.HasPrefix(group, "gateway."):
		return s.compile(group + "_" + version + "_" + o.kind())
	}
	group, _, _ = strings.Cut(group, ".")
	return s.compile(strings.ToLower(o.kind()) + "-" + group + "-" + version)
}

// compile returns the schema of that name, from Kubernetes or from testdata/crds.
func (s *schemaSet) compile(name string) (*jsonschema.Schema, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if schema := s.compiled[name]; schema != nil {
		return schema, nil
	}
	file, ours := filepath.Join("testdata", "crds", name+".json"), true
	if _, err := os.Stat(file); err != nil {
		file, ours = filepath.Join(s.folder, name+".json"), false
	}
	doc, err := readJSON(file)
	if err != nil {
		return nil, fmt.Errorf("no schema for this kind and version: %w", err)
	}
	if ours {
		refuseUnknown(doc, true)
	}
	if err := s.compiler.AddResource(schemaBase+name+".json", doc); err != nil {
		return nil, err
	}
	schema, err := s.compiler.Compile(schemaBase + name + ".json")
	if err == nil {
		s.compiled[name] = schema
	}
	return schema, err
}

func readJSON(file string) (any, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(data))
}

// refuseUnknown makes the schema of a custom resource strict: an API server drops
// fields that it does not know without a word, and a setting with them.
func refuseUnknown(schema any, top bool) {
	s, ok := schema.(map[string]any)
	if !ok {
		return
	}
	properties, _ := s["properties"].(map[string]any)
	if top && properties["spec"] != nil { // Istio's schemas leave these to Kubernetes
		for _, name := range []string{"apiVersion", "kind", "metadata"} {
			properties[name] = map[string]any{}
		}
	}
	for _, property := range properties {
		refuseUnknown(property, false)
	}
	refuseUnknown(s["items"], false)
	refuseUnknown(s["additionalProperties"], false)
	_, open := s["additionalProperties"]
	if len(properties) > 0 && !open && s["x-kubernetes-preserve-unknown-fields"] != true {
		s["additionalProperties"] = false
	}
}
