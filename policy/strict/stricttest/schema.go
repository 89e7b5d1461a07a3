package stricttest

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	reflected "github.com/invopop/jsonschema"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Compile returns a validator of the schema.
func Compile(t testing.TB, schema string) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", document); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// Describe turns Go comments, by the name of their type or field, into descriptions: each is on
// one line, and begins after what matches opening, such as "A RouteKeys is ".
func Describe(comments map[string]string, opening *regexp.Regexp) {
	for name, comment := range comments {
		comment = strings.ReplaceAll(comment, "\n", " ")
		if begin := opening.FindString(comment); begin != "" {
			comment = strings.ToUpper(comment[len(begin):len(begin)+1]) + comment[len(begin)+1:]
		}
		comments[name] = comment
	}
}

// Marshal returns the text of a schema. It is not escaped for HTML, for readability.
func Marshal(s *reflected.Schema) (string, error) {
	out, err := json.MarshalIndent(s, "", "  ")
	return strings.NewReplacer(`\u0026`, "&", `\u003c`, "<", `\u003e`, ">").Replace(string(out)) + "\n", err
}
