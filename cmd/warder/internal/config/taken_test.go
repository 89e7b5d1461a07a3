package config

import (
	"encoding/json"
	"flag"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"warder/cmd/warder/internal/clitest"
	"warder/envoy"
	"warder/policy"
	"warder/policy/strict"
	"warder/policy/strict/stricttest"
)

// update makes the test write the generated schema of the configuration.
var update = flag.Bool("update", false, "write config.schema.json")

// asWritten is a lookup function that leaves the variables of a file unchanged.
func asWritten(name string) (string, bool) { return "${" + name + "}", true }

// treeOf returns a YAML file as decoded JSON, with its variables unchanged. ok is false if the
// file is not valid YAML or uses YAML features that warder does not support.
func treeOf(data []byte) (tree any, ok bool) {
	v, found := strict.Parse(strict.File{Name: "warder.yaml", Data: data}, strict.Limits{Bytes: maxConfigSize})
	f := &filler{env: asWritten}
	v = f.fill(v)
	return stricttest.Tree(v), len(found)+len(f.problems) == 0
}

// TestIdentityHeaders checks that the configuration has a key for every identity header.
func TestIdentityHeaders(t *testing.T) {
	t.Parallel()
	keys := strict.KeysOf[IdentityHeadersKeys]()
	slices.Sort(keys)
	if want := slices.Sorted(slices.Values(envoy.IdentityFields())); !slices.Equal(keys, want) {
		t.Errorf("identity.headers has %v, want %v", keys, want)
	}
	full := Read("testdata/full.good.yaml", clitest.Environment("DSN=x", "PROXIES=10.0.0.0/8", "MORE_AUDIENCES=more"))
	if got := full.Identity.Headers.renamed(); len(got) != len(keys) {
		t.Errorf("of %v, %v are read", keys, got)
	}
}

// TestFullConfiguration checks that the file with all keys contains every key and is valid by
// the schema.
func TestFullConfiguration(t *testing.T) {
	t.Parallel()
	data := clitest.ReadFile(t, "testdata/full.good.yaml")
	tree, ok := treeOf(data)
	if !ok {
		t.Fatal("full.good.yaml is not read")
	}
	c := Read("testdata/full.good.yaml", clitest.Environment("DSN=x", "PROXIES=10.0.0.0/8", "MORE_AUDIENCES=more"))
	if len(c.reader.Problems) > 0 {
		t.Error(c.reader.Problems)
	}
	delete(tree.(map[string]any)["directory"].(map[string]any), "file") // it excludes a database
	if err := stricttest.Compile(t, Schema).Validate(tree); err != nil {
		t.Error(err)
	}
	var check func(of reflect.Type, fields ...string) // that may have the keys of the type
	check = func(of reflect.Type, fields ...string) {
		for f := range of.Fields() {
			key, item := f.Tag.Get("json"), f.Type
			if key == "" {
				continue
			}
			var inner, items []string
			given := false
			for _, field := range fields {
				name := strict.Join(field, key)
				_, is := c.reader.Place(name)
				given = given || is
				inner = append(inner, name)
				for i := range 4 {
					items = append(items, strict.Index(name, i))
				}
			}
			if !given && inner[0] != "directory.file" {
				t.Errorf("full.good.yaml has no %s", inner[0])
			}
			switch {
			case item.Kind() == reflect.Slice && strings.HasSuffix(item.Elem().Name(), "Keys"):
				if inner[0] != "jwt.issuers[0].keys" { // the same as jwt.keys
					check(item.Elem(), items...)
				}
			case item.Kind() == reflect.Struct && strings.HasSuffix(item.Name(), "Keys"):
				check(item, inner...)
			}
		}
	}
	check(reflect.TypeFor[Config](), "")
}

// TestSchemaDefaults checks that each default in the schema is the value of an absent key.
func TestSchemaDefaults(t *testing.T) {
	t.Parallel()
	var schema struct {
		Defs       map[string]struct{ Properties map[string]property } `json:"$defs"`
		Properties map[string]property
	}
	if err := json.Unmarshal([]byte(Schema), &schema); err != nil {
		t.Fatal(err)
	}
	tree, defaults := map[string]any{}, 0
	for key, p := range schema.Properties {
		if p.Default != nil {
			tree[key] = p.Default
			defaults++
		}
		group := map[string]any{}
		for inner, p := range schema.Defs[strings.TrimPrefix(p.Ref, "#/$defs/")].Properties {
			if p.Default != nil && inner != "redis_url" { // it is one of two sources
				group[inner] = p.Default
				defaults++
			}
		}
		if len(group) > 0 {
			tree[key] = group
		}
	}
	if defaults < 20 {
		t.Errorf("%d defaults: this tests too little", defaults)
	}
	text, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	c := Read(clitest.WriteFile(t, t.TempDir(), "warder.yaml", string(text)), clitest.Environment())
	if len(c.reader.Problems) > 0 {
		t.Fatal(c.reader.Problems.Err())
	}
	c.reader = nil
	if want := defaultConfig(); !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v\nwant %+v", c, want)
	}
	if got := schema.Defs["sessions"].Properties["redis_url"].Default; got != defaultRedisURL {
		t.Errorf("redis_url: %v", got)
	}
}

type property struct {
	Ref     string `json:"$ref"`
	Default any
}

func asJSON(t testing.TB, text []byte) any {
	t.Helper()
	tree, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// TestSchemasTakeWhatIsShown checks that the schemas accept each policy and configuration that
// is shipped, shown in a README or used in testdata/decisions.
func TestSchemasTakeWhatIsShown(t *testing.T) {
	t.Parallel()
	policies, configs := stricttest.Compile(t, policy.Schema), stricttest.Compile(t, Schema)
	configKeys := []string{"listen", "policy", "jwt", "sessions", "directory", "client_ip"}
	count := map[*jsonschema.Schema]int{}
	check := func(name string, schema *jsonschema.Schema, text []byte) {
		tree, ok := treeOf(text)
		if err := schema.Validate(tree); err != nil || !ok {
			t.Errorf("%s: %v", name, err)
		}
		count[schema]++
	}
	for file, texts := range clitest.ShippedPolicies(t) {
		for _, text := range texts {
			check(file, policies, text)
		}
	}
	for _, p := range clitest.Pages(t) {
		for _, b := range p.Blocks(t) {
			_, body, _ := strings.Cut(b.Text, "\n")
			if key, _, _ := strings.Cut(body, ":"); slices.Contains(configKeys, key) && !strings.HasSuffix(b.Name, "_test.yaml") {
				check(fmt.Sprintf("%s:%d", p.Name, b.Line), configs, []byte(b.Text))
			}
		}
	}
	for _, file := range clitest.Manifests(t) {
		for document := range strings.SplitSeq(string(clitest.ReadFile(t, file)), "\n---\n") {
			var object struct {
				Kind string
				Data map[string]string
			}
			if err := yaml.Unmarshal([]byte(document), &object); err == nil && object.Data["warder.yaml"] != "" {
				check(file, configs, []byte(object.Data["warder.yaml"]))
			}
		}
	}
	corpus, err := filepath.Glob(filepath.Join(clitest.Root(t), "testdata", "decisions", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range corpus {
		var c struct{ Policy string }
		if err := yaml.Unmarshal(clitest.ReadFile(t, file), &c); err != nil {
			t.Fatal(file, err)
		}
		check(file, policies, []byte(c.Policy))
	}
	if count[policies] < 30 || count[configs] < 5 {
		t.Errorf("%d policies and %d configurations: this tests too little", count[policies], count[configs])
	}
}

// TestSchemasExplainEachKey checks that the schemas describe every key, for editors.
func TestSchemasExplainEachKey(t *testing.T) {
	t.Parallel()
	explained := 0
	var check func(path string, schema any)
	check = func(path string, schema any) {
		object, _ := schema.(map[string]any)
		properties, _ := object["properties"].(map[string]any)
		for key, value := range properties {
			property, ok := value.(map[string]any)
			if text, _ := property["description"].(string); ok && (text == "" || text[len(text)-1] != '.') {
				t.Errorf("%s.%s is explained by %q", path, key, text)
			}
			explained++
		}
		for key, value := range object {
			check(path+"."+key, value)
		}
	}
	check("policy", asJSON(t, []byte(policy.Schema)))
	check("config", asJSON(t, []byte(Schema)))
	if explained < 60 {
		t.Errorf("%d keys found: this tests too little", explained)
	}
}
