package config

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"

	"warder/authz"
	"warder/policy/strict/stricttest"
)

// generateConfigSchema generates the schema from the types and their comments, which it reads
// from the sources in this folder.
func generateConfigSchema(t *testing.T) string {
	t.Helper()
	r := &jsonschema.Reflector{
		Anonymous: true, ExpandedStruct: true, RequiredFromJSONSchemaTags: true,
		Namer:  func(t reflect.Type) string { return jsonschema.ToSnakeCase(strings.TrimSuffix(t.Name(), "Keys")) },
		Mapper: valueSchema,
	}
	if err := r.AddGoComments("warder/cmd/warder/internal/config", ".", jsonschema.WithFullComment()); err != nil {
		t.Fatal(err)
	}
	stricttest.Describe(r.CommentMap, regexp.MustCompile(`^An? \w+ is `))
	s := r.Reflect(Config{})
	s.Title = "warder configuration"
	for _, group := range append([]*jsonschema.Schema{s}, groupsOf(s)...) {
		for p := group.Properties.Oldest(); p != nil; p = p.Next() {
			if len(p.Value.Enum) > 0 {
				p.Value.AnyOf = []*jsonschema.Schema{{Enum: p.Value.Enum}, variableText()}
				p.Value.Type, p.Value.Enum = "", nil
			}
		}
	}
	out, err := stricttest.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func groupsOf(s *jsonschema.Schema) (groups []*jsonschema.Schema) {
	for _, group := range s.Definitions {
		groups = append(groups, group)
	}
	return groups
}

// variableText returns the schema of a text that contains a variable with any value.
func variableText() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `\$\{`, Description: "A text with ${VAR} or ${VAR:-default}."}
}

// valueSchema returns the schema of a type that is not a struct. It also accepts texts with
// variables, whose value may be valid.
func valueSchema(t reflect.Type) *jsonschema.Schema {
	orVariable := func(s *jsonschema.Schema) *jsonschema.Schema {
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{s, variableText()}}
	}
	switch t {
	case reflect.TypeFor[secretText]():
		return &jsonschema.Schema{Type: "string"}
	case reflect.TypeFor[filePath](), reflect.TypeFor[filledText]():
		return &jsonschema.Schema{Type: "string", MinLength: new(uint64(1))}
	case reflect.TypeFor[time.Duration]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			{
				Type:    "string",
				Pattern: `^[-+]?(?:0|(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+)$|\$\{`,
				Extras:  map[string]any{"patternErrorMessage": "Write a duration such as 200ms, 5s or 1m30s."},
			},
			{Const: 0},
		}}
	case reflect.TypeFor[bool]():
		return orVariable(&jsonschema.Schema{Type: "boolean"})
	case reflect.TypeFor[hopCount]():
		return orVariable(&jsonschema.Schema{Type: "integer", Minimum: "0", Maximum: "64"})
	case reflect.TypeFor[headerCount]():
		return orVariable(&jsonschema.Schema{Type: "integer", Minimum: "1", Maximum: "16384"})
	case reflect.TypeFor[connections]():
		return orVariable(&jsonschema.Schema{Type: "integer", Minimum: "4", Maximum: "1000"})
	case reflect.TypeFor[headerKB]():
		return orVariable(&jsonschema.Schema{Type: "integer", Minimum: "1", Maximum: "8192"})
	case reflect.TypeFor[fileMode]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			{
				Type: "string", Pattern: `^(?:0o)?0*[67][0-7]{2}$|\$\{`,
				Extras: map[string]any{"patternErrorMessage": `Write a file mode such as "0660", with at least 0600.`},
			},
			{Type: "integer"},
		}}
	case reflect.TypeFor[switchWord]():
		return orVariable(&jsonschema.Schema{Enum: []any{switchedOn, switchedOff, true, false}})
	case reflect.TypeFor[sourceWord]():
		s := orVariable(&jsonschema.Schema{Enum: []any{
			authz.SourceTrustedProxies, authz.SourceTrustedHops, authz.SourceHeader, authz.SourcePeer, authz.SourceLeftmostForwardedFor,
		}})
		s.AnyOf[1].Pattern = `^$|\$\{` // "" is the first one
		return s
	case reflect.TypeFor[keyTemplates]():
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string"}, {Type: "array", Items: &jsonschema.Schema{Type: "string"}}}}
	case reflect.TypeFor[textsOrVariable](), reflect.TypeFor[checkedTexts]():
		return orVariable(&jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{Type: "string", MinLength: new(uint64(1))}})
	}
	return nil
}

// JSONSchemaExtend adds the rule for which files a certificate needs.
func (TLSKeys) JSONSchemaExtend(s *jsonschema.Schema) {
	s.DependentRequired = map[string][]string{"cert_file": {"key_file"}, "key_file": {"cert_file"}, "client_ca_file": {"cert_file"}}
}

// JSONSchemaExtend adds the rule that a file excludes a database.
func (DirectoryKeys) JSONSchemaExtend(s *jsonschema.Schema) {
	noDatabase := &jsonschema.Schema{Properties: jsonschema.NewProperties()}
	noDatabase.Properties.Set("database_url", jsonschema.FalseSchema)
	noDatabase.Properties.Set("database_url_file", jsonschema.FalseSchema)
	s.DependentSchemas = map[string]*jsonschema.Schema{"file": noDatabase}
}

// TestConfigSchemaIsCurrent checks that the schema matches the current types and comments.
func TestConfigSchemaIsCurrent(t *testing.T) {
	t.Parallel()
	want := generateConfigSchema(t)
	if *update {
		if err := os.WriteFile("config.schema.json", []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile("config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(have)); diff != "" {
		t.Errorf("config.schema.json is not what the shapes say; run go test ./cmd/warder/internal/config -run Schema -update (-want +got):\n%s", diff)
	}
}
